"""The field numbers are Istio's: bytes written by hand must read back (semantics 2.3 and 2.4)."""

from pathlib import Path

from google.protobuf import struct_pb2

from isthmus import proto
from isthmus.proto import ca_pb2, nds_pb2


def test_the_name_table_has_istios_field_numbers() -> None:
    info = b"\x0a\x0810.0.0.1" + b"\x12\x0aKubernetes" + b"\x1a\x01a" + b"\x22\x02ns"
    entry = b"\x0a\x04a.ns" + b"\x12" + bytes([len(info)]) + info
    table = nds_pb2.NameTable.FromString(b"\x0a" + bytes([len(entry)]) + entry)
    found = table.table["a.ns"]
    assert (list(found.ips), found.registry, found.shortname, found.namespace) == (
        ["10.0.0.1"],
        "Kubernetes",
        "a",
        "ns",
    )


def test_the_certificate_request_has_istios_field_numbers() -> None:
    request = ca_pb2.IstioCertificateRequest.FromString(b"\x0a\x03csr\x18\x3c\x22\x00")
    assert (request.csr, request.validity_duration) == ("csr", 60)
    assert isinstance(request.metadata, struct_pb2.Struct)
    assert (
        ca_pb2.IstioCertificateResponse(cert_chain=["leaf", "root"]).SerializeToString() == b"\x0a\x04leaf\x0a\x04root"
    )


def test_the_generated_files_belong_to_the_protos() -> None:
    here = Path(proto.__file__).parent
    stems = {path.stem for path in here.glob("*.proto")}
    assert stems == {path.stem.removesuffix("_pb2") for path in here.glob("*_pb2.py")}
    assert {m.full_name for m in nds_pb2.DESCRIPTOR.message_types_by_name.values()} == {
        "istio.networking.nds.v1.NameTable"
    }
    assert ca_pb2.DESCRIPTOR.services_by_name["IstioCertificateService"].full_name == (
        "istio.v1.auth.IstioCertificateService"
    )
