"""How far services reach: every row of the states table, for clusters that are read and for peers, through the mesh."""

from typing import Any

import msgspec
import pytest

from isthmus.dns.names import NameTable, View, make_host
from isthmus.envoy.match import Connection
from isthmus.envoy.spread import nothing_gone, spread
from isthmus.graph.mesh import Mesh
from isthmus.model.external import Resolution, ServiceEntry
from isthmus.model.mesh_config import MeshConfig, Requirement, ScopeSelector, Selector, ServiceSetting
from isthmus.model.peering import PeerEndpoints, PeerLink, PeerService, ServiceScope
from isthmus.model.rows import Locality, Namespace, Protocol, Proxy, Row, Workload, labels
from isthmus.proto import nds_pb2
from isthmus.xds.resource import CDS, EDS, LDS, NDS, RDS
from tests.graph.calls import Answer, World, config
from tests.graph.world import App, cluster, cross_network, drop, gateway, helloworld, mesh, port, put, router, sleep

MESH = "helloworld.sample.mesh.internal"
SLEEP = b"sleep.sample.mesh.internal"
"""What the caller itself would answer to."""
OWN = "helloworld.sample.svc.cluster.local"
MESH_CLUSTER = f"outbound|5000||{MESH}"
OWN_CLUSTER = f"outbound|5000||{OWN}"
EAST_POD, WEST_POD = "10.0.0.11", "10.0.0.21"
GATEWAYS = {"east": "172.18.0.1", "west": "172.18.0.2"}
FOREIGN = "spiffe://west.example/ns/sample/sa/helloworld"

ABSENT, UNLABELLED = "absent", "unlabelled"
GLOBAL, GLOBAL_ONLY = ServiceScope.GLOBAL, ServiceScope.GLOBAL_ONLY


def hello(where: str, state: str = GLOBAL, **fields: Any) -> list[Row]:
    """Helloworld in one cluster, in one of the table's states."""
    if state == ABSENT:
        return []
    service = {"labels": labels({"solo.io/service-scope": str(state)})} if state != UNLABELLED else {}
    address = EAST_POD if where == "east" else WEST_POD
    return helloworld(where, address, service=service | fields.pop("service", {}), **fields).rows()


def exported(state: str = GLOBAL, *, healthy: int = 1, **fields: Any) -> list[Row]:
    """What the peer west says: nothing of what is not global there."""
    if state in (ABSENT, UNLABELLED):
        return []
    values: dict[str, Any] = {
        "namespace": "sample",
        "name": "helloworld",
        "scope": ServiceScope(state),
        "ports": (port(5000),),
        "identities": (FOREIGN,),
        "endpoints": (PeerEndpoints("net-west", Locality("west-region", "west-a"), healthy, max(healthy, 1)),),
    }
    return [PeerService(cluster="west", **(values | fields))]


def link(**fields: Any) -> PeerLink:
    """How the peer is entered."""
    values: dict[str, Any] = {
        "name": "west",
        "peer": "west",
        "network": "net-west",
        "addresses": (GATEWAYS["west"],),
        "hbone_port": 15008,
        "xds_port": 15012,
    }
    return PeerLink(cluster="east", namespace="istio-gateways", **(values | fields))


def read(*rows: Row) -> Mesh:
    """East and west, both read by this control plane, on two networks."""
    return mesh(
        "east",
        cluster("east", "net-east", config=True),
        cluster("west", "net-west"),
        sleep().rows(),
        gateway("east", "net-east", GATEWAYS["east"]),
        gateway("west", "net-west", GATEWAYS["west"]),
        [cross_network("east"), *rows],
    )


def peered(*rows: Row) -> Mesh:
    """East alone, with west as a peer."""
    east = [*cluster("east", "net-east", config=True), *sleep().rows(), link()]
    return mesh("east", east, list(rows))


def caller(**fields: Any) -> Proxy:
    """A client in east that can do HBONE beside mesh mTLS."""
    return sleep().sidecar(network="net-east", **({"hbone": True} | fields))


def places(made: Mesh, name: str, proxy: Proxy | None = None, gone: str = "") -> dict[str, float] | None:
    """local, or the gateway's tunnel and address -> share of the traffic; None if there is no such destination."""
    held = config(made, proxy or caller())
    assignment = held.assignment(name)
    if held.cluster(name) is None or assignment is None:
        return None
    found: dict[str, float] = {}
    for one in spread(assignment, (lambda member: member.network in gone.split()) if gone else nothing_gone):
        member = one.member
        place = "local" if member.address == EAST_POD else f"{member.tunnel}{member.address}:{member.port}"
        found[place] = round(found.get(place, 0) + one.share, 4)
    return found


BY_SNI, BY_HBONE = f"{GATEWAYS['west']}:15443", f"inner_connect_originate{GATEWAYS['west']}:15008"
BY_NODE = f"to_gateway{GATEWAYS['west']}:15008"
REMOTE = {"read": BY_SNI, "peer": BY_HBONE, "ambient": BY_NODE, "ambient peer": BY_NODE}
KINDS = tuple(REMOTE)
"""How the other cluster is known, and whether workloads have sidecars or are captured by the proxies of their nodes."""

HERE, THERE, BOTH, NOWHERE = ("local",), ("remote",), ("local", "remote"), None

TABLE = [
    (ABSENT, ABSENT, NOWHERE),
    (ABSENT, UNLABELLED, NOWHERE),
    (UNLABELLED, ABSENT, NOWHERE),
    (UNLABELLED, UNLABELLED, NOWHERE),
    (ABSENT, GLOBAL, THERE),
    (UNLABELLED, GLOBAL, THERE),
    (ABSENT, GLOBAL_ONLY, THERE),
    (UNLABELLED, GLOBAL_ONLY, THERE),
    (GLOBAL, GLOBAL, BOTH),
    (GLOBAL, GLOBAL_ONLY, BOTH),
    (GLOBAL_ONLY, GLOBAL, BOTH),
    (GLOBAL_ONLY, GLOBAL_ONLY, BOTH),
    (GLOBAL, ABSENT, HERE),
    (GLOBAL, UNLABELLED, HERE),
    (GLOBAL_ONLY, ABSENT, HERE),
    (GLOBAL_ONLY, UNLABELLED, HERE),
]
"""Local state, remote state, where the endpoints of the mesh-wide name are (last table of the semantics)."""


def world(kind: str, local: str, remote: str) -> Mesh:
    made = {
        "read": lambda: read(*hello("east", local), *hello("west", remote)),
        "peer": lambda: peered(*hello("east", local), *exported(remote)),
        "ambient": lambda: read(*captured("east", local), *captured("west", remote), link()),
        "ambient peer": lambda: peered(*captured("east", local), *exported(remote)),
    }
    return made[kind]()


def captured(where: str, state: str) -> list[Row]:
    """The same where pods have no sidecar, and the proxy of their node takes HBONE for them."""
    rows = hello(where, state, mesh=False)
    return [msgspec.structs.replace(one, redirection="enabled") if isinstance(one, Workload) else one for one in rows]


def client(kind: str) -> Proxy:
    """Who calls in east: a sidecar, or the proxy of the node for a pod of its own."""
    if "ambient" not in kind:
        return caller()
    return Proxy(
        cluster="east", namespace="istio-system", name="node", type="node", network="net-east", node="east-node",
        addresses=("10.0.0.1",),
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("local", "remote", "expected"), TABLE)
def test_states_of_the_mesh_wide_service(kind: str, local: str, remote: str, expected: tuple[str, ...] | None) -> None:
    found = places(world(kind, local, remote), MESH_CLUSTER, client(kind))
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert set(found) == {place if place == "local" else REMOTE[kind] for place in expected}
    # PreferNetwork: everything goes to the own network, as long as there is something.
    assert found["local" if "local" in expected else REMOTE[kind]] == 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("local", "remote", "_"), TABLE)
def test_states_of_the_service_itself(kind: str, local: str, remote: str, _: object) -> None:
    """Its own name keeps sameness among clusters that are read; peers are behind it only where it is global-only."""
    found = places(world(kind, local, remote), OWN_CLUSTER, client(kind))
    here = {"local"} if local != ABSENT else set()
    if kind == "read":
        expected = here | ({REMOTE[kind]} if remote != ABSENT else set())
    elif kind == "ambient":
        # Gateways for HBONE admit what is global there, and nothing else.
        expected = here | ({REMOTE[kind]} if remote in (GLOBAL, GLOBAL_ONLY) else set())
    else:
        beyond = local == GLOBAL_ONLY and remote in (GLOBAL, GLOBAL_ONLY)
        expected = here | ({REMOTE[kind]} if beyond else set())
    assert set(found or ()) == expected
    assert (found is None) == (not here and ("peer" in kind or remote == ABSENT))


# -- sides, labels, selectors -----------------------------------------------------------------------------------------


def test_whoever_calls_sees_the_same_endpoints() -> None:
    """One-sided scope: a caller in the cluster that does not say so goes to the one that does."""
    made = read(*hello("east", UNLABELLED), *hello("west", GLOBAL), *sleep("west", "10.0.0.22").rows())
    there = sleep("west", "10.0.0.22").sidecar(network="net-west")
    assert places(made, MESH_CLUSTER, there) == {f"{WEST_POD}:5000": 1.0}
    assert places(made, MESH_CLUSTER) == {REMOTE["read"]: 1.0}
    made.apply([put(hello("east")[0])])
    assert places(made, MESH_CLUSTER) == {"local": 1.0, REMOTE["read"]: 0.0}
    assert places(made, MESH_CLUSTER, there) == {f"{WEST_POD}:5000": 1.0, f"{GATEWAYS['east']}:15443": 0.0}


LABELLED = labels({"solo.io/service-scope": "global"})
FLAGGED = labels({"istio.io/global": "true"})
TEAM = labels({"team": "a"})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([Namespace(cluster="east", name="sample", labels=LABELLED)], True, id="namespace"),
        pytest.param([Namespace(cluster="east", name="sample", labels=FLAGGED)], True, id="namespace, AM2"),
        pytest.param([Namespace(cluster="west", name="sample", labels=LABELLED)], False, id="elsewhere"),
        pytest.param([helloworld("east", service={"labels": FLAGGED}).service_row()], True, id="istio.io/global"),
        pytest.param(
            [
                Namespace(cluster="east", name="sample", labels=LABELLED),
                helloworld("east", service={"labels": labels({"solo.io/service-scope": "cluster"})}).service_row(),
            ],
            False,
            id="opted out",
        ),
        pytest.param(
            [
                MeshConfig(
                    cluster="east",
                    name="istio",
                    global_services=(ScopeSelector(Selector(expressions=(Requirement("team", "Exists"),))),),
                ),
                Namespace(cluster="east", name="sample", labels=TEAM),
            ],
            True,
            id="AM2 selectors",
        ),
        pytest.param(
            [MeshConfig(cluster="west", name="istio", global_services=(ScopeSelector(),))],
            False,
            id="another cluster's configuration",
        ),
        pytest.param(
            [
                Namespace(cluster="east", name="sample", labels=LABELLED),
                MeshConfig(cluster="east", name="istio", discovery_selectors=(Selector(labels=TEAM),)),
            ],
            False,
            id="TE4 none of the mesh's namespaces",
        ),
    ],
)
def test_how_a_service_becomes_global(rows: list[Row], expected: bool) -> None:
    made = read(*hello("east", UNLABELLED))
    assert places(made, MESH_CLUSTER) is None
    made.apply([put(row) for row in rows])
    assert places(made, MESH_CLUSTER) == ({"local": 1.0} if expected else None)
    made.apply([drop(row) for row in rows if row.TABLE != "services"] + [put(hello("east", UNLABELLED)[0])])
    assert places(made, MESH_CLUSTER) is None


def test_a_service_that_stays_in_its_cluster_may_have_a_name_beyond_am2() -> None:
    local = MeshConfig(cluster="east", name="istio", service_settings=(ServiceSetting(("*.svc.cluster.local",), True),))
    made = read(local, *hello("east"), *hello("west"))
    assert places(made, OWN_CLUSTER) == {"local": 1.0}
    assert places(made, MESH_CLUSTER) == {"local": 1.0, REMOTE["read"]: 0.0}
    made.apply([put(hello("east", GLOBAL_ONLY)[0])])
    assert places(made, OWN_CLUSTER) == {"local": 1.0, REMOTE["read"]: 0.0}
    made.apply([put(hello("west", UNLABELLED)[0])])
    assert places(made, OWN_CLUSTER) == {"local": 1.0}


def test_a_headless_service_has_an_address_by_its_mesh_wide_name() -> None:
    made = read(*hello("east", vip=""), *hello("west", vip=""))
    assert places(made, MESH_CLUSTER) == {"local": 1.0, REMOTE["read"]: 0.0}
    made = peered(*hello("east", vip=""), *exported())
    assert places(made, MESH_CLUSTER) == {"local": 1.0, REMOTE["peer"]: 0.0}


def test_what_is_read_needs_no_word_of_a_peer() -> None:
    made = read(*hello("east"), *hello("west", UNLABELLED), *exported(), link())
    assert places(made, MESH_CLUSTER) == {"local": 1.0}


def test_global_leaves_the_service_itself_as_it_was() -> None:
    """Not one byte of what its own name means differs."""
    before, after = read(*hello("east", UNLABELLED), *hello("west", UNLABELLED)), read(*hello("east"), *hello("west"))
    proxy = caller()
    for made in (before, after):
        made.connect(proxy)
    for type_url in (CDS, EDS, LDS, RDS):
        old, new = before.resources(proxy.id, type_url), after.resources(proxy.id, type_url)
        assert {name: one.body for name, one in new.items() if name in old and type_url != RDS} == {
            name: one.body for name, one in old.items() if type_url != RDS
        }
        assert all(MESH in name for name in new.keys() - old.keys())


# -- names and addresses ----------------------------------------------------------------------------------------------


def table(made: Mesh, proxy: Proxy) -> NameTable:
    made.connect(proxy)
    (resource,) = made.resources(proxy.id, NDS).values()
    found = nds_pb2.NameTable.FromString(resource.body).table
    return NameTable(
        make_host(name, one.ips, registry=one.registry, shortname=one.shortname, namespace=one.namespace)
        for name, one in found.items()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_proxy_has_the_name_with_an_address_of_its_own(kind: str) -> None:
    made = world(kind, ABSENT, GLOBAL)
    names = table(made, client(kind))
    found = names.host(MESH)
    assert found is not None
    (address,) = found.v4
    assert address.startswith("243.")
    view = View("any", "svc.cluster.local")
    # What a resolver with search domains asks for first is answered at once (DN8); there are no short forms.
    assert view.lookup(names, f"{MESH}.any.svc.cluster.local") == view.lookup(names, MESH)
    short = view.lookup(names, "helloworld.sample")
    assert short is None or short.host.name == OWN
    held = config(made, caller())
    verdict = held.leaving(Connection(address=address, port=5000, http="http/1.1"), host=MESH)
    assert (verdict.cluster, verdict.closed) == (MESH_CLUSTER, "")


def test_tcp_goes_by_the_address() -> None:
    tcp = (port(9000, Protocol.TCP),)
    made = read(*hello("east", ports=tcp), *hello("west", ports=tcp))
    (address,) = table(made, caller()).host(MESH).v4  # type: ignore[union-attr]
    verdict = config(made, caller()).leaving(Connection(address=address, port=9000))
    assert verdict.cluster == f"outbound|9000||{MESH}"


def test_control_planes_agree_on_the_address_whatever_else_they_know() -> None:
    here, there = peered(*exported()), read(*hello("east"), *hello("west"))
    other = App("east", "other", ["10.0.0.31"], vip="10.96.0.31", service={"labels": LABELLED})
    more = peered(*exported(), *other.rows())
    found = [table(made, caller()).host(MESH) for made in (here, there, more)]
    assert found[0] == found[1] == found[2]


def test_a_service_entry_that_has_the_name_keeps_it_and_is_told() -> None:
    entry = ServiceEntry(
        cluster="east", namespace="sample", name="mine", hosts=(MESH,), ports=(port(5000),), addresses=("240.0.0.9",),
        resolution=Resolution.STATIC, internal=True,
    )  # fmt: skip
    made = read(*hello("east"), *hello("west"), entry)
    assert places(made, MESH_CLUSTER) == {}
    assert [str(one.where) for one in made.problems()] == ["ServiceEntry sample/mine in cluster east"]
    made.apply([drop(entry)])
    assert places(made, MESH_CLUSTER) == {"local": 1.0, REMOTE["read"]: 0.0}
    assert made.problems() == []


def test_export_to_counts_for_the_name_as_for_the_service() -> None:
    private = {"export_to": (".",)}
    made = read(*hello("east", service=private), *hello("west"))
    assert places(made, MESH_CLUSTER) == {"local": 1.0}
    assert places(made, MESH_CLUSTER, caller(namespace="other")) is None
    made.apply([put(hello("west", service={"export_to": ("*",)})[0])])
    assert places(made, MESH_CLUSTER) == {"local": 1.0, REMOTE["read"]: 0.0}


# -- through gateways -------------------------------------------------------------------------------------------------


def calls(made: Mesh) -> list[Answer]:
    """A call of the mesh-wide name by a sidecar in east, through west's gateway to its pod."""
    around = World()
    around.gateways[GATEWAYS["west"]] = ("net-west", config(made, router("west", "net-west")))
    around.workloads["net-west", WEST_POD] = config(made, helloworld("west", WEST_POD).sidecar(network="net-west"))
    (address,) = table(made, caller(hbone=False)).host(MESH).v4  # type: ignore[union-attr]
    connection = Connection(address=address, port=5000, http="http/1.1")
    return around.call("net-east", config(made, caller(hbone=False)), connection, host=MESH)


def test_sidecars_reach_clusters_that_are_read_through_their_gateways_end_to_end() -> None:
    (answer,) = calls(read(*hello("east", UNLABELLED), *hello("west")))
    assert (answer.gateway, answer.address, answer.closed, answer.mtls) == (GATEWAYS["west"], WEST_POD, "", True)
    assert answer.sni == f"outbound_.5000_._.{MESH}"
    assert answer.peers == ("spiffe://cluster.local/ns/sample/sa/helloworld",)


def test_a_gateway_leads_the_name_to_where_it_is_global_only() -> None:
    """A second cluster of the far network runs the service too, and did not make it global."""
    third = App("third", "helloworld", ["10.0.0.31"], vip="10.96.0.1")
    made = read(*hello("west"), *cluster("third", "net-west"), *third.rows())
    found = calls(made)
    assert [(one.address, one.share) for one in found] == [(WEST_POD, 1.0)]


def trusted(domain: str) -> Mesh:
    rows = [*cluster("east", "net-east", config=True), *cluster("west", "net-west", trust_domain=domain)]
    gateways = [*gateway("west", "net-west", GATEWAYS["west"]), cross_network("east")]
    return mesh("east", rows, sleep().rows(), gateways, hello("east"), hello("west"))


@pytest.mark.parametrize("kind", ["read", "peer"])
def test_servers_are_checked_by_their_own_trust_domain_am8(kind: str) -> None:
    made = trusted("west.example") if kind == "read" else peered(*hello("east"), *exported())
    made.connect(caller())
    held = config(made, caller())
    sockets = [match.transport_socket for match in held.cluster(MESH_CLUSTER).transport_socket_matches]  # type: ignore[union-attr]
    text = b"".join(one.typed_config.value for one in sockets)
    assert FOREIGN.encode() in text
    assert b"spiffe://cluster.local/ns/sample/sa/helloworld" in text
    own = held.cluster(OWN_CLUSTER)
    assert own is not None
    assert (FOREIGN.encode() in own.SerializeToString()) == (kind == "read")


def test_a_widened_name_is_checked_by_the_peers_identities_too() -> None:
    made = peered(*hello("east", GLOBAL_ONLY), *exported())
    own = config(made, caller()).cluster(OWN_CLUSTER)
    assert own is not None
    assert FOREIGN.encode() in own.SerializeToString()


def hidden(made: Mesh, proxy: Proxy, reason: str) -> set[int]:
    """How many endpoints each view of a proxy cannot use for a reason."""
    made.connect(proxy)
    made.subscribe(proxy.id, EDS, ["*"])
    rows = [row for _, row in made.table("derive.assignments")]
    return {one.count for row in rows for one in row.hidden if one.reason == reason}


def test_who_cannot_do_hbone_is_told_and_gets_nothing_of_a_peer() -> None:
    made = peered(*exported(healthy=4))
    assert places(made, MESH_CLUSTER, caller(hbone=False)) == {}
    assert hidden(made, caller(hbone=False), "needs-hbone") == {4}
    assert places(made, MESH_CLUSTER, caller()) == {REMOTE["peer"]: 1.0}


def test_sidecars_that_cannot_reach_peers_are_a_problem_of_their_cluster() -> None:
    made = peered(*exported())
    made.connect(caller())
    assert made.problems() == []
    for index in range(2):
        made.connect(msgspec.structs.replace(caller(hbone=False), name=f"plain-{index}"))
    assert [(str(one.where), one.field) for one in made.problems()] == [
        ("Deployment istio-system/istiod in cluster east", "ENABLE_HBONE")
    ]
    made.apply([drop(row) for row in exported()])
    assert made.problems() == []


def test_an_ambient_service_that_is_not_global_stays_behind_its_gateway() -> None:
    """Its gateway would refuse the call (AM11), so nobody is sent there."""
    made = read(*hello("west", UNLABELLED, mesh=False), link())
    pod = msgspec.structs.replace(helloworld("west", WEST_POD, mesh=False).pod_rows()[0], redirection="enabled")
    made.apply([put(pod)])
    assert places(made, OWN_CLUSTER) == {}
    assert hidden(made, caller(), "not-global") == {1}
    made.apply([put(hello("west", GLOBAL, mesh=False)[0])])
    assert places(made, OWN_CLUSTER) == {REMOTE["peer"]: 1.0}
    assert places(made, MESH_CLUSTER) == {REMOTE["peer"]: 1.0}


def test_no_way_into_the_peers_network_is_a_problem_of_the_peer() -> None:
    made = peered(*hello("east"), *exported())
    assert made.problems() == []
    made.apply([put(link(hbone_port=0))])
    assert [(str(one.where), one.field) for one in made.problems()] == [("Peer west in cluster west", "network")]
    assert places(made, MESH_CLUSTER) == {"local": 1.0}
    made.apply([put(link(addresses=("gw.west.example",)))])
    assert made.hostnames() == ("gw.west.example",)


def test_unlinking_leaves_nothing() -> None:
    made = peered(*hello("east", UNLABELLED), *exported(), *exported(name="other"))
    assert places(made, MESH_CLUSTER) is not None
    made.apply([drop(row) for row in (*exported(), *exported(name="other"), link())])
    proxy = caller()
    made.connect(proxy)
    for type_url in (CDS, EDS, LDS, RDS, NDS):
        resources = made.resources(proxy.id, type_url)
        assert not [name for name, one in resources.items() if b"sample.mesh.internal" in one.body.replace(SLEEP, b"")]
        assert not any("mesh.internal" in name for name in resources)


# -- work -------------------------------------------------------------------------------------------------------------


def test_a_change_behind_one_service_touches_no_other() -> None:
    other = App("east", "other", ["10.0.0.31"], vip="10.96.0.31", service={"labels": LABELLED})
    made = peered(*hello("east"), *exported(), *other.rows())
    proxy = caller()
    made.connect(proxy)
    for type_url in (CDS, EDS):
        made.subscribe(proxy.id, type_url, ["*"])
        made.resources(proxy.id, type_url)
    assert made.apply([put(exported(healthy=7)[0])]) == {proxy.id: {EDS: {MESH_CLUSTER}}}
    dirty = made.apply([put(exported(identities=(FOREIGN, f"{FOREIGN}2"))[0])])
    assert {name for names in dirty[proxy.id].values() for name in names} == {MESH_CLUSTER}
    assert made.apply([put(App("east", "third", ["10.0.0.32"], vip="10.96.0.32").slice_row())]) == {}
