"""A resource as every stream shares it: bytes made once, versioned by their hash."""

from hashlib import blake2b
from typing import Final

from isthmus.xds.wire import length_delimited, varint

WILDCARD = "*"

PREFIX = "type.googleapis.com/"
CDS = PREFIX + "envoy.config.cluster.v3.Cluster"
EDS = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = PREFIX + "envoy.config.listener.v3.Listener"
RDS = PREFIX + "envoy.config.route.v3.RouteConfiguration"
SDS = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
ECDS = PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
NDS = PREFIX + "istio.networking.nds.v1.NameTable"
PCDS = PREFIX + "istio.mesh.v1alpha1.ProxyConfig"
HEALTH = PREFIX + "istio.v1.HealthInformation"
UPSTREAMS = PREFIX + "isthmus.v1.UpstreamReport"
"""What an agent saw of the addresses that its Envoy calls: in a request, as the message of the error detail."""

ADDRESS = PREFIX + "istio.workload.Address"
WORKLOAD = PREFIX + "istio.workload.Workload"
AUTHORIZATION = PREFIX + "istio.security.Authorization"

PEER_SERVICE = PREFIX + "isthmus.peering.v1.Service"
CONTROL_PLANE = PREFIX + "isthmus.peering.v1.ControlPlane"
TRUST_BUNDLE = PREFIX + "isthmus.peering.v1.TrustBundle"
"""What control planes tell each other; proxies get bundles, too."""
ROOTS_REPORT = PREFIX + "isthmus.peering.v1.RootsReport"
"""The roots of a peer that asks: in a request, as the message of the error detail."""
ENTRANCES_REPORT = PREFIX + "isthmus.peering.v1.EntrancesReport"
"""The addresses at which the network of a peer that asks is entered, with spaces, in the same place."""
BELIEF_REPORT = PREFIX + "isthmus.peering.v1.BeliefReport"
"""By which of our roots we are believed by a peer that asks: fingerprints with spaces, in the same place."""

ON_DEMAND = (ADDRESS, WORKLOAD)
"""Types of which a client may ask for one thing and is told of what belongs to it, too (XD8)."""

PUSH_ORDER = (CDS, EDS, LDS, RDS, SDS, NDS, PCDS, AUTHORIZATION, ADDRESS, WORKLOAD)
"""Order on one stream (XD2): what is referred to comes before what refers to it.

Unlike in Istio policies come before the workloads that name them: ztunnel ignores a policy that it does not know.
"""

SHORT_NAMES = {
    CDS: "CDS", EDS: "EDS", LDS: "LDS", RDS: "RDS", SDS: "SDS", ECDS: "ECDS", NDS: "NDS", PCDS: "PCDS",
    TRUST_BUNDLE: "TBDS", ADDRESS: "WDS", WORKLOAD: "WDS/Workload", AUTHORIZATION: "WADS",
}  # fmt: skip
"""What people call the types."""


class XdsResource:
    """One named resource. `body` is the deterministic encoding of the message that `type_url` names.

    Only one string of bytes is kept: the resource framed as a field of a DeltaDiscoveryResponse. Its parts are laid
    out so that everything else that is sent (the bare Resource, the Any of a state-of-the-world response, the body)
    is a tail of it; a parser takes the fields of a message in any order.
    """

    __slots__ = ("_any_at", "_body_at", "_resource_at", "framed", "name", "type_url", "version")

    def __init__(self, type_url: str, name: str, body: bytes, version: str = "") -> None:
        self.type_url: Final = type_url
        self.name: Final = name
        self.version: Final = version or blake2b(body, digest_size=8).hexdigest()
        value_head = length_delimited(1, type_url.encode()) + b"\x12" + varint(len(body))
        any_head = b"\x12" + varint(len(value_head) + len(body)) + value_head
        labels = length_delimited(1, self.version.encode()) + length_delimited(3, name.encode())
        head = b"\x12" + varint(len(labels) + len(any_head) + len(body))
        self.framed: Final = b"".join((head, labels, any_head, body))
        self._resource_at: Final = len(head)
        self._any_at: Final = len(head) + len(labels)
        self._body_at: Final = len(self.framed) - len(body)

    @property
    def body(self) -> bytes:
        """The encoded message itself."""
        return self.framed[self._body_at :]

    @property
    def size(self) -> int:
        """Length of the body in bytes."""
        return len(self.framed) - self._body_at

    def encode(self) -> bytes:
        """The bytes of `envoy.service.discovery.v3.Resource`."""
        return self.framed[self._resource_at :]

    def framed_any(self) -> bytes:
        """The resource as one element of DiscoveryResponse.resources (field 2 there, too)."""
        return self.framed[self._any_at :]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, XdsResource) and self.framed == other.framed

    def __hash__(self) -> int:
        return hash(self.framed)

    def __repr__(self) -> str:
        return f"XdsResource({SHORT_NAMES.get(self.type_url, self.type_url)} {self.name} {self.version} {self.size} B)"
