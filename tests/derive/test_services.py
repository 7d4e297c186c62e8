"""Namespace sameness, borrowed addresses, services that stay at home."""

import pytest

from isthmus.derive import services
from isthmus.model.mesh import MeshService
from isthmus.model.rows import Protocol, Service, ServicePort
from isthmus.model.settings import MeshSettings

SETTINGS = MeshSettings(config_cluster="west")
HTTP = ServicePort("http", 80, Protocol.HTTP)
TCP = ServicePort("tcp", 90)


def service(cluster: str, name: str = "web", *, vip: str = "", **fields: object) -> Service:
    """A Service row."""
    values: dict[str, object] = {"ports": (HTTP,), "cluster_ips": (vip,) if vip else ()}
    return Service(cluster=cluster, namespace="ns", name=name, **(values | fields))  # type: ignore[arg-type]


def merged(*rows: Service) -> MeshService:
    """The service that the rows are."""
    found = services.merge(rows, SETTINGS)
    assert found is not None
    return found


def test_the_config_cluster_comes_first_then_by_name() -> None:
    found = merged(
        service("east", vip="1.1.1.1"), service("west", vip="2.2.2.2", ports=(TCP,)), service("any", vip="3.3.3.3")
    )
    assert found.host == "web.ns.svc.cluster.local"
    assert found.ports == (TCP,)
    assert found.clusters == ("west", "any", "east")
    assert found.addresses == (("west", ("2.2.2.2",)), ("any", ("3.3.3.3",)), ("east", ("1.1.1.1",)))


def test_an_external_name_is_no_service() -> None:
    assert services.merge([service("east", external_name="example.com")], SETTINGS) is None
    assert services.merge([], SETTINGS) is None
    assert merged(service("west", external_name="x"), service("east", vip="1.1.1.1")).clusters == ("east",)


@pytest.mark.parametrize(
    ("name", "namespace", "local"),
    [
        ("kubernetes", "default", True),
        ("kubernetes", "other", False),
        ("dns", "kube-system", True),
        ("istiod", "istio-system", True),
        ("web", "kube-systemd", False),
    ],
)
def test_some_services_are_local_to_their_cluster(name: str, namespace: str, local: bool) -> None:
    row = Service(cluster="west", namespace=namespace, name=name)
    assert merged(row).cluster_local is local


@pytest.mark.parametrize(
    ("rows", "addresses"),
    [
        ([service("east", vip="1.1.1.1"), service("west", vip="2.2.2.2")], ("1.1.1.1",)),
        ([service("west", vip="2.2.2.2"), service("any", vip="3.3.3.3")], ("2.2.2.2",)),
        ([service("east"), service("any", vip="3.3.3.3")], ("3.3.3.3",)),
        ([service("east")], ()),
    ],
)
def test_addresses_are_those_of_this_cluster_else_of_another(rows: list[Service], addresses: tuple[str, ...]) -> None:
    assert services.addresses_for(merged(*rows), "east") == addresses


def test_a_cluster_local_service_borrows_nothing() -> None:
    row = Service(cluster="west", namespace="kube-system", name="dns", cluster_ips=("2.2.2.2",))
    assert services.addresses_for(merged(row), "east") == ()
    assert services.addresses_for(merged(row), "west") == ("2.2.2.2",)


VIP = "9.9.9.9"


@pytest.mark.parametrize(
    ("mine", "others", "blocked"),
    [
        pytest.param(service("west", vip=VIP), [service("east", "a", vip=VIP)], ((VIP, 80),), id="at home wins"),
        pytest.param(service("east", vip=VIP), [service("west", "a", vip=VIP)], (), id="at home keeps"),
        pytest.param(service("west", vip=VIP), [service("any", "a", vip=VIP)], ((VIP, 80),), id="first by name wins"),
        pytest.param(service("west", vip=VIP), [service("any", "z", vip=VIP)], (), id="last by name yields"),
        pytest.param(
            service("west", vip=VIP),
            [service("east", "a", vip=VIP, ports=(TCP, ServicePort("u", 53, Protocol.UDP)))],
            ((VIP, 90),),
            id="only its ports",
        ),
        pytest.param(service("west", vip=VIP), [service("any", "a", vip="8.8.8.8")], (), id="not at this address"),
    ],
)
def test_a_borrowed_address_is_blocked_where_another_listens(
    mine: Service, others: list[Service], blocked: tuple[tuple[str, int], ...]
) -> None:
    view = services.view(merged(mine), "east", lambda _: [merged(mine), *(merged(other) for other in others)])
    assert view.blocked == blocked
    assert view.listens_at(80) == (() if (VIP, 80) in blocked else view.addresses)
