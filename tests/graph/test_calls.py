"""Two networks with the same addresses, seen through Envoy's own matching: who answers whom, and on which way."""

import msgspec
import pytest

from isthmus.envoy.match import Connection
from isthmus.graph.mesh import Mesh
from isthmus.model.rows import (
    DestinationRule,
    MtlsMode,
    PeerAuthentication,
    Protocol,
    Row,
    Subset,
    TrafficPolicy,
    labels,
)
from tests.graph.calls import Answer, World, config
from tests.graph.world import (
    App,
    cluster,
    cross_network,
    gateway,
    helloworld,
    mesh,
    port,
    put,
    router,
    sleep,
    two_networks,
)

HELLO = "helloworld.sample.svc.cluster.local"
SNI = f"outbound_.5000_._.{HELLO}"
EAST_IPS = ("10.0.0.11", "10.0.0.12", "10.0.0.13")
WEST_GATEWAY = "172.18.0.2"


def build(rows: list[Row], *extra: Row, west_ips: tuple[str, ...] = ("10.0.0.11",)) -> tuple[World, Mesh]:
    """The world of two networks: a mesh for each control plane, sidecars and west's gateways."""
    east, west = mesh("east", rows, list(extra)), mesh("west", rows, list(extra))
    west.apply([put(cross_network("west"))])
    world = World()
    for index, ip in enumerate(EAST_IPS):
        world.workloads["net-east", ip] = config(east, helloworld("east", *EAST_IPS).sidecar(index, network="net-east"))
    for index, ip in enumerate(west_ips):
        world.workloads["net-west", ip] = config(west, helloworld("west", *west_ips).sidecar(index, network="net-west"))
    for index, address in enumerate((WEST_GATEWAY, "172.18.0.3")):
        proxy = router("west", "net-west", pod=f"gw-{index}", address=f"10.0.0.9{index}")
        world.gateways[address] = ("net-west", config(west, proxy))
    return world, east


def call(world: World, east: Mesh, *, host: str = HELLO, vip: str = "10.96.0.1", number: int = 5000) -> list[Answer]:
    """east/sleep calls a service by HTTP."""
    caller = config(east, sleep().sidecar(network="net-east"))
    return world.call("net-east", caller, Connection(address=vip, port=number, http="http/1.1"), host=host)


def test_each_endpoint_gets_its_share_and_remote_ones_through_the_gateway() -> None:
    world, east = build(two_networks())
    answers = call(world, east)
    assert [(a.address, a.gateway, a.share, a.mtls, a.closed) for a in answers] == [
        ("10.0.0.11", "", 0.25, True, ""),
        ("10.0.0.12", "", 0.25, True, ""),
        ("10.0.0.13", "", 0.25, True, ""),
        ("10.0.0.11", WEST_GATEWAY, 0.25, True, ""),
    ]
    assert {a.sni for a in answers} == {SNI}
    assert {a.peers for a in answers} == {("spiffe://cluster.local/ns/sample/sa/helloworld",)}


@pytest.mark.parametrize(
    ("gateways", "west", "share"),
    [
        (("172.18.0.2",), 1, 0.25),
        (("172.18.0.2", "172.18.0.3"), 1, 0.25),
        (("172.18.0.2",), 3, 0.5),
        (("172.18.0.2", "172.18.0.3"), 3, 0.5),
        (("172.18.0.2", "172.18.0.3"), 9, 0.75),
    ],
)
def test_shares_are_exact_whatever_the_number_of_gateways(gateways: tuple[str, ...], west: int, share: float) -> None:
    ips = tuple(f"10.0.0.{11 + index}" for index in range(west))
    rows = [*two_networks(west_gateways=gateways), *helloworld("west", *ips).rows()]
    world, east = build(rows, west_ips=ips)
    answers = call(world, east)
    remote = [a for a in answers if a.gateway]
    assert sum(a.share for a in remote) == pytest.approx(share, abs=1e-12)
    assert {a.gateway for a in remote} == set(gateways)
    assert {round(a.share, 9) for a in answers if not a.gateway} == {round((1 - share) / 3, 9)}


@pytest.mark.parametrize(
    "host",
    [
        HELLO,
        f"{HELLO}:5000",
        "helloworld",
        "helloworld:5000",
        "helloworld.sample",
        "helloworld.sample.svc",
        "10.96.0.1",
    ],
)
def test_every_name_of_the_service_means_it(host: str) -> None:
    world, east = build(two_networks())
    assert {a.verdicts[0].cluster for a in call(world, east, host=host)} == {f"outbound|5000||{HELLO}"}


@pytest.mark.parametrize("host", ["other", "helloworld.other", "example.com", "10.96.7.7"])
def test_unknown_hosts_pass_through_to_where_the_caller_meant(host: str) -> None:
    world, east = build(two_networks())
    answers = call(world, east, host=host, vip="93.184.216.34")
    assert [(a.address, a.verdicts[0].cluster, a.sni) for a in answers] == [("93.184.216.34", "PassthroughCluster", "")]


def test_the_short_name_belongs_to_the_own_namespace() -> None:
    _, east = build(two_networks())
    caller = config(east, msgspec.structs.replace(sleep().sidecar(network="net-east"), namespace="x"))
    connection = Connection(address="10.96.0.1", port=5000, http="http/1.1")
    assert caller.leaving(connection, host="helloworld").cluster == "PassthroughCluster"
    assert caller.leaving(connection, host="helloworld.sample").cluster == f"outbound|5000||{HELLO}"


def test_bytes_that_are_no_http_pass_through_an_http_port() -> None:
    _, east = build(two_networks())
    caller = config(east, sleep().sidecar(network="net-east"))
    verdict = caller.leaving(Connection(address="93.184.216.34", port=5000, tls=True, sni="example.com"))
    assert (verdict.listener, verdict.cluster) == ("0.0.0.0_5000", "PassthroughCluster")
    assert caller.leaving(Connection(address="93.184.216.34", port=443)).listener == "virtualOutbound"


@pytest.mark.parametrize(
    ("sni", "alpn", "closed"),
    [
        (SNI, ("istio",), ""),
        (SNI, ("h2", "istio-http/1.1"), ""),
        (SNI, ("h2", "http/1.1"), "no filter chain matches"),
        (SNI, (), "no filter chain matches"),
        (HELLO, ("istio",), "no filter chain matches"),
        (f"outbound_.5001_._.{HELLO}", ("istio",), "no filter chain matches"),
        ("outbound_.5000_._.kubernetes.default.svc.cluster.local", ("istio",), "no filter chain matches"),
        ("sds-grpc", ("istio",), "no filter chain matches"),
    ],
)
def test_the_gateway_passes_only_mesh_tls_for_exposed_services(sni: str, alpn: tuple[str, ...], closed: str) -> None:
    world, _ = build(two_networks())
    _, gateway_config = world.gateways[WEST_GATEWAY]
    verdict = gateway_config.arriving(
        Connection(address="10.0.0.90", port=15443, tls=True, sni=sni, alpn=alpn), at=15443
    )
    assert verdict.closed == closed
    assert bool(verdict.targets) is not bool(closed)


def test_plaintext_to_the_gateway_is_closed() -> None:
    world, _ = build(two_networks())
    _, gateway_config = world.gateways[WEST_GATEWAY]
    assert gateway_config.arriving(Connection(address="10.0.0.90", port=15443)).closed == "no filter chain matches"


def test_a_gateway_leads_only_into_its_own_network() -> None:
    world, _ = build(two_networks())
    _, gateway_config = world.gateways[WEST_GATEWAY]
    connection = Connection(address="10.0.0.90", port=15443, tls=True, sni=SNI, alpn=("istio",))
    targets = gateway_config.arriving(connection).targets
    assert [(t.address, t.cluster, t.tls) for t in targets] == [("10.0.0.11", "west", None)]


def test_a_host_that_the_gateway_does_not_expose_is_closed_there() -> None:
    rows = [row for row in two_networks() if row.TABLE != "gateways"]
    west = mesh("west", rows, cross_network("west", "*.other.svc.cluster.local"))
    held = config(west, router("west", "net-west"))
    assert held.arriving(Connection(address="x", port=15443, tls=True, sni=SNI, alpn=("istio",))).closed


@pytest.mark.parametrize(
    ("mode", "plain", "mesh_tls", "other_tls"),
    [
        (MtlsMode.STRICT, "closed", "mtls", "mtls"),
        (MtlsMode.PERMISSIVE, "http", "mtls", "bytes"),
        (MtlsMode.DISABLE, "http", "bytes", "bytes"),
    ],
)
def test_what_a_workload_takes(mode: MtlsMode, plain: str, mesh_tls: str, other_tls: str) -> None:
    policy = PeerAuthentication(cluster="east", namespace="sample", name="default", mode=mode)
    world, _ = build(two_networks(), policy)
    server = world.workloads["net-east", "10.0.0.11"]

    def outcome(**fields: object) -> str:
        verdict = server.arriving(Connection(address="10.0.0.11", port=5000, **fields), at=15006)  # type: ignore[arg-type]
        if verdict.closed:
            return "closed"
        if verdict.server_tls is not None:
            assert verdict.server_tls.client_certificate
            assert verdict.server_tls.peer_prefixes == ("spiffe://cluster.local/",)
            return "mtls"
        assert verdict.cluster == "inbound|5000||"
        return "http" if verdict.route else "bytes"

    assert outcome(http="http/1.1") == plain
    assert outcome(tls=True, sni=SNI, alpn=("istio-http/1.1", "istio")) == mesh_tls
    assert outcome(tls=True, sni="example.com", alpn=("h2",)) == other_tls


def test_clients_speak_plaintext_where_policy_disables_mtls_and_other_networks_are_out_of_reach() -> None:
    policy = PeerAuthentication(cluster="east", namespace="sample", name="default", mode=MtlsMode.DISABLE)
    world, east = build(two_networks(), policy)
    answers = call(world, east)
    assert [(a.address, a.gateway, a.mtls, a.sni) for a in answers] == [(ip, "", False, "") for ip in EAST_IPS]
    assert [problem.field for problem in east.problems()] == ["endpoints"]


def test_pods_without_sidecar_get_plaintext() -> None:
    plain = App("east", "legacy", ["10.0.0.31"], vip="10.96.0.31", mesh=False)
    world, east = build(two_networks(), *plain.rows())
    answers = call(world, east, host="legacy", vip="10.96.0.31")
    assert [(a.address, a.sni, a.peers) for a in answers] == [("10.0.0.31", "", ())]


def test_a_service_only_in_the_other_cluster_is_reached_at_its_address_there() -> None:
    remote = App("west", "remote", ["10.0.0.11"], vip="10.96.7.7", ports=(port(5000), port(9000, Protocol.TCP)))
    world, east = build(two_networks(), *remote.rows())
    name = "remote.sample.svc.cluster.local"
    for number in (5000, 9000):
        answers = call(world, east, host=name, vip="10.96.7.7", number=number)
        assert [(a.gateway, a.address, a.share) for a in answers] == [(WEST_GATEWAY, "10.0.0.11", 1.0)]
        assert answers[0].sni == f"outbound_.{number}_._.{name}"


def test_a_borrowed_address_yields_to_who_is_at_home() -> None:
    ports = (port(5000), port(9000, Protocol.TCP))
    home = App("east", "home", ["10.0.0.41"], vip="10.96.7.7", ports=ports)
    away = App("west", "away", ["10.0.0.11"], vip="10.96.7.7", ports=(*ports, port(9001, Protocol.TCP)))
    world, east = build(two_networks(), *home.rows(), *away.rows())
    clusters = {
        (host, number): call(world, east, host=host, vip="10.96.7.7", number=number)[0].verdicts[0].cluster
        for host, number in (("home", 9000), ("away", 9001), ("10.96.7.7", 5000), ("away", 5000))
    }
    assert clusters == {
        ("home", 9000): "outbound|9000||home.sample.svc.cluster.local",
        ("away", 9001): "outbound|9001||away.sample.svc.cluster.local",
        ("10.96.7.7", 5000): "outbound|5000||home.sample.svc.cluster.local",
        ("away", 5000): "outbound|5000||away.sample.svc.cluster.local",
    }
    assert [(str(p.where), p.field) for p in east.problems()] == [
        ("Service sample/away in cluster east", "spec.clusterIP")
    ]


def test_one_port_number_may_be_tcp_http_and_headless_at_once() -> None:
    tcp = App("east", "tcp", ["10.0.0.51"], vip="10.96.0.51", ports=(port(5000, Protocol.TCP),))
    headless = App("east", "db", ["10.0.0.61", "10.0.0.62"], ports=(port(5000, Protocol.TCP),))
    world, east = build(two_networks(), *tcp.rows(), *headless.rows())
    caller = config(east, sleep().sidecar(network="net-east"))
    found = {}
    for address in ("10.96.0.51", "10.0.0.61", "10.96.0.1"):
        verdict = caller.leaving(Connection(address=address, port=5000, http="http/1.1"), host="helloworld")
        found[address] = (verdict.cluster, [t.address for t in verdict.targets if t.cluster != "west"])
    assert found == {
        "10.96.0.51": ("outbound|5000||tcp.sample.svc.cluster.local", ["10.0.0.51"]),
        "10.0.0.61": ("outbound|5000||db.sample.svc.cluster.local", ["10.0.0.61"]),
        "10.96.0.1": (f"outbound|5000||{HELLO}", list(EAST_IPS)),
    }
    assert world.workloads


@pytest.mark.parametrize("number", [15001, 15006, 15021])
def test_http_on_a_port_of_the_proxy_itself_is_carried_as_bytes(number: int) -> None:
    odd = App("east", "odd", ["10.0.0.51"], vip="10.96.0.51", ports=(port(number, target="5000"),))
    _, east = build(two_networks(), *odd.rows())
    caller = config(east, sleep().sidecar(network="net-east"))
    verdict = caller.leaving(Connection(address="10.96.0.51", port=number, http="http/1.1"), host="odd")
    assert verdict.listener == f"10.96.0.51_{number}"
    assert [(target.address, target.port) for target in verdict.targets] == [("10.0.0.51", 5000)]
    assert f"0.0.0.0_{number}" not in caller.listeners


def test_headless_http_goes_to_the_pod_that_was_meant_with_mtls() -> None:
    headless = App("east", "db", ["10.0.0.61", "10.0.0.62"], ports=(port(8080),))
    _, east = build(two_networks(), *headless.rows())
    caller = config(east, sleep().sidecar(network="net-east"))
    for host in ("db", "db-0.db.sample.svc.cluster.local"):
        verdict = caller.leaving(Connection(address="10.0.0.62", port=8080, http="http/1.1"), host=host)
        (target,) = verdict.targets
        assert (target.address, target.tls is not None) == ("10.0.0.62", True)


def test_cluster_local_services_stay_at_home() -> None:
    rows: list[Row] = []
    for name in ("east", "west"):
        rows += App(name, "kubernetes", ["10.0.0.71"], namespace="default", vip="10.96.0.71", mesh=False).rows()
    world, east = build(two_networks(), *rows)
    answers = call(world, east, host="kubernetes.default", vip="10.96.0.71")
    assert [(a.address, a.gateway, a.share) for a in answers] == [("10.0.0.71", "", 1.0)]
    assert east.problems() == []
    _, held = world.gateways[WEST_GATEWAY]
    assert not [name for name in held.listeners["0.0.0.0_15443"].filter_chains if "kubernetes" in name.name]


def test_a_network_without_gateway_is_hidden_and_reported() -> None:
    rows = [row for row in two_networks() if row.cluster != "west" or row.name != "istio-eastwestgateway"]
    world, east = build(rows)
    assert [a.address for a in call(world, east)] == list(EAST_IPS)
    assert ["no east-west gateway" in problem.message for problem in east.problems()] == [True]


def test_clusters_on_one_network_are_reached_directly() -> None:
    rows: list[Row] = [
        *cluster("east", "one", config=True),
        *cluster("west", "one"),
        *helloworld("east", "10.0.0.11").rows(),
        *helloworld("west", "10.0.0.21").rows(),
        *sleep().rows(),
        *gateway("east", "one", "172.18.0.1"),
    ]
    east = mesh("east", rows)
    caller = config(east, sleep().sidecar(network="one"))
    verdict = caller.leaving(Connection(address="10.96.0.1", port=5000, http="http/1.1"), host="helloworld")
    assert [(t.address, t.cluster, t.share) for t in verdict.targets] == [
        ("10.0.0.11", "east", 0.5),
        ("10.0.0.21", "west", 0.5),
    ]


def test_names_of_subsets_may_have_capitals() -> None:
    subsets = (Subset("V2", labels({"app": "helloworld"})), Subset("v2", labels({"app": "helloworld"})))
    rule = DestinationRule(cluster="west", namespace="sample", name="r", host=HELLO, subsets=subsets)
    world, _ = build(two_networks(), rule)
    _, held = world.gateways[WEST_GATEWAY]
    hello = Connection(address="x", port=15443, tls=True, sni=f"outbound_.5000_.V2_.{HELLO}", alpn=("istio",))
    assert [target.address for target in held.arriving(hello).targets] == ["10.0.0.11"]
    names = [
        name
        for chain in held.listeners["0.0.0.0_15443"].filter_chains
        for name in chain.filter_chain_match.server_names
    ]
    assert len(names) == len(set(names))


def test_subsets_choose_endpoints_by_labels_over_networks() -> None:
    rule = DestinationRule(
        cluster="east",
        namespace="sample",
        name="versions",
        host=HELLO,
        subsets=(
            Subset("west", labels({"topology.istio.io/cluster": "west"})),
            Subset("plain", labels({"app": "helloworld"}), TrafficPolicy(tls_mode="DISABLE")),
        ),
    )
    _, east = build(two_networks(), rule)
    caller = sleep().sidecar(network="net-east")
    held = config(east, caller)
    west = held.assignment(f"outbound|5000|west|{HELLO}")
    assert west is not None
    assert [e.endpoint.address.socket_address.address for g in west.endpoints for e in g.lb_endpoints] == [WEST_GATEWAY]
    plain = held.assignment(f"outbound|5000|plain|{HELLO}")
    assert plain is not None
    assert [e.endpoint.address.socket_address.address for g in plain.endpoints for e in g.lb_endpoints] == list(
        EAST_IPS
    )
