"""A resource as every stream shares it: bytes made once, versioned by their hash."""

from dataclasses import dataclass, field
from hashlib import blake2b

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

WILDCARD = "*"

PREFIX = "type.googleapis.com/"
CDS = PREFIX + "envoy.config.cluster.v3.Cluster"
EDS = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = PREFIX + "envoy.config.listener.v3.Listener"
RDS = PREFIX + "envoy.config.route.v3.RouteConfiguration"
SDS = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
NDS = PREFIX + "istio.networking.nds.v1.NameTable"
PCDS = PREFIX + "istio.mesh.v1alpha1.ProxyConfig"

PUSH_ORDER = (CDS, EDS, LDS, RDS, SDS, NDS, PCDS)
"""Order on one stream (XD2): what is referred to comes before what refers to it."""


@dataclass(frozen=True, slots=True)
class XdsResource:
    """One named resource. `body` is the deterministic encoding of the message `type_url` names."""

    type_url: str
    name: str
    body: bytes
    version: str = field(default="")

    def __post_init__(self) -> None:
        if not self.version:
            object.__setattr__(self, "version", blake2b(self.body, digest_size=8).hexdigest())

    def encode(self) -> bytes:
        """The bytes of `envoy.service.discovery.v3.Resource`, to be joined into responses."""
        body = any_pb2.Any(type_url=self.type_url, value=self.body)
        encoded: bytes = discovery_pb2.Resource(name=self.name, version=self.version, resource=body).SerializeToString()
        return encoded
