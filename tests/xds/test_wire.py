"""Joined bytes are what the protobuf library reads as the message."""

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.xds.resource import CDS, EDS, XdsResource
from isthmus.xds.wire import delta_response, length_delimited, sotw_response, varint


@pytest.mark.parametrize(("number", "data"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")])
def test_varint(number: int, data: bytes) -> None:
    assert varint(number) == data


def test_a_delta_response_reads_back() -> None:
    made = [XdsResource(CDS, name, b"\x0a" + bytes([size]) + b"x" * size) for name, size in (("a", 3), ("b", 100))]
    data = delta_response(CDS, (r.framed for r in made), ["gone", "ärger"], nonce="7", version="v")
    response = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
    assert [(r.name, r.version, r.resource.type_url, r.resource.value) for r in response.resources] == [
        (r.name, r.version, CDS, r.body) for r in made
    ]
    assert list(response.removed_resources) == ["gone", "ärger"]
    assert (response.type_url, response.nonce, response.system_version_info) == (CDS, "7", "v")


def test_a_sotw_response_reads_back() -> None:
    made = XdsResource(EDS, "a", b"x" * 20_000)
    response = discovery_pb2.DiscoveryResponse.FromString(
        sotw_response(EDS, [made.framed_any()], nonce="1", version="v")
    )
    assert [(item.type_url, item.value) for item in response.resources] == [(EDS, made.body)]
    assert (response.type_url, response.nonce, response.version_info) == (EDS, "1", "v")


def test_a_message_field_may_be_appended() -> None:
    assert discovery_pb2.Resource.FromString(length_delimited(3, b"n")).name == "n"
