"""Random histories of routing objects: the incremental answer equals a fresh one, and who is concerned is told.

Whatever comes, Envoy must be able to take it: no domain twice in a route configuration, no two chains that match alike.
"""

from collections import Counter
from typing import Any

import msgspec
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.graph.mesh import Mesh
from isthmus.model.observed import OBSERVED
from isthmus.model.rows import Protocol, Row
from isthmus.tables.changes import Change
from isthmus.xds.resource import CDS, EDS, LDS, NDS, RDS, XdsResource
from tests.graph.test_gateways import HTTP, MUTUAL, PASS, gateway
from tests.graph.test_mesh import follow
from tests.graph.test_routing import to, virtual_service
from tests.graph.test_visibility import client, sidecar
from tests.graph.world import App, cluster, cross_network, drop, mesh, port, put, puts, router

TYPES = (CDS, EDS, LDS, RDS, NDS)
PORTS = (port(80), port(90), port(9000, Protocol.TCP))
HOSTS = (
    "one.a.svc.cluster.local",
    "two.a.svc.cluster.local",
    "three.b.svc.cluster.local",
    "*.a.svc.cluster.local",
    "x.y",
)
EXPORTS: tuple[tuple[str, ...], ...] = ((), ("*",), (".",), ("b",), ("~",))
MATCHES: tuple[dict[str, Any], ...] = (
    {},
    {"uri": {"prefix": "/x"}},
    {"port": 80},
    {"sourceLabels": {"app": "sleep"}},
    {"sourceLabels": {"topology.istio.io/cluster": "east"}},
    {"sourceNamespace": "a"},
    {"gateways": ["a/gw"]},
)
EGRESS = (["./*"], ["*/*"], ["b/*"], ["*/one.a.svc.cluster.local"], ["~/*"])
TCP = {"port": {"number": 9000, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]}
SERVERS = (HTTP, MUTUAL, PASS, TCP, {**HTTP, "hosts": ["b/*.a.svc.cluster.local"]})


def apps() -> list[App]:
    """Three services in two namespaces."""
    places = (("one", "a"), ("two", "a"), ("three", "b"))
    return [
        App("east", name, [f"10.0.0.{11 + i}"], namespace=namespace, vip=f"10.96.0.{11 + i}", ports=PORTS)
        for i, (name, namespace) in enumerate(places)
    ]


@st.composite
def routes(draw: st.DrawFn) -> Row:
    """A VirtualService of any kind."""
    names = st.sampled_from((*HOSTS[:3], "nowhere.a.svc.cluster.local"))
    match = draw(st.sampled_from(MATCHES))
    stream = {key: match[key] for key in ("port", "sourceLabels", "sourceNamespace", "gateways") if key in match}
    spec = {
        "hosts": draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True)),
        "gateways": draw(st.sampled_from((["mesh"], ["a/gw"], ["mesh", "a/gw"]))),
        "exportTo": list(draw(st.sampled_from(EXPORTS))),
        "http": [{"match": [match], **to(draw(names))}, to(draw(names))][: draw(st.integers(0, 2))],
        "tcp": [{"match": [stream], **to(draw(names))}],
        "tls": [
            {"match": [{**stream, "sniHosts": [draw(st.sampled_from(("a.example", "*.example")))]}], **to(draw(names))}
        ],
    }
    return virtual_service(
        spec,
        namespace=draw(st.sampled_from("ab")),
        name=draw(st.sampled_from("vw")),
        creationTimestamp=draw(st.sampled_from("12")),
    )


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """One change of routing or visibility."""
    kind = draw(st.sampled_from(("route", "route", "service", "sidecar", "gateway", "proxy")))
    namespace = draw(st.sampled_from("ab"))
    row: Row
    if kind == "route":
        row = draw(routes())
    elif kind == "service":
        app = draw(st.sampled_from(apps()))
        row = msgspec.structs.replace(app.service_row(), export_to=draw(st.sampled_from(EXPORTS)))
    elif kind == "sidecar":
        spec: dict[str, Any] = {"egress": [{"hosts": draw(st.sampled_from(EGRESS))}]}
        if draw(st.booleans()):
            spec["outboundTrafficPolicy"] = {"mode": "REGISTRY_ONLY"}
        row = sidecar(spec, namespace=draw(st.sampled_from(("a", "b", "istio-system"))))
    elif kind == "gateway":
        servers = draw(st.lists(st.sampled_from(SERVERS), min_size=1, max_size=3))
        row = gateway(*servers, namespace="a", name="gw")
    else:
        row = client(namespace, name=draw(st.sampled_from(("s1", "s2"))))
    return put(row) if draw(st.integers(0, 3)) else drop(row)


def acceptable(held: dict[str, XdsResource], type_url: str) -> None:
    """What Envoy would refuse for sure is not there."""
    for one in held.values():
        if type_url == RDS:
            hosts = route_pb2.RouteConfiguration.FromString(one.body).virtual_hosts
            assert not [name for name, n in Counter(d for host in hosts for d in host.domains).items() if n > 1]
            assert all(host.name and host.domains for host in hosts)
        elif type_url == LDS:
            found = [
                (name, match.transport_protocol, tuple(match.application_protocols), match.destination_port.value)
                for chain in listener_pb2.Listener.FromString(one.body).filter_chains
                for match in [chain.filter_chain_match]
                for name in match.server_names or [""]
            ]
            assert len(found) == len(set(found))


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(st.lists(st.lists(changes(), min_size=1, max_size=3), max_size=6))
def test_the_oracle_of_random_routing(history: list[list[Change]]) -> None:
    rows = [row for app in apps() for row in app.rows()]
    world = mesh("east", cluster("east", "net-east", config=True), rows, cross_network("east"))
    watchers = [client("a"), client("b", name="other"), client("c", name="third"), router("east", "net-east")]
    held: dict[tuple[str, str], dict[str, XdsResource]] = {}
    for watcher in watchers:
        name = follow(world, watcher)
        held.update({(name, kind): dict(world.resources(name, kind)) for kind in TYPES})
    for step in history:
        dirty = world.apply(step)
        for (proxy, kind), known in held.items():
            now = world.resources(proxy, kind)
            differ = {name for name in known.keys() | now.keys() if known.get(name) != now.get(name)}
            subscribed = known.keys() if kind in (EDS, RDS) else known.keys() | now.keys()
            assert differ & subscribed <= dirty.get(proxy, {}).get(kind, set())
            if kind in (EDS, RDS):
                world.subscribe(proxy, kind, list(now))
            held[proxy, kind] = dict(now)
            acceptable(held[proxy, kind], kind)
    fresh = Mesh(world.settings)
    for table in OBSERVED:
        fresh.apply(puts([row for _, row in world.table(table.TABLE)]))
    for (proxy, kind), known in held.items():
        assert known == fresh.resources(proxy, kind)
    assert fresh.problems() == world.problems()
