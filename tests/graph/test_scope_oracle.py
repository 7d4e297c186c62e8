"""Random histories of scopes and peers: the incremental answer equals a fresh one, and who is concerned is told.

Whatever comes, where a mesh-wide name leads is what the states table says of the rows that are there in the end.
"""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.graph.mesh import Mesh
from isthmus.model.mesh_config import MeshConfig, ScopeSelector, Selector
from isthmus.model.observed import OBSERVED
from isthmus.model.peering import PeerEndpoints, PeerService, ServiceScope
from isthmus.model.rows import Locality, Namespace, Proxy, Row, labels
from isthmus.tables.changes import Change
from isthmus.xds.resource import CDS, EDS, LDS, NDS, RDS, XdsResource
from tests.graph.test_mesh import follow
from tests.graph.test_service_scopes import FOREIGN, client, link
from tests.graph.world import App, cluster, cross_network, drop, gateway, mesh, port, put, router, sleep

TYPES = (CDS, EDS, LDS, RDS, NDS)
SCOPES = ("", "global", "global-only", "cluster", "?")
DISTRIBUTIONS = ("", "Any", "PreferRegion", "PreferSameZone")
WEST = {"hello": "10.0.0.21", "other": "10.0.0.22"}


def app(where: str, name: str, scope: str = "", distribution: str = "", *, ready: bool = True) -> App:
    """A service of a cluster, the same name in both."""
    address = WEST[name] if where == "west" else WEST[name].replace("0.2", "0.1")
    service = {
        "labels": labels({"solo.io/service-scope": scope} if scope else {}),
        "traffic_distribution": distribution,
    }
    return App(where, name, [address], vip=f"10.96.0.{address[-2:]}", service=service, ready=ready)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """One change of what decides who is global where."""
    kind = draw(st.sampled_from(("service", "service", "namespace", "peer", "peer", "link", "config", "slice", "pod")))
    where, name = draw(st.sampled_from(("east", "west"))), draw(st.sampled_from(tuple(WEST)))
    row: Row
    if kind == "service":
        row = app(where, name, draw(st.sampled_from(SCOPES)), draw(st.sampled_from(DISTRIBUTIONS))).service_row()
    elif kind == "slice":
        row = app(where, name, ready=draw(st.booleans())).slice_row()
    elif kind == "pod":
        (pod,) = app(where, name).pod_rows()
        row = msgspec.structs.replace(pod, redirection=draw(st.sampled_from(("", "pending", "enabled"))))
    elif kind == "namespace":
        scope = draw(st.sampled_from(SCOPES))
        row = Namespace(cluster=where, name="sample", labels=labels({"solo.io/service-scope": scope} if scope else {}))
    elif kind == "peer":
        row = draw(peers(name))
    elif kind == "link":
        row = link(network="net-north", peer="north", hbone_port=draw(st.sampled_from((0, 15008))))
    else:
        chosen = Selector(labels=labels({"solo.io/service-scope": "?"}))
        row = MeshConfig(cluster="east", name="istio", global_services=draw(
            st.sampled_from(((), (ScopeSelector(),), (ScopeSelector(services=chosen),)))
        ))  # fmt: skip
    return put(row) if draw(st.integers(0, 3)) else drop(row)


@st.composite
def peers(draw: st.DrawFn, name: str) -> PeerService:
    """What a peer, or a cluster that is read as well, says of a service."""
    count = st.integers(0, 3)
    places_ = [PeerEndpoints("net-north", Locality(region), draw(count), 3) for region in ("r1", "r2")]
    values: dict[str, Any] = {"traffic_distribution": draw(st.sampled_from(DISTRIBUTIONS))}
    return PeerService(
        cluster=draw(st.sampled_from(("north", "west"))),
        namespace="sample",
        name=name,
        scope=draw(st.sampled_from(tuple(ServiceScope))),
        ports=(port(draw(st.sampled_from((5000, 5001)))),),
        identities=(FOREIGN,) if draw(st.booleans()) else (),
        endpoints=tuple(places_[: draw(st.integers(0, 2))]),
        **values,
    )


def watchers() -> list[Proxy]:
    """A sidecar, one that can do HBONE, the proxy of a node, a gateway."""
    plain = sleep().sidecar(network="net-east")
    return [
        plain,
        msgspec.structs.replace(plain, name="hbone", hbone=True),
        client("ambient"),
        router("west", "net-west"),
    ]


def rows_of(made: Mesh) -> list[Row]:
    return [row for kind in OBSERVED for _, row in made.table(kind.TABLE) if not isinstance(row, Proxy)]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.lists(changes(), min_size=1, max_size=3), max_size=6))
def test_the_oracle_of_random_scopes(history: list[list[Change]]) -> None:
    made = mesh(
        "east",
        [*cluster("east", "net-east", config=True), *cluster("west", "net-west"), *sleep().rows()],
        [row for where in ("east", "west") for name in WEST for row in app(where, name).rows()],
        [*gateway("west", "net-west", "172.18.0.2"), cross_network("east")],
    )
    held: dict[tuple[str, str], dict[str, XdsResource]] = {}
    for watcher in watchers():
        name = follow(made, watcher)
        held.update({(name, kind): dict(made.resources(name, kind)) for kind in TYPES})
    for step in history:
        dirty = made.apply(step)
        for (proxy, kind), known in held.items():
            now = made.resources(proxy, kind)
            differ = {name for name in known.keys() | now.keys() if known.get(name) != now.get(name)}
            subscribed = known.keys() if kind in (EDS, RDS) else known.keys() | now.keys()
            assert differ & subscribed <= dirty.get(proxy, {}).get(kind, set())
            if kind in (EDS, RDS):
                made.subscribe(proxy, kind, list(now))
            held[proxy, kind] = dict(now)
    fresh = mesh("east", rows_of(made))
    for watcher in watchers():
        fresh.connect(watcher)
        for kind in TYPES:
            assert dict(fresh.resources(watcher.id, kind)) == held[watcher.id, kind]
    assert fresh.problems() == made.problems()
