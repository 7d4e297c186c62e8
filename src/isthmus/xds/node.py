"""The node a client says it is: identifier and metadata (semantics 1.17)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.config.core.v3 import base_pb2
from google.protobuf import json_format

from isthmus.base.errors import IsthmusError


class NodeError(IsthmusError):
    """The first request does not say who asks."""


@dataclass(frozen=True, slots=True)
class Node:
    """`<type>~<ip>~<name>.<namespace>~<dns domain>` and the metadata."""

    id: str
    type: str
    address: str
    name: str
    namespace: str
    domain: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    locality: tuple[str, str, str] = ("", "", "")
    version: str = ""

    @property
    def cluster(self) -> str:
        """The cluster that the node claims."""
        return str(self.metadata.get("CLUSTER_ID", ""))

    @property
    def service_account(self) -> str:
        """The service account that the node claims, empty if it claims none."""
        return str(self.metadata.get("SERVICE_ACCOUNT", ""))


def read_node(message: base_pb2.Node) -> Node:
    """The node of a first request. Raises NodeError when the identifier is not of Istio's form.

    The namespace is that of the metadata if given, as Istio takes it; both must agree then.
    """
    parts = message.id.split("~")
    if len(parts) != 4 or not all(parts):
        raise NodeError(
            f"the node id {message.id!r} is not <type>~<ip>~<name>.<namespace>~<domain>",
            "Start Envoy with the bootstrap that the agent writes",
        )
    name, _, namespace = parts[2].rpartition(".")
    metadata = json_format.MessageToDict(message.metadata) if message.HasField("metadata") else {}
    claimed = str(metadata.get("NAMESPACE", namespace))
    if not name or claimed != namespace:
        raise NodeError(
            f"the node id {message.id!r} does not agree with the namespace {claimed!r} of the metadata",
            "Start Envoy with the bootstrap that the agent writes",
        )
    place = message.locality
    return Node(
        id=message.id,
        type=parts[0],
        address=parts[1],
        name=name,
        namespace=namespace,
        domain=parts[3],
        metadata=metadata,
        locality=(place.region, place.zone, place.sub_zone),
        version=str(metadata.get("ISTIO_VERSION", "")) or _build(message),
    )


def _build(message: base_pb2.Node) -> str:
    number = message.user_agent_build_version.version
    return f"{number.major_number}.{number.minor_number}.{number.patch}" if message.user_agent_name else ""
