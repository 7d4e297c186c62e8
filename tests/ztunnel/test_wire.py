"""The messages on the wire, against bytes that were put together from the tables of §2.1, §2.2 and §2.7 by hand."""

import pytest
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from isthmus.proto import authorization_pb2, workload_pb2, zds_pb2


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return out + bytes((number,))


def text(field: int, value: str | bytes) -> bytes:
    """A string, bytes or message field."""
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def number(field: int, value: int) -> bytes:
    """An integer, boolean or enumeration field."""
    return varint(field << 3) + varint(value)


def check(message: Message, *parts: bytes) -> None:
    """The parts are the whole message, in whatever order, and the message is encoded in the order of its numbers."""
    assert type(message).FromString(b"".join(parts)) == message
    encoded = message.SerializeToString(deterministic=True)
    ordered: list[bytes] = sorted(parts, key=_field)
    assert encoded == b"".join(ordered)
    assert len(UnknownFieldSet(type(message).FromString(encoded))) == 0


def _field(part: bytes) -> int:
    value = shift = 0
    for byte in part:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value >> 3


ADDRESS = text(1, "n") + text(2, bytes((10, 0, 0, 1)))
PORT = number(1, 80) + number(2, 8080) + number(3, 1)


def test_workload() -> None:
    pb = workload_pb2
    where = pb.GatewayAddress(hostname=pb.NamespacedHostname(namespace="a", hostname="h"), hbone_mtls_port=15008)
    out = pb.GatewayAddress(address=pb.NetworkAddress(network="n", address=bytes((10, 0, 0, 1))), hbone_mtls_port=1)
    check(
        pb.Workload(
            name="p", namespace="a", addresses=[b"\1\2\3\4"], network="n", tunnel_protocol=pb.HBONE, trust_domain="td",
            service_account="sa", waypoint=where, node="node", canonical_name="c", canonical_revision="v1",
            workload_type=pb.POD, workload_name="w", native_tunnel=True, authorization_policies=["a/p"],
            status=pb.UNHEALTHY, cluster_id="east", network_gateway=out, uid="u", hostname="db.example",
            services={"a/h": pb.PortList(ports=[pb.Port(service_port=80, target_port=8080, app_protocol=pb.HTTP11)])},
            application_tunnel=pb.ApplicationTunnel(protocol=pb.ApplicationTunnel.PROXY, port=15088),
            locality=pb.Locality(region="r", zone="z", subzone="s"), network_mode=pb.HOST_NETWORK,
            capacity={"value": 3},
        ),
        text(1, "p"), text(2, "a"), text(3, b"\1\2\3\4"), text(4, "n"), number(5, 1), text(6, "td"), text(7, "sa"),
        text(8, text(1, text(1, "a") + text(2, "h")) + number(3, 15008)), text(9, "node"), text(10, "c"),
        text(11, "v1"), number(12, 2), text(13, "w"), number(14, 1), text(16, "a/p"), number(17, 1), text(18, "east"),
        text(19, text(2, ADDRESS) + number(3, 1)), text(20, "u"), text(21, "db.example"),
        text(22, text(1, "a/h") + text(2, text(1, PORT))), text(23, number(1, 1) + number(2, 15088)),
        text(24, text(1, "r") + text(2, "z") + text(3, "s")), number(25, 1), text(27, number(1, 3)),
    )  # fmt: skip


def test_service() -> None:
    pb = workload_pb2
    lb = pb.LoadBalancing
    where = pb.GatewayAddress(hostname=pb.NamespacedHostname(namespace="a", hostname="h"), hbone_mtls_port=15008)
    waypoint = text(1, text(1, "a") + text(2, "h")) + number(3, 15008)
    check(
        pb.Service(
            name="s", namespace="a", hostname="s.a.svc.cluster.local",
            addresses=[pb.NetworkAddress(network="n", address=bytes((10, 0, 0, 1)), length=24)],
            ports=[pb.Port(service_port=80, target_port=8080, app_protocol=pb.HTTP11)], subject_alt_names=["spiffe://x"],
            waypoint=where,
            load_balancing=lb(routing_preference=[lb.NETWORK, lb.REGION, lb.NODE], mode=lb.FAILOVER,
                              health_policy=lb.ALLOW_ALL),
            ip_families=pb.DUAL, canonical=True, ingress_use_waypoint=True,
            weighted_waypoints=[pb.WeightedWaypoint(destination=where, weight=9)], visibility=pb.Service.NAMESPACE,
        ),
        text(1, "s"), text(2, "a"), text(3, "s.a.svc.cluster.local"), text(4, ADDRESS + number(3, 24)), text(5, PORT),
        text(6, "spiffe://x"), text(7, waypoint), text(8, text(1, bytes((6, 1, 4))) + number(2, 2) + number(3, 1)),
        number(9, 3), number(11, 1), number(12, 1), text(13, text(1, waypoint) + number(2, 9)), number(14, 1),
    )  # fmt: skip


def test_an_address_is_a_workload_or_a_service() -> None:
    pb = workload_pb2
    check(pb.Address(workload=pb.Workload(uid="u")), text(1, text(20, "u")))
    check(pb.Address(service=pb.Service(name="s")), text(2, text(1, "s")))


def test_authorization() -> None:
    pb = authorization_pb2
    account = pb.ServiceAccountMatch(namespace="a", serviceAccount="sa")
    block = pb.Address(address=bytes((10, 0, 0, 0)), length=8)
    match = pb.Match(
        namespaces=[pb.StringMatch(exact="a")], not_namespaces=[pb.StringMatch(prefix="b")],
        principals=[pb.StringMatch(suffix="c")], not_principals=[pb.StringMatch(presence={})],
        source_ips=[block], not_source_ips=[block], destination_ips=[block], not_destination_ips=[block],
        destination_ports=[80, 443], not_destination_ports=[1], service_accounts=[account],
        not_service_accounts=[account],
    )  # fmt: skip
    bytes_of_block, bytes_of_account = text(1, bytes((10, 0, 0, 0))) + number(2, 8), text(1, "a") + text(2, "sa")
    parts = (
        text(1, text(1, "a")), text(2, text(2, "b")), text(3, text(3, "c")), text(4, text(4, b"")),
        text(5, bytes_of_block), text(6, bytes_of_block), text(7, bytes_of_block), text(8, bytes_of_block),
        text(9, varint(80) + varint(443)), text(10, varint(1)), text(11, bytes_of_account), text(12, bytes_of_account),
    )  # fmt: skip
    check(match, *parts)
    check(
        pb.Authorization(
            name="p", namespace="a", scope=pb.WORKLOAD_SELECTOR, action=pb.DENY, dry_run=True,
            rules=[pb.Rule(clauses=[pb.Clause(matches=[match])])],
        ),
        text(1, "p"), text(2, "a"), number(3, 2), number(4, 1), text(5, text(1, text(2, b"".join(parts)))),
        number(6, 1),
    )  # fmt: skip


def removal(uid: str) -> zds_pb2.WorkloadRequest:
    """The field's name is a word of the language."""
    message = zds_pb2.WorkloadRequest()
    getattr(message, "del").uid = uid
    return message


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        (zds_pb2.ZdsHello(version=zds_pb2.V1), (number(1, 1),)),
        (
            zds_pb2.WorkloadRequest(
                add=zds_pb2.AddWorkload(
                    uid="u", workload_info=zds_pb2.WorkloadInfo(name="p", namespace="a", service_account="sa")
                )
            ),
            (text(1, text(1, "u") + text(2, text(1, "p") + text(2, "a") + text(3, "sa"))),),
        ),
        (removal("u"), (text(2, text(2, "u")),)),
        (zds_pb2.WorkloadRequest(snapshot_sent=zds_pb2.SnapshotSent()), (text(3, b""),)),
        (zds_pb2.WorkloadRequest(keep=zds_pb2.KeepWorkload(uid="u")), (text(5, text(1, "u")),)),
        (zds_pb2.WorkloadResponse(ack=zds_pb2.Ack(error="no")), (text(1, text(1, "no")),)),
    ],
)
def test_zds(message: Message, parts: tuple[bytes, ...]) -> None:
    check(message, *parts)
