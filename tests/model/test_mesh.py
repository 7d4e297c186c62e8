"""Derived rows: the questions they answer."""

import pytest

from isthmus.model.mesh import Endpoint, MeshService, ServiceView, SliceEndpoints, WorkloadMode
from isthmus.model.rows import MtlsMode, Protocol, ServicePort

WEB = MeshService(
    namespace="ns",
    name="web",
    host="h",
    ports=(ServicePort("dns", 53, Protocol.UDP), ServicePort("dns-tcp", 53), ServicePort("http", 80, Protocol.HTTP)),
)


@pytest.mark.parametrize(("number", "name"), [(80, "http"), (53, "dns-tcp"), (81, None)])
def test_ports_by_number_skip_udp(number: int, name: str | None) -> None:
    found = WEB.port(number)
    assert (found.name if found is not None else None) == name


def test_a_blocked_address_is_not_listened_at() -> None:
    view = ServiceView(WEB, ("1.1.1.1", "1.1.1.2"), (("1.1.1.1", 80),))
    assert view.listens_at(80) == ("1.1.1.2",)
    assert view.listens_at(53) == ("1.1.1.1", "1.1.1.2")


def test_slice_ports_by_name() -> None:
    found = SliceEndpoints("c", (("http", 8080), ("", 9090)))
    assert [found.port(name) for name in ("http", "", "x")] == [8080, 9090, 0]


def test_mutual_tls_by_port() -> None:
    endpoint = Endpoint(cluster="c", network="n", address="a", mtls=True, plain_ports=(90,))
    assert [endpoint.takes_mtls(port) for port in (80, 90)] == [True, False]


def test_modes_by_port() -> None:
    mode = WorkloadMode(MtlsMode.STRICT, ((80, MtlsMode.DISABLE),))
    assert [mode.at(port) for port in (80, 81)] == [MtlsMode.DISABLE, MtlsMode.STRICT]
