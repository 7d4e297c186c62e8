"""The name table on Envoy's stream: asked for once, taken out, answered."""

from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from isthmus.agent.name_stream import NameStream, read_table
from isthmus.dns.names import NameTable
from isthmus.proto import nds_pb2
from isthmus.xds.resource import CDS, NDS, XdsResource
from isthmus.xds.wire import delta_response

Tables = list[tuple[bytes, NameTable]]


def table_body(ip: str) -> bytes:
    """A table with one service."""
    info = nds_pb2.NameTable.NameInfo(ips=[ip], registry="Kubernetes", shortname="hello", namespace="sample")
    return nds_pb2.NameTable(table={"hello.sample.svc.cluster.local": info}).SerializeToString(deterministic=True)


def response(type_url: str, name: str, body: bytes, nonce: str = "7") -> bytes:
    """A response with one resource."""
    return delta_response(type_url, [XdsResource(type_url, name, body).framed], nonce=nonce)


def stream(tables: Tables, *, wanted: bool = True) -> NameStream:
    """One that collects its tables."""
    return NameStream(lambda body, table: tables.append((body, table)), wanted=wanted)


def request(data: bytes | None) -> Any:
    """Parse what the stream sends."""
    assert data is not None
    return discovery_pb2.DeltaDiscoveryRequest.FromString(data)


def test_subscribes_to_everything_and_says_what_it_holds() -> None:
    names = stream([])
    first = request(names.join())
    assert (first.type_url, list(first.resource_names_subscribe), dict(first.initial_resource_versions)) == (
        NDS,
        ["*"],
        {},
    )
    names.take(response(NDS, "", table_body("10.1.0.1")))
    version = XdsResource(NDS, "", table_body("10.1.0.1")).version
    assert dict(request(names.join()).initial_resource_versions) == {"": version}


def test_takes_tables_and_accepts_them() -> None:
    tables: Tables = []
    taken = stream(tables).take(response(NDS, "", table_body("10.1.0.1")))
    assert taken is not None
    ack = request(taken.answer)
    assert (ack.response_nonce, ack.HasField("error_detail")) == ("7", False)
    ((body, table),) = tables
    assert body == table_body("10.1.0.1")
    host = table.host("hello.sample.svc.cluster.local")
    assert host is not None
    assert (host.v4, host.short) == (("10.1.0.1",), "hello.sample")


def test_rejects_what_it_cannot_read_and_keeps_what_it_had() -> None:
    tables: Tables = []
    names = stream(tables)
    names.take(response(NDS, "", table_body("10.1.0.1")))
    taken = names.take(response(NDS, "", b"\xff\xff", nonce="8"))
    assert taken is not None
    nack = request(taken.answer)
    assert nack.response_nonce == "8"
    assert "cannot be read" in nack.error_detail.message
    assert len(tables) == 1


def test_removal_keeps_the_table() -> None:
    """Fail static: names that a control plane forgot are better than none."""
    tables: Tables = []
    taken = stream(tables).take(delta_response(NDS, [], ["x"], nonce="9"))
    assert taken is not None
    assert tables == []


def test_leaves_everything_else_to_envoy() -> None:
    names = stream([])
    assert names.take(response(CDS, "a", b"x")) is None
    assert names.take(response(CDS, NDS, b"x")) is None  # the type's name inside another's resource


def test_without_capture_nothing_is_asked_or_taken() -> None:
    names = stream([], wanted=False)
    assert names.join() is None
    assert names.take(response(NDS, "", table_body("10.1.0.1"))) is None


def test_read_table_of_external_host() -> None:
    info = nds_pb2.NameTable.NameInfo(ips=["240.240.0.1"], registry="External")
    body = nds_pb2.NameTable(table={"*.Example.com": info}).SerializeToString()
    host = read_table(body).wildcard("a.example.com")
    assert host is not None
    assert (host.name, host.short) == ("*.example.com", "")
