"""Routes: the names of a service, retries, unknown hosts."""

import pytest
from envoy.config.route.v3 import route_components_pb2, route_pb2

from isthmus.envoy import routes
from isthmus.model.mesh import MeshService, ServiceView
from isthmus.model.rows import Protocol, ServicePort
from isthmus.model.settings import MeshSettings

SETTINGS = MeshSettings(config_cluster="east")
PORT = ServicePort("http", 80, Protocol.HTTP)


def view(*addresses: str, headless: bool = False, blocked: tuple[tuple[str, int], ...] = ()) -> ServiceView:
    """A service as seen from a cluster."""
    service = MeshService(namespace="ns", name="web", host="web.ns.svc.cluster.local", ports=(PORT,), headless=headless)
    return ServiceView(service, addresses, blocked)


FQDN = "web.ns.svc.cluster.local"


@pytest.mark.parametrize(
    ("seen", "own", "expected"),
    [
        (view("10.0.0.1"), False, [FQDN, "web.ns", "web.ns.svc", "10.0.0.1"]),
        (view("10.0.0.1"), True, [FQDN, "web", "web.ns", "web.ns.svc", "10.0.0.1"]),
        (view("10.0.0.1", "fd00::1"), False, [FQDN, "web.ns", "web.ns.svc", "10.0.0.1", "[fd00::1]"]),
        (view("10.0.0.1", blocked=(("10.0.0.1", 80),)), False, [FQDN, "web.ns", "web.ns.svc"]),
        (
            view(headless=True),
            False,
            [FQDN, "web.ns", "web.ns.svc", f"*.{FQDN}", "*.web.ns", "*.web.ns.svc"],
        ),
    ],
)
def test_names_of_a_service(seen: ServiceView, own: bool, expected: list[str]) -> None:
    assert list(routes.domains(seen, 80, own_namespace=own, domain="cluster.local")) == expected


def test_a_virtual_host_retries_elsewhere_and_has_no_timeout() -> None:
    body = routes.virtual_host(view("10.0.0.1"), 80, own_namespace=True, settings=SETTINGS)
    host = route_components_pb2.VirtualHost.FromString(body)
    assert host.name == f"{FQDN}:80"
    (route,) = host.routes
    assert route.route.cluster == f"outbound|80||{FQDN}"
    assert (route.route.timeout.seconds, route.route.HasField("timeout")) == (0, True)
    retry = route.route.retry_policy
    assert retry.retry_on.split(",")[0] == "connect-failure"
    assert (retry.num_retries.value, list(retry.retriable_status_codes)) == (2, [503])
    assert retry.retry_host_predicate[0].name == "envoy.retry_host_predicates.previous_hosts"


@pytest.mark.parametrize(("allow_any", "name"), [(True, "allow_any"), (False, "block_all")])
def test_unknown_hosts_come_last(allow_any: bool, name: str) -> None:
    body = routes.virtual_host(view(), 80, own_namespace=False, settings=SETTINGS)
    settings = MeshSettings(config_cluster="east", allow_any=allow_any)
    config = route_pb2.RouteConfiguration.FromString(
        routes.route_configuration("80", [routes.as_part(body)], settings).body
    )
    assert [host.name for host in config.virtual_hosts] == [f"{FQDN}:80", name]
    assert config.ignore_port_in_host_matching
    route = config.virtual_hosts[1].routes[0]
    assert (route.route.cluster == "PassthroughCluster") is allow_any
    assert (route.direct_response.status == 502) is not allow_any
