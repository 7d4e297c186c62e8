"""What a first request says of its sender."""

from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from google.protobuf import struct_pb2

from isthmus.xds.node import NodeError, read_node

ID = "sidecar~10.0.0.1~sleep-1.sample~sample.svc.cluster.local"


def node(identifier: str = ID, metadata: dict[str, Any] | None = None, **fields: Any) -> base_pb2.Node:
    message = base_pb2.Node(id=identifier, **fields)
    if metadata is not None:
        message.metadata.CopyFrom(struct_pb2.Struct())
        message.metadata.update(metadata)
    return message


def test_the_identifier_has_four_parts() -> None:
    read = read_node(node())
    assert (read.type, read.address, read.name, read.namespace, read.domain) == (
        "sidecar",
        "10.0.0.1",
        "sleep-1",
        "sample",
        "sample.svc.cluster.local",
    )
    assert (read.cluster, read.service_account, read.version, dict(read.metadata)) == ("", "", "", {})


def test_metadata_and_locality_are_plain_data() -> None:
    place = base_pb2.Locality(region="r", zone="z", sub_zone="s")
    metadata = {"CLUSTER_ID": "east", "SERVICE_ACCOUNT": "sleep", "LABELS": {"app": "sleep"}, "ISTIO_VERSION": "1.2"}
    read = read_node(node(metadata=metadata, locality=place))
    assert (read.cluster, read.service_account, read.version) == ("east", "sleep", "1.2")
    assert read.metadata["LABELS"] == {"app": "sleep"}
    assert read.locality == ("r", "z", "s")


def test_a_plain_envoy_shows_its_own_version() -> None:
    build = base_pb2.BuildVersion(version={"major_number": 1, "minor_number": 40, "patch": 0})
    assert read_node(node(user_agent_name="envoy", user_agent_build_version=build)).version == "1.40.0"


@pytest.mark.parametrize(
    "identifier",
    ["", "a", "sidecar~10.0.0.1~sleep", "sidecar~~a.b~c", "sidecar~10.0.0.1~.b~c", "sidecar~10.0.0.1~a.b~"],
)
def test_what_is_no_identifier_is_refused(identifier: str) -> None:
    with pytest.raises(NodeError, match="the node id") as refused:
        read_node(node(identifier))
    assert refused.value.remedy


def test_a_namespace_that_disagrees_is_refused() -> None:
    with pytest.raises(NodeError, match="does not agree with the namespace 'other'"):
        read_node(node(metadata={"NAMESPACE": "other"}))
