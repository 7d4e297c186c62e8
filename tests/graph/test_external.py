"""What is no pod, through Envoy's own matching: who is reached, by which way, with whose identity."""

from typing import Any

import pytest
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2

from isthmus.envoy.match import Connection, Target
from isthmus.graph.mesh import Mesh
from isthmus.model.external import EntryAddress, Resolution, ServiceEntry, WorkloadEntry
from isthmus.model.rows import Protocol, Proxy, Row, ServicePort, labels
from isthmus.proto import nds_pb2
from isthmus.xds.resource import CDS, EDS, NDS
from tests.graph.calls import config
from tests.graph.world import App, cluster, drop, gateway, helloworld, mesh, port, put, sleep, two_networks

HOST = "api.example.com"
HTTP = ServicePort("http", 80, Protocol.HTTP)
TCP = ServicePort("tcp", 9000, Protocol.TCP)


def entry(name: str = "api", **fields: Any) -> ServiceEntry:
    values: dict[str, Any] = {"namespace": "sample", "hosts": (HOST,), "ports": (HTTP, TCP)} | fields
    values.setdefault("resolution", Resolution.STATIC)
    return ServiceEntry(cluster="east", name=name, **values)


def at(address: str, **fields: Any) -> EntryAddress:
    return EntryAddress(address=address, **fields)


def machine(name: str, address: str, *, cluster_name: str = "east", **fields: Any) -> WorkloadEntry:
    healthy = fields.pop("healthy", True)
    found = labels(fields.pop("labels", {"app": "db"}))
    values: dict[str, Any] = {"service_account": "db"} | fields
    return WorkloadEntry(
        cluster=cluster_name,
        namespace="sample",
        name=name,
        endpoint=EntryAddress(address=address, labels=found, **values),
        labels=found,
        healthy=healthy,
    )


def small(*rows: Row) -> Mesh:
    return mesh("east", cluster("east", "net-east", config=True), sleep().rows(), list(rows))


CALLER = sleep().sidecar(network="net-east")


def targets(made: Mesh, address: str, number: int, host: str = "", caller: Proxy = CALLER) -> list[Target]:
    """Where a call of the caller may go."""
    connection = Connection(address=address, port=number, http="http/1.1" if host else "")
    return sorted(config(made, caller).leaving(connection, host=host).targets, key=lambda one: one.address)


def addresses(found: list[Target]) -> list[tuple[str, int]]:
    return [(target.address, target.port) for target in found]


def names(made: Mesh, caller: Proxy = CALLER) -> dict[str, tuple[str, ...]]:
    made.connect(caller)
    table = nds_pb2.NameTable.FromString(made.resources(caller.id, NDS)["nds"].body)
    return {host: tuple(info.ips) for host, info in table.table.items()}


def test_static_endpoints_are_reached_by_host_and_by_address() -> None:
    made = small(
        entry(addresses=("192.0.2.80",), endpoints=(at("198.51.100.1", ports=(("http", 8080),)), at("198.51.100.2")))
    )
    assert addresses(targets(made, "203.0.113.1", 80, HOST)) == [("198.51.100.1", 8080), ("198.51.100.2", 80)]
    assert addresses(targets(made, "192.0.2.80", 80, "192.0.2.80")) == [("198.51.100.1", 8080), ("198.51.100.2", 80)]
    assert addresses(targets(made, "192.0.2.80", 9000)) == [("198.51.100.1", 9000), ("198.51.100.2", 9000)]
    assert names(made)[HOST] == ("192.0.2.80",)


def test_shares_go_by_weight() -> None:
    made = small(entry(endpoints=(at("198.51.100.1", weight=3), at("198.51.100.2", weight=1))))
    assert [target.share for target in targets(made, "203.0.113.1", 80, HOST)] == [0.75, 0.25]


@pytest.mark.parametrize(
    ("internal", "fields", "peers"),
    [
        (True, {"service_account": "api"}, ("spiffe://cluster.local/ns/sample/sa/api",)),
        (True, {}, None),
        (True, {"labels": labels({"security.istio.io/tlsMode": "istio"})}, ()),
        (True, {"service_account": "api", "labels": labels({"security.istio.io/tlsMode": "disabled"})}, None),
        (False, {"service_account": "api"}, None),
    ],
)
def test_who_gets_mesh_mtls(internal: bool, fields: dict[str, Any], peers: tuple[str, ...] | None) -> None:
    made = small(entry(internal=internal, endpoints=(at("198.51.100.1", **fields),)))
    (target,) = targets(made, "203.0.113.1", 80, HOST)
    assert (None if target.tls is None else target.tls.peers) == peers


def test_names_that_the_object_gives_its_peers_are_taken() -> None:
    made = small(
        entry(internal=True, subject_alt_names=("spiffe://other/x",), endpoints=(at("1.1.1.1", service_account="a"),))
    )
    (target,) = targets(made, "203.0.113.1", 80, HOST)
    assert target.tls is not None
    assert target.tls.peers == ("spiffe://cluster.local/ns/sample/sa/a", "spiffe://other/x")


def test_dns_is_asked_by_the_proxy_for_the_host_or_for_endpoints() -> None:
    made = small(
        entry(resolution=Resolution.DNS),
        entry(
            "other", hosts=("b.example.com",), resolution=Resolution.DNS_ROUND_ROBIN, endpoints=(at("b.origin.net"),)
        ),
    )
    proxy = config(made, CALLER)
    first, second = proxy.cluster(f"outbound|80||{HOST}"), proxy.cluster("outbound|80||b.example.com")
    assert first is not None
    assert second is not None
    asked = [dns_cluster_pb2.DnsCluster.FromString(one.cluster_type.typed_config.value) for one in (first, second)]
    assert [one.all_addresses_in_single_endpoint for one in asked] == [False, True]
    assert addresses(targets(made, "203.0.113.1", 80, HOST)) == [(HOST, 80)]
    assert addresses(targets(made, "203.0.113.1", 80, "b.example.com")) == [("b.origin.net", 80)]
    assert not [name for name in made.resources(CALLER.id, EDS) if "example.com" in name]


def test_without_resolution_callers_reach_where_they_meant_to_go() -> None:
    made = small(entry(resolution=Resolution.NONE, addresses=("192.0.2.80",), hosts=("*.example.com",)))
    assert addresses(targets(made, "203.0.113.1", 80, "x.example.com")) == [("203.0.113.1", 80)]
    assert addresses(targets(made, "192.0.2.80", 9000)) == [("192.0.2.80", 9000)]


def test_objects_of_one_host_add_up_and_the_oldest_counts_between_namespaces() -> None:
    made = small(
        entry("a", ports=(HTTP,), endpoints=(at("198.51.100.1"),), created="2026-01-01"),
        entry("b", ports=(TCP,), endpoints=(at("198.51.100.2"),), addresses=("192.0.2.80",), created="2026-01-02"),
        entry("c", namespace="other", endpoints=(at("198.51.100.3"),), created="2026-01-03"),
    )
    assert addresses(targets(made, "203.0.113.1", 80, HOST)) == [("198.51.100.1", 80)]
    assert addresses(targets(made, "192.0.2.80", 9000)) == [("198.51.100.2", 9000)]
    made.apply([drop(entry("a")), drop(entry("b"))])
    assert addresses(targets(made, "203.0.113.1", 80, HOST)) == [("198.51.100.3", 80)]


def test_a_kubernetes_service_keeps_its_host_and_its_address() -> None:
    made = small(
        *helloworld("east", "10.0.0.11", vip="10.96.0.1", ports=(port(5000), port(9000, Protocol.TCP))).rows(),
        entry(hosts=("helloworld.sample.svc.cluster.local",), endpoints=(at("198.51.100.1"),)),
        entry("thief", addresses=("10.96.0.1",), hosts=("thief.example.com",), endpoints=(at("198.51.100.2"),)),
    )
    assert addresses(targets(made, "10.96.0.1", 9000)) == [("10.0.0.11", 9000)]
    host = "helloworld.sample.svc.cluster.local"
    assert addresses(targets(made, "10.96.0.1", 5000, host)) == [("10.0.0.11", 5000)]
    names_ = [name for name in made.resources(CALLER.id, CDS) if host in name]
    assert sorted(names_) == [f"outbound|5000||{host}", f"outbound|9000||{host}"]


# -- addresses of their own -------------------------------------------------------------------------------------------


def test_a_host_without_address_gets_one() -> None:
    made = small(entry(endpoints=(at("198.51.100.1"),)))
    (address,) = names(made)[HOST]
    assert address.startswith("240.240.")
    assert addresses(targets(made, address, 9000)) == [("198.51.100.1", 9000)]


def test_an_address_in_the_status_stays() -> None:
    made = small(entry(endpoints=(at("198.51.100.1"),), allocated=((HOST, "240.240.7.7"),)))
    assert names(made)[HOST] == ("240.240.7.7",)


def test_machines_and_pods_are_selected_by_an_entry() -> None:
    made = small(
        entry(internal=True, selector=labels({"app": "db"})),
        machine("vm1", "10.0.5.1", ports=(("http", 8080),)),
        machine("vm2", "10.0.5.2", healthy=False),
        machine("vm3", "10.0.5.3", labels={"app": "other"}),
        *App("east", "db", ["10.0.0.50"], vip="10.96.0.50").rows(),
    )
    found = targets(made, "203.0.113.1", 80, HOST)
    assert addresses(found) == [("10.0.0.50", 80), ("10.0.5.1", 8080)]
    assert {target.tls.peers for target in found if target.tls} == {("spiffe://cluster.local/ns/sample/sa/db",)}


def test_machines_are_selected_by_services_of_their_cluster_and_cross_networks() -> None:
    made = mesh(
        "east",
        two_networks(),
        machine("vm1", "10.0.5.1", cluster_name="west", labels={"app": "helloworld"}, service_account="helloworld"),
        machine("vm2", "10.0.5.2", labels={"app": "helloworld"}, network="net-vm"),
        machine("vm3", "10.0.5.3", labels={"app": "helloworld"}, service_account=""),
        *gateway("east", "net-vm", "172.18.0.77"),
    )
    found = targets(made, "10.96.0.1", 5000, "helloworld.sample.svc.cluster.local")
    assert [(target.address, target.tls is not None, round(target.share * 7, 3)) for target in found] == [
        ("10.0.0.11", True, 1),
        ("10.0.0.12", True, 1),
        ("10.0.0.13", True, 1),
        ("10.0.5.3", False, 1),
        ("172.18.0.2", True, 2),
        ("172.18.0.77", True, 1),
    ]


def test_a_machine_receives_on_the_ports_of_services_that_select_it() -> None:
    app = App("east", "db", [], vip="10.96.0.50", ports=(port(80, target="8080", name="http"),))
    made = small(
        app.service_row(),
        machine("vm1", "10.0.5.1", ports=(("http", 18080),)),
        entry(internal=True, selector=labels({"app": "db"}), ports=(ServicePort("tcp", 9000, Protocol.TCP, "9001"),)),
    )
    proxy = Proxy(
        cluster="east",
        namespace="sample",
        name="vm1",
        addresses=("10.0.5.1",),
        labels=labels({"app": "db"}),
        service_account="db",
    )
    held = config(made, proxy)
    verdict = held.arriving(Connection(address="10.0.5.1", port=18080, http="http/1.1"), host="x", at=15006)
    assert (verdict.cluster, verdict.virtual_host) == ("inbound|18080||", "inbound|http|18080")
    assert held.arriving(Connection(address="10.0.5.1", port=9001), at=15006).cluster == "inbound|9001||"


def test_another_object_of_a_host_changes_only_that_host() -> None:
    made = small(entry(addresses=("192.0.2.1",), endpoints=(at("198.51.100.1"),)))
    made.connect(CALLER)
    made.subscribe(CALLER.id, EDS, {f"outbound|80||{HOST}", "outbound|80||sleep.sample.svc.cluster.local"})
    made.resources(CALLER.id, EDS)
    dirty = made.apply([put(entry(addresses=("192.0.2.1",), endpoints=(at("198.51.100.2"),)))])
    assert dirty[CALLER.id][EDS] == {f"outbound|80||{HOST}"}


# -- what is told -----------------------------------------------------------------------------------------------------


def told(made: Mesh) -> list[tuple[str, str, str]]:
    return sorted((problem.where.kind, problem.where.name, problem.field) for problem in made.problems())


def test_endpoints_that_cannot_cross_networks_are_told() -> None:
    made = mesh(
        "east",
        two_networks(),
        entry(internal=True, endpoints=(at("198.51.100.1", network="net-west"),)),
        machine("vm", "10.0.5.1", cluster_name="west", labels={"app": "helloworld"}, service_account=""),
    )
    assert told(made) == [("Service", "helloworld", "endpoints"), ("ServiceEntry", HOST, "endpoints")]


def test_a_host_of_a_kubernetes_service_is_told() -> None:
    hosts = ("helloworld.sample.svc.cluster.local",)
    made = small(*helloworld("east", "10.0.0.11").rows(), entry(hosts=hosts, endpoints=(at("198.51.100.1"),)))
    assert told(made) == [("ServiceEntry", "api", "spec.hosts")]
