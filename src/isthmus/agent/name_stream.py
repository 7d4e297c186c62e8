"""The agent's own subscription on its Envoy's stream: the name table (NDS, DN1)."""

from collections.abc import Callable

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from isthmus.dns.names import NameTable, make_host
from isthmus.edge.agent_relay import Taken
from isthmus.proto import nds_pb2
from isthmus.xds.resource import NDS, WILDCARD

OnTable = Callable[[bytes, NameTable], None]


def read_table(body: bytes) -> NameTable:
    """The table in a resource's body. Raises DecodeError."""
    message = nds_pb2.NameTable.FromString(body)
    return NameTable(
        make_host(name, info.ips, registry=info.registry, shortname=info.shortname, namespace=info.namespace)
        for name, info in message.table.items()
    )


class NameStream:
    """Rides on Envoy's stream (`edge.agent_relay.Rider`): one connection and one node in the control plane per proxy.

    `wanted` False takes nothing: a proxy without DNS capture has no use for the table.
    """

    def __init__(self, on_table: OnTable, *, wanted: bool) -> None:
        self._on_table = on_table
        self._wanted = wanted
        self._versions: dict[str, str] = {}

    def join(self) -> bytes | None:
        """The subscription, with the version that is held, so that an unchanged table is not sent again."""
        if not self._wanted:
            return None
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=NDS, resource_names_subscribe=[WILDCARD], initial_resource_versions=self._versions
        )
        return bytes(request.SerializeToString())

    def take(self, response: bytes) -> Taken | None:
        """Keep the table of a response for the agent and answer it (ACK, or NACK if it cannot be read)."""
        if not self._wanted or NDS.encode() not in response:
            return None
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(response)
        if message.type_url != NDS:
            return None
        answer = discovery_pb2.DeltaDiscoveryRequest(type_url=NDS, response_nonce=message.nonce)
        try:
            for resource in message.resources:
                body = bytes(resource.resource.value)
                self._on_table(body, read_table(body))
                self._versions = {resource.name: resource.version}
        except DecodeError as error:
            answer.error_detail.message = f"the name table cannot be read: {error}"
        return Taken(bytes(answer.SerializeToString()))
