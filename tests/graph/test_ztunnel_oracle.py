"""Random histories: what a ztunnel holds after every change is what one would be told that comes now (XD8)."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from isthmus.model.external import EntryAddress, Resolution, ServiceEntry, WorkloadEntry
from isthmus.model.liveness import ClusterStanding
from isthmus.model.rows import MtlsMode, Namespace, Row, labels
from tests.graph.test_ztunnel_demand import Talk
from tests.graph.test_ztunnels import captured, peer, rules, tunnel_gateway
from tests.graph.world import App, cluster, drop, helloworld, mesh, port, put, sleep
from tests.ztunnel.client import Ztunnel

GLOBAL = labels({"istio.io/global": "true"})
APP = labels({"app": "helloworld"})


def entry(name: str, address: str, **fields: object) -> WorkloadEntry:
    values = {"labels": APP, "endpoint": EntryAddress(address=address, service_account="vm")} | fields
    return WorkloadEntry(cluster="east", namespace="sample", name=name, **values)  # type: ignore[arg-type]


def outside(**fields: object) -> ServiceEntry:
    values = {
        "hosts": ("db.example",), "ports": (port(3306),), "resolution": Resolution.STATIC,
        "endpoints": (EntryAddress(address="192.0.2.1"),), "addresses": ("240.0.0.9",),
    } | fields  # fmt: skip
    return ServiceEntry(cluster="east", namespace="sample", name="db", **values)  # type: ignore[arg-type]


FIXED: list[Row] = [
    *cluster("east", "net-east", config=True),
    *cluster("west", "net-west", trust_domain="west.example"),
    *(Namespace(cluster=name, name="sample") for name in ("east", "west")),
    *captured(sleep()),
]
_WEST = helloworld("west", "10.0.0.11", "10.0.0.12")
_POD = helloworld("east", "10.0.0.11").pod_rows()[0]
CHOICES: list[Row] = [
    *captured(helloworld("east", "10.0.0.11")),
    helloworld("east", "10.0.0.11", ready=False).slice_row(),
    changed(_POD, ready=False),
    changed(_POD, labels=labels({"app": "helloworld", "topology.istio.io/network": "net-west"})),
    *captured(_WEST),
    changed(_WEST.pod_rows()[0], addresses=()),
    *tunnel_gateway("west", "172.18.0.2"),
    tunnel_gateway("west", "172.18.0.2", "172.18.0.3")[0],
    Namespace(cluster="west", name="sample", labels=GLOBAL),
    Namespace(cluster="east", name="sample", labels=GLOBAL),
    ClusterStanding(cluster="west", name="west", weight=0),
    entry("vm", "10.0.0.50"),
    entry("vm", "10.0.0.51", healthy=False),
    outside(),
    outside(endpoints=(), selector=APP),
    outside(resolution=Resolution.DNS, endpoints=(), addresses=()),
    rules(APP),
    rules(name="q"),
    peer(MtlsMode.STRICT),
    peer(MtlsMode.STRICT, selector=APP, port_modes=((80, MtlsMode.DISABLE),)),
    App("east", "other", ["10.0.0.90"], vip="10.96.0.90").service_row(),
]
STEPS = st.lists(st.tuples(st.sampled_from(range(len(CHOICES))), st.booleans()), max_size=14)
ASKED = ("net-east/10.96.0.1", "net-east/10.0.0.11", "sample/db.example", "sample/helloworld.sample.mesh.internal")


def content(client: Ztunnel) -> tuple[dict[str, bytes], ...]:
    """Everything that a client holds."""
    parts = (client.workloads, client.services, client.policies)
    return tuple({name: one.SerializeToString(deterministic=True) for name, one in part.items()} for part in parts)


def history(steps: list[tuple[int, bool]], client: Ztunnel) -> Talk:
    talk = Talk(mesh("east", FIXED), client)
    for number, there in steps:
        row = CHOICES[number]
        if isinstance(row, Namespace) and not there:
            talk.change(put(changed(row, labels=())))
        else:
            talk.change(put(row) if there else drop(row))
    return talk


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whoever_followed_knows_what_a_newcomer_is_told(steps: list[tuple[int, bool]]) -> None:
    talk = history(steps, Ztunnel(network="net-east"))
    newcomer = Talk(talk.world, Ztunnel(network="net-east", pod="newcomer"))
    assert content(talk.client) == content(newcomer.client)
    fresh = mesh("east", [row for table in TABLES for _, row in talk.world.table(table)])
    assert content(Talk(fresh, Ztunnel(network="net-east")).client) == content(talk.client)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whoever_asked_before_knows_what_one_is_told_that_asks_now(steps: list[tuple[int, bool]]) -> None:
    """More may be held than belongs to it now, but what is held is as it is."""
    talk = Talk(mesh("east", FIXED), Ztunnel(network="net-east", node="n", on_demand=True))
    for name in ASKED:
        talk.demand(name)
    for number, there in steps:
        row = CHOICES[number]
        if isinstance(row, Namespace) and not there:
            talk.change(put(changed(row, labels=())))
        else:
            talk.change(put(row) if there else drop(row))
    late = Talk(talk.world, Ztunnel(network="net-east", node="n", pod="late", on_demand=True))
    for name in ASKED:
        late.demand(name)
    everything = content(Talk(talk.world, Ztunnel(network="net-east", pod="all")).client)
    for held, now, all_there in zip(content(talk.client), content(late.client), everything, strict=True):
        assert now.items() <= held.items() <= all_there.items()


TABLES = sorted({row.TABLE for row in (*FIXED, *CHOICES)})
