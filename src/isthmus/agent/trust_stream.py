"""The agent's own subscription on its Envoy's stream: whose roots are believed for which trust domain.

There is nothing to hear while all trust domains are under the roots of the mesh, which the agent has anyway.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from isthmus.base.errors import IsthmusError
from isthmus.edge.agent_relay import Taken
from isthmus.proto import peering_pb2
from isthmus.trust.pem import load_certificates
from isthmus.xds.resource import TRUST_BUNDLE, WILDCARD


@dataclass(frozen=True, slots=True)
class Bundle:
    """The roots (PEM) of one trust domain; `own`: those of the proxy's own control plane, too.

    `signer` is the fingerprint of the certificate that signs in the proxy's own trust domain now.
    """

    roots: bytes
    own: bool
    signer: str = ""


Bundles = Mapping[str, Bundle]
"""By trust domain; empty: nothing but the own roots, whatever the trust domain."""


def read_bundle(body: bytes) -> tuple[str, Bundle]:
    """A trust domain and its bundle. Raises DecodeError, or TrustError for certificates that cannot be read."""
    message = peering_pb2.TrustBundle.FromString(body)
    roots = message.roots.encode()
    load_certificates(roots)
    return message.trust_domain, Bundle(roots, message.own, message.signer)


def write_bundles(bundles: Bundles) -> bytes:
    """For a file, so that peers are believed by the next agent, too, before it reaches a control plane."""
    parts = [
        peering_pb2.TrustBundle(
            trust_domain=domain, roots=one.roots.decode(), own=one.own, signer=one.signer
        ).SerializeToString(deterministic=True)
        for domain, one in sorted(bundles.items())
    ]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def read_bundles(data: bytes) -> dict[str, Bundle]:
    """What `write_bundles` wrote. Raises DecodeError or TrustError."""
    found: dict[str, Bundle] = {}
    while data:
        size = int.from_bytes(data[:4], "big")
        domain, bundle = read_bundle(data[4 : 4 + size])
        found[domain] = bundle
        data = data[4 + size :]
    return found


class TrustStream:
    """Rides on Envoy's stream (`edge.agent_relay.Rider`)."""

    def __init__(self, on_bundles: Callable[[Bundles], None]) -> None:
        self._on_bundles = on_bundles
        self._versions: dict[str, str] = {}
        self._bundles: dict[str, tuple[str, Bundle]] = {}

    def join(self) -> bytes | None:
        """The subscription, with the versions that are held."""
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=TRUST_BUNDLE, resource_names_subscribe=[WILDCARD], initial_resource_versions=self._versions
        )
        return bytes(request.SerializeToString())

    def take(self, response: bytes) -> Taken | None:
        """Keep the bundles of a response and answer it (ACK, or NACK if they cannot be read: then nothing changes)."""
        if TRUST_BUNDLE.encode() not in response:
            return None
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(response)
        if message.type_url != TRUST_BUNDLE:
            return None
        answer = discovery_pb2.DeltaDiscoveryRequest(type_url=TRUST_BUNDLE, response_nonce=message.nonce)
        try:
            fresh = {one.name: read_bundle(bytes(one.resource.value)) for one in message.resources}
        except (DecodeError, IsthmusError) as error:
            answer.error_detail.message = f"the bundles cannot be read: {error}"
            return Taken(bytes(answer.SerializeToString()))
        for name in message.removed_resources:
            self._bundles.pop(name, None)
            self._versions.pop(name, None)
        self._bundles |= fresh
        self._versions |= {one.name: one.version for one in message.resources}
        self._on_bundles(dict(self._bundles.values()))
        return Taken(bytes(answer.SerializeToString()))
