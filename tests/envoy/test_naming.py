"""Names as users know them (SN1), made and read."""

import pytest

from isthmus.envoy import naming
from isthmus.envoy.naming import ClusterName

HOST = "web.ns.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        (naming.outbound(80, HOST), ClusterName(80, "", HOST)),
        (naming.outbound(80, HOST, "v1"), ClusterName(80, "v1", HOST)),
        (naming.sni_dnat(80, HOST), ClusterName(80, "", HOST, sni_dnat=True)),
        (naming.sni_dnat(80, HOST, "v1"), ClusterName(80, "v1", HOST, sni_dnat=True)),
        (naming.inbound(80), None),
        (naming.PASSTHROUGH, None),
        ("outbound|x||h", None),
        ("outbound|80", None),
        ("", None),
    ],
)
def test_cluster_names(name: str, parsed: ClusterName | None) -> None:
    assert naming.parse(name) == parsed


def test_forms() -> None:
    assert naming.outbound(80, HOST, "v1") == f"outbound|80|v1|{HOST}"
    assert naming.sni_dnat(80, HOST) == f"outbound_.80_._.{HOST}"
    assert naming.inbound(8080) == "inbound|8080||"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (naming.port_listener(80), ("0.0.0.0", 80)),
        (naming.address_listener("10.0.0.1", 80), ("10.0.0.1", 80)),
        (naming.address_listener("fd00::1", 80), ("fd00::1", 80)),
        ("virtualInbound", None),
        ("x_y", None),
    ],
)
def test_listener_names(name: str, place: tuple[str, int] | None) -> None:
    assert naming.parse_listener(name) == place
