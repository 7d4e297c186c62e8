"""What node proxies do, seen with real Envoys: run by `test_tunnels`, one process for each scenario."""

import asyncio
from functools import partial
from pathlib import Path

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from isthmus.edge.netns import NetworkNamespace
from isthmus.envoy import (
    clusters,
    endpoints,
    filters,
    hbone,
    hbone_gateway,
    naming,
    node_inbound,
    node_outbound,
    node_tunnels,
    tunnels,
)
from isthmus.envoy.build import packed, resource, socket_address
from isthmus.envoy.clusters import Destination
from isthmus.model.mesh import AmbientPod, Assignment, LbEndpoint, MeshService, WorkloadMode
from isthmus.model.policy import AuthorizationPolicy, Condition, PolicyAction, PolicyRule
from isthmus.model.rows import MtlsMode, Protocol, ServicePort
from isthmus.model.settings import MeshSettings
from isthmus.xds.resource import CDS, LDS, RDS, XdsResource
from isthmus_lab.net import netns
from tests.envoy.tunnels import App, Mesh, Node, Place, Scenarios, call, program, until

SETTINGS = MeshSettings(config_cluster="east")
DOMAINS = ("cluster.local", "west.local")
VIP = "10.99.0.1"
SERVICE = MeshService(
    namespace="ns",
    name="web",
    host="web.ns.svc.cluster.local",
    ports=(ServicePort("tcp", 80, Protocol.TCP, "8080"),),
    clusters=("east",),
)


def identity(name: str, domain: str = "cluster.local") -> str:
    """The SPIFFE ID of a pod in these scenarios: its account has its name."""
    return f"spiffe://{domain}/ns/ns/sa/{name}"


def pod(name: str, address: str, **fields: object) -> AmbientPod:
    """A pod of a node."""
    return AmbientPod(
        uid=name,
        namespace="ns",
        name=name,
        addresses=(address,),
        identity=identity(name),
        netns=netns.path(name),
        **fields,  # type: ignore[arg-type]
    )


def member(address: str, port: int = 8080, **fields: object) -> LbEndpoint:
    """An endpoint of the service."""
    values: dict[str, object] = {
        "weight": 1, "mtls": False, "network": "net", "cluster": "east", "workload": "", **fields
    }  # fmt: skip
    return LbEndpoint(address=address, port=port, **values)  # type: ignore[arg-type]


def node_resources(
    pods: list[AmbientPod],
    members: tuple[LbEndpoint, ...] = (),
    *,
    workloads: dict[str, list[str]] | None = None,
    policies: tuple[AuthorizationPolicy, ...] = (),
    peers: tuple[str, ...] = (),
) -> list[XdsResource]:
    """Everything that a node proxy holds, where there is one service."""
    origin = hbone.Origin(SETTINGS, many=True, accepted=DOMAINS)
    doorman = node_inbound.Doorman(DOMAINS, policies)
    name = "outbound|80||web.ns.svc.cluster.local"
    found = [hbone.cluster(one, origin) for one in tunnels.NAMES]
    found += [hbone.listener(naming.OUTER_CONNECT_ORIGINATE), *map(node_tunnels.listener, tunnels.WITHIN_NODE)]
    for one in pods:
        found.append(node_outbound.pod_listener(f"pod/{one.uid}/outbound", one))
        found.append(node_inbound.plain_listener(f"pod/{one.uid}/inbound", one, policies))
        found.append(node_inbound.hbone_listener(f"pod/{one.uid}/hbone", one, doorman))
        found.append(node_inbound.hbone_routes(f"pod/{one.uid}/hbone", one, policies))
    chains = [node_outbound.identity_chain(who, where) for who, where in (workloads or {}).items()]
    found += [
        node_outbound.services_listener([node_outbound.service_chain([VIP], 80, name)]),
        node_outbound.workloads_listener(chains, SETTINGS),
        hbone.internal_cluster(node_outbound.SERVICES, node_outbound.SERVICES, origin),
        hbone.internal_cluster(node_outbound.WORKLOADS, node_outbound.WORKLOADS, origin),
        node_outbound.service_cluster(Destination(SERVICE, SERVICE.ports[0]), SETTINGS),
        endpoints.load_assignment(name, Assignment(members), peers, of_node=True),
        node_outbound.passthrough(SETTINGS),
        node_inbound.hbone_cluster(SETTINGS),
        node_inbound.plain_cluster(SETTINGS),
        clusters.black_hole(),
    ]
    return found


A, B, C, D = (pod("a", "10.0.0.1"), pod("b", "10.0.0.2"), pod("c", "10.0.1.1"), pod("d", "10.0.1.2"))
HERE = (A.identity, B.identity)
THERE = (C.identity, D.identity)
POD_PLACES = tuple(Place(one.name, (("net", one.addresses[0]),)) for one in (A, B, C, D))
TO_C = (member("10.0.1.1", tunnel="hbone", identity=identity("c")),)
KNOWN = {one.identity: [one.addresses[0]] for one in (A, B, C)} | {identity("imagined"): ["10.0.1.2"]}


def came_in(node: Node) -> list[tuple[str, str, str]]:
    """(identity of the caller, its address, what it asked for) of every tunnel that ended at a node."""
    return [
        (line["downstream_peer_uri_san"], line["downstream_remote_address"], line["authority"])
        for line in node.log()
        if line.get("method") == "CONNECT"
    ]


async def refused(pod: str, address: str, port: int) -> bool:
    """True if a call gets no answer, in whatever way the connection ends."""
    try:
        return not await call(pod, address, port)
    except OSError:
        return True


async def within_a_network(*, apart: bool = False) -> None:
    """Pods of one node call a service on another node, and each other by address."""
    mesh = Mesh("cluster.local", apart=apart)
    one = Node("one", node_resources([A, B], TO_C, workloads=KNOWN), mesh.secrets(*HERE), 15000)
    two = Node("two", node_resources([C, D]), mesh.secrets(*THERE), 15100)
    async with App("c").running() as c, App("b").running(), App("d").running() as d, one.running(), two.running():
        for _ in range(10):
            answers = await asyncio.gather(*(call(name, VIP, 80) for name in "abab"))
            assert set(answers) == {"c 127.0.0.6 hello"}
        assert await call("a", "10.0.0.2", 8080) == "b 127.0.0.6 hello"
        assert await call("b", "10.0.1.1", 8080) == "c 127.0.0.6 hello"
        # A server that ends first: the caller gets all of it, and no reset.
        for _ in range(20):
            assert await call("a", VIP, 80, "quit") == "c 127.0.0.6 quit"
        # A server that is somebody else than it must be gets nothing.
        calls = c.calls
        assert await refused("a", "10.0.1.2", 8080)
        assert (d.calls, c.calls) == (0, calls)
    tunnels_in = came_in(two)
    assert {asked for _, _, asked in tunnels_in} == {"10.0.1.1:8080"}
    addresses = {A.identity: "10.0.0.1", B.identity: "10.0.0.2"}
    assert {who for who, _, _ in tunnels_in} == set(addresses), tunnels_in
    for who, where, _ in tunnels_in:
        assert where.startswith(f"{addresses[who]}:"), (who, where)
    assert len(tunnels_in) == 61


def deny(name: str, **rule: object) -> AuthorizationPolicy:
    """A policy that refuses what one rule matches."""
    return AuthorizationPolicy(
        cluster="east",
        namespace="ns",
        name=name,
        action=PolicyAction.DENY,
        rules=(PolicyRule(**rule),),  # type: ignore[arg-type]
    )


async def authorized() -> None:
    """The destination decides who may call: by identity and port, and whether plain callers may at all."""
    mesh = Mesh("cluster.local")
    not_a = deny("not-a", sources=((Condition("source.principal", ("cluster.local/ns/ns/sa/a",)),),))
    not_9090 = deny("not-9090", operations=((Condition("destination.port", ("9090",)),),))
    strict = msgspec.structs.replace(C, mode=WorkloadMode(MtlsMode.STRICT, ((9090, MtlsMode.PERMISSIVE),)))
    there = node_resources([strict, D], policies=(not_a, not_9090))
    one = Node("one", node_resources([A, B], TO_C, workloads=KNOWN), mesh.secrets(*HERE), 15000)
    two = Node("two", there, mesh.secrets(*THERE), 15100)
    async with (
        App("c").running() as c,
        App("c", 9090).running() as other,
        App("d").running(),
        one.running(),
        two.running(),
    ):
        for _ in range(10):
            assert await refused("a", VIP, 80)
        assert await call("b", VIP, 80)
        # A refusal is no failure: it is not tried elsewhere, and takes no endpoint out.
        counted = await one.stats("outbound.*(ejections_active|connect_attempts_exceeded)$")
        assert counted
        assert not any(counted.values())
        assert await refused("b", "10.0.1.1", 9090)
        assert (c.calls, other.calls) == (1, 0)
        # Plain: STRICT closes; where it is allowed, policies ask for what they can know.
        assert await refused("stranger", "10.0.1.1", 8080)
        assert await refused("stranger", "10.0.1.1", 9090)
        assert await call("stranger", "10.0.1.2", 8080) == "d 127.0.0.6 hello"
        assert (c.calls, other.calls) == (1, 0)


async def to_a_waypoint() -> None:
    """A tunnel ends at the waypoint, with its identity, and asks for the service there."""
    mesh = Mesh("cluster.local")
    via = member(VIP, 80, tunnel="hbone", waypoint="10.0.1.2:15008", identity=D.identity)
    one = Node("one", node_resources([A], (via,)), mesh.secrets(A.identity), 15000)
    two = Node("two", node_resources([C, D]), mesh.secrets(*THERE), 15100)
    async with one.running(), two.running():
        assert await refused("a", VIP, 80)  # D is a pod: it takes no calls for others
    assert [(who, asked) for who, _, asked in came_in(two)] == [(A.identity, f"{VIP}:80")]


async def with_certificates_replaced() -> None:
    """New certificates come while pods talk: nobody notices, and new connections show them."""
    mesh = Mesh("cluster.local")
    one = Node("one", node_resources([A, B], TO_C), mesh.secrets(*HERE), 15000)
    two = Node("two", node_resources([C, D]), mesh.secrets(*THERE), 15100)
    async with App("c").running(), one.running(), two.running():

        async def talk(name: str) -> None:
            for _ in range(60):
                assert await call(name, VIP, 80) == "c 127.0.0.6 hello"
                await asyncio.sleep(0)

        async def replace() -> None:
            for _ in range(5):
                one.store.replace(mesh.secrets(*HERE))
                two.store.replace(mesh.secrets(*THERE))
                assert await call("a", VIP, 80) == "c 127.0.0.6 hello"

        await asyncio.gather(talk("a"), talk("b"), replace())


async def while_services_and_pods_come() -> None:
    """What is new to a node leaves what is open there alone: connections live through changes of all listeners."""
    mesh = Mesh("cluster.local")
    found = node_resources([A], TO_C, workloads=KNOWN)
    one = Node("one", found, mesh.secrets(*HERE), 15000)
    two = Node("two", node_resources([C, D]), mesh.secrets(*THERE), 15100)
    name = "outbound|80||web.ns.svc.cluster.local"
    chains = [node_outbound.service_chain([f"10.99.0.{i}"], 80, name) for i in range(1, 9)]
    async with App("c").running(), one.running(), two.running():
        reader, writer = await NetworkNamespace(Path(netns.path("a"))).connect((VIP, 80))
        for count in range(2, 5):
            others = {A.identity: ["10.0.0.1"], identity(f"new-{count}"): [f"10.0.2.{count}"]}
            later = node_resources([A, B], TO_C, workloads=KNOWN | others)
            wanted = [one for one in later if one.type_url in (LDS, RDS) and one.name != "outbound"]
            one.listen([*wanted, node_outbound.services_listener(chains[:count])])
            await until(partial(answers, f"10.99.0.{count}"))
            await until(partial(drained, one))
            writer.write(b"still\n")
            assert await reader.readline() == b"c 127.0.0.6 still\n"
        writer.close()


async def answers(address: str) -> bool:
    """True once a new service answers."""
    return not await refused("a", address, 80)


async def while_policies_change() -> None:
    """What is open follows at once: nobody waits until connections of the rules before have drained."""
    mesh = Mesh("cluster.local")
    not_b = deny("not-b", sources=((Condition("source.principal", ("cluster.local/ns/ns/sa/b",)),),))
    one = Node("one", node_resources([A, B], TO_C, workloads=KNOWN), mesh.secrets(*HERE), 15000)
    two = Node("two", node_resources([C, D]), mesh.secrets(*THERE), 15100)
    async with App("c").running(), one.running(), two.running(drain=600):
        for _ in range(10):
            assert await call("b", VIP, 80)
        for policies, wanted in (((not_b,), False), ((), True)):
            two.listen(node_resources([C, D], policies=policies))
            await until(partial(_routed, two, policies))
            for _ in range(20):
                assert await refused("b", VIP, 80) is not wanted
                assert await call("a", VIP, 80)


async def _routed(node: Node, policies: tuple[AuthorizationPolicy, ...]) -> bool:
    """True if a node has the routes of these policies."""
    found = await node.config("dynamic_route_configs")
    return bool(found) and all(bool(policies) is ("not-b" in one) for one in found)


async def drained(node: Node) -> bool:
    """True if nothing of a former configuration is left."""
    counted = await node.stats("listener_manager.total_(listeners|filter_chains)_draining")
    return len(counted) == 2 and not any(counted.values())


async def with_dead_endpoints() -> None:
    """What does not come up is tried elsewhere, and not asked again for a while: pods, gateways, plain endpoints."""
    gone = member("10.0.9.1", tunnel="hbone", identity=identity("c"))
    plain = member("10.0.9.2")
    gateway = member("10.0.9.3", 15008, tunnel="double_hbone", gateway=True, network="west")
    closed = member("10.0.1.2", 7, tunnel="hbone", identity=identity("d"))  # a pod in which nothing listens there
    mesh = Mesh("cluster.local")
    two = Node("two", node_resources([C, D]), mesh.secrets(*THERE), 15100)
    async with App("c").running(), two.running():
        for dead in ((gone, plain), (gateway, closed)):
            found = node_resources([A, B], (*TO_C, *dead), peers=(identity("c"),))
            async with Node("one", found, mesh.secrets(*HERE), 15000).running() as one:
                await avoids(one, len(dead))


async def avoids(node: Node, dead: int) -> None:
    """No call fails while endpoints are dead, and after a few each of them is left alone for a while."""
    name = "cluster.outbound|80||web.ns.svc.cluster.local.outlier_detection.ejections_enforced_total"

    async def ejected() -> bool:
        assert await call("a", VIP, 80) == "c 127.0.0.6 hello"
        return (await node.stats("outbound.*ejections_enforced_total")).get(name, 0) >= dead

    await until(ejected, 60)


async def across_networks(*, apart: bool = False) -> None:
    """Double HBONE between overlapping networks: the identities of client and server meet through the gateway."""
    mesh = Mesh("cluster.local", "west.local", apart=apart)
    host = "web.ns.svc.cluster.local"
    server = pod("s", "10.0.0.1", targets=((host, 80, 8080),))
    server = msgspec.structs.replace(server, identity=identity("s", "west.local"))
    through = (member("198.18.0.9", 15008, tunnel="double_hbone", gateway=True, network="west"),)
    west = (server.identity, identity("t", "west.local"))
    one = Node("one", node_resources([A], through, peers=west), mesh.secrets(A.identity), 15000)
    two = Node("two", node_resources([server]), mesh.secrets(server.identity), 15100)
    gateway = Node("gw", gateway_resources(host, "10.0.0.1"), mesh.secrets(default=identity("gw", "west.local")), 15200)
    wrong = Node("one", node_resources([A], through, peers=west[1:]), mesh.secrets(A.identity), 15000)
    unknown = Node("one", node_resources([A], through), mesh.secrets(A.identity), 15000)
    async with App("s").running() as s, two.running(), gateway.running():
        async with one.running():
            for _ in range(5):
                assert await call("a", VIP, 80) == "s 127.0.0.6 hello"
                assert await call("a", VIP, 80, "quit") == "s 127.0.0.6 quit"
        assert s.calls == 10
        async with wrong.running():
            assert await refused("a", VIP, 80)
        async with unknown.running():
            assert await refused("a", VIP, 80)
        assert s.calls == 10
    # What was asked for by the service's name is the pod's own port behind it.
    assert {(who, asked) for who, _, asked in came_in(two)} == {(A.identity, "10.0.0.1:8080")}
    assert {(who, asked) for who, _, asked in came_in(gateway)} == {(A.identity, f"{host}:80")}
    # Each call is a tunnel of its own, so that the gateway chooses each time, in few connections to the gateway.
    outer = [where for _, where, _ in came_in(gateway)]
    assert len(outer) == 20, outer  # ten calls, and two that were tried five times
    assert len(set(outer)) < 12, outer


def gateway_resources(host: str, address: str) -> list[XdsResource]:
    """A gateway in a namespace of its own that passes one service on to one pod."""
    chain = listener_components_pb2.FilterChain.FromString(hbone_gateway.chain(15008, ("cluster.local",)))
    manager = hcm_pb2.HttpConnectionManager.FromString(chain.filters[0].typed_config.value)
    routes = hbone_gateway.route_configuration(15008, [hbone_gateway.virtual_host(SERVICE, 80)])
    manager.route_config.CopyFrom(route_pb2.RouteConfiguration.FromString(routes.body))
    chain.filters[0].typed_config.CopyFrom(packed(manager))
    listener = listener_pb2.Listener(name="hbone", address=socket_address("0.0.0.0", 15008), filter_chains=[chain])
    listener.listener_filters.append(filters.tls_inspector())
    listener.address.socket_address.network_namespace_filepath = netns.path("gw")
    name = naming.inbound_vip(80, host)
    cluster = cluster_pb2.Cluster.FromString(
        clusters.inbound_vip(Destination(SERVICE, SERVICE.ports[0]), SETTINGS).body
    )
    source = cluster.upstream_bind_config.source_address
    source.address, source.port_value, source.network_namespace_filepath = "0.0.0.0", 0, netns.path("gw")
    return [
        resource(LDS, "hbone", listener),
        resource(CDS, name, cluster),
        endpoints.load_assignment(name, Assignment((member(address, 15008),))),
    ]


OVERLAPPING = (
    Place("a", (("east", "10.0.0.1"), ("wan", "198.18.0.1"))),
    Place("s", (("west", "10.0.0.1"),)),
    Place("gw", (("west", "10.0.0.9"), ("wan", "198.18.0.9")), captured=False),
)

SCENARIOS: Scenarios = {
    "within_a_network": (POD_PLACES, within_a_network),
    "within_a_network_linked": (POD_PLACES, partial(within_a_network, apart=True)),
    "authorized": ((*POD_PLACES, Place("stranger", (("net", "10.0.3.1"),), captured=False)), authorized),
    "while_policies_change": (POD_PLACES, while_policies_change),
    "while_services_and_pods_come": (POD_PLACES, while_services_and_pods_come),
    "with_dead_endpoints": (POD_PLACES, with_dead_endpoints),
    "to_a_waypoint": (POD_PLACES, to_a_waypoint),
    "with_certificates_replaced": (POD_PLACES, with_certificates_replaced),
    "across_networks": (OVERLAPPING, across_networks),
    "across_networks_linked": (OVERLAPPING, partial(across_networks, apart=True)),
}
"""Pods, and what happens."""

if __name__ == "__main__":
    program(SCENARIOS)
