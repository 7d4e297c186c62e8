"""The incremental variant of the protocol, client's side, for types that are wanted whole.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.xds.resource import WILDCARD


@dataclass(frozen=True, slots=True)
class Held:
    """A resource as it was received: version and encoded message."""

    version: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """What a response changed. `nonce` is what `answer` wants back."""

    type_url: str
    nonce: str
    changed: Mapping[str, Held] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


class DeltaClient:
    """What one client holds of some types, over any number of streams.

    A stream begins with `open`, which says the versions held: what did not change meanwhile is not sent again, and what
    is no more is removed by the server. What is of the type `fresh` is asked for last and anew on every stream: servers
    answer in order, so with it the rest was answered, even if there was nothing to send.
    """

    def __init__(self, types: Iterable[str], *, fresh: str) -> None:
        self.held: dict[str, dict[str, Held]] = {type_url: {} for type_url in types}
        self._fresh = fresh

    def open(self, node: base_pb2.Node) -> list[bytes]:
        """The first requests of a stream, one for each type."""
        requests = []
        asked = [*self.held.items(), (self._fresh, dict[str, Held]())]
        for i, (type_url, held) in enumerate(asked):
            request = discovery_pb2.DeltaDiscoveryRequest(
                type_url=type_url,
                resource_names_subscribe=[WILDCARD],
                initial_resource_versions={name: one.version for name, one in held.items()},
            )
            if i == 0:
                request.node.CopyFrom(node)
            requests.append(bytes(request.SerializeToString()))
        return requests

    def receive(self, data: bytes) -> Update | None:
        """Take a response; None if it is of a type that was not asked for. Raises DecodeError."""
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
        known = self.held.get(response.type_url)
        if known is None and response.type_url != self._fresh:
            return None
        held = {} if known is None else known
        changed = {one.name: Held(one.version, bytes(one.resource.value)) for one in response.resources}
        removed = tuple(name for name in response.removed_resources if name in held)
        held.update(changed)
        for name in removed:
            del held[name]
        return Update(response.type_url, response.nonce, changed, removed)

    @staticmethod
    def answer(update: Update, error: str = "") -> bytes:
        """ACK, or NACK with the reason."""
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=update.type_url, response_nonce=update.nonce)
        if error:
            request.error_detail.message = error
        return bytes(request.SerializeToString())

    @staticmethod
    def ask_again(type_url: str, name: str) -> bytes:
        """Have the server send a resource that is held: an answer shows that it lives, and how far away it is."""
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=[name])
        return bytes(request.SerializeToString())

    @staticmethod
    def report(type_url: str, message: str) -> bytes:
        """Something of our own for the server, which sends nothing back."""
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url)
        request.error_detail.message = message
        return bytes(request.SerializeToString())
