"""Rows in force: what an observation changes, what a refused object keeps, what a swap finds."""

import json
from typing import Any

from isthmus.ingest.kinds import KINDS, Observation, kinds_of, observer
from isthmus.ingest.observed import Observed
from isthmus.model.rows import MtlsMode, PeerAuthentication, Row
from isthmus.tables.changes import Change, Drop, Put, Replace
from tests.ingest.check import check

BROKEN = {"ports": [{"port": "x"}]}


def service(name: str, port: int = 80, **metadata: Any) -> Observation:
    """A service."""
    return check("Service", {"metadata": {"name": name} | metadata, "spec": {"ports": [{"port": port}]}})


def broken(name: str) -> Observation:
    """A service that is refused."""
    return check("Service", {"metadata": {"name": name}, "spec": BROKEN})


def fresh() -> Observed:
    """Nothing observed yet."""
    return Observed("east", kinds_of(config=True))


def row(found: Observation) -> Row:
    """The only row."""
    assert found.rows is not None
    return found.rows[0]


def put(found: Observation) -> list[Change]:
    """The change that the observation's row makes."""
    return [Put("services", row(found).key, row(found))]


def test_put_tells_only_what_differs() -> None:
    observed = fresh()
    assert observed.put("Service", service("a")) == put(service("a"))
    assert observed.put("Service", service("a", resourceVersion="9", managedFields=[])) == []
    assert observed.put("Service", service("a", 81)) == put(service("a", 81))
    assert observed.drop("Service", service("a")) == [Drop("services", ("east", "a", "a"))]
    assert observed.drop("Service", service("a")) == []
    assert observed.count() == 0


def test_a_refused_object_keeps_the_row_before_and_shows_its_problem() -> None:
    observed = fresh()
    observed.put("Service", service("a"))
    assert observed.put("Service", broken("a")) == []
    assert list(observed.rows("services")) == [row(service("a"))]
    assert [p.field for p in observed.problems()] == ["spec.ports[0].port"]
    assert observed.put("Service", service("a")) == []
    assert observed.problems() == []


def test_a_refused_object_keeps_its_row_over_a_relist_too() -> None:
    observed = fresh()
    observed.put("Service", service("a"))
    changes = observed.replace("Service", [broken("a"), service("b"), broken("never-good")])
    rows = (row(service("a")), row(service("b")))
    assert changes == [Replace("services", ("east",), tuple((r.key, r) for r in rows))]
    assert len(observed.problems()) == 2
    observed.drop("Service", broken("a"))
    assert list(observed.rows("services")) == [row(service("b"))]


def test_replace_finds_deletions_that_nobody_told() -> None:
    observed = fresh()
    observed.put("Service", service("a"))
    observed.put("Service", service("b"))
    assert observed.replace("Service", []) == [Replace("services", ("east",), ())]
    assert observed.count() == 0


def test_an_object_that_yields_no_row_any_more_drops_it() -> None:
    observed = fresh()
    running = check("Pod", {"status": {"phase": "Running", "podIP": "10.0.0.1"}})
    observed.put("Pod", running)
    done = check("Pod", {"status": {"phase": "Succeeded", "podIP": "10.0.0.1"}})
    assert observed.put("Pod", done) == [Drop("workloads", ("east", "a", "x"))]


def test_security_policies_fail_closed() -> None:
    observed = fresh()
    kind = "PeerAuthentication"
    selector = {"selector": {"matchLabels": {"app": "x"}}}
    observed.put(kind, check(kind, {"spec": selector | {"mtls": {"mode": "PERMISSIVE"}}}))
    undecodable = observer(next(k for k in KINDS if k.name == kind), _place())(
        json.dumps({"metadata": {"name": "x", "namespace": "a", "labels": 5}, "spec": selector}).encode()
    )
    expected = PeerAuthentication(
        cluster="east", namespace="a", name="x", selector=(("app", "x"),), mode=MtlsMode.STRICT
    )
    assert observed.put(kind, undecodable) == [Put("peer_authentications", expected.key, expected)]
    other = fresh()
    other.put(kind, undecodable)
    (closed,) = other.rows("peer_authentications")
    assert closed == PeerAuthentication(cluster="east", namespace="a", name="x", mode=MtlsMode.STRICT)


def _place() -> Any:
    from isthmus.ingest.place import Place

    return Place("east")


def test_bytes_that_are_no_object_are_an_observation_too() -> None:
    observed = fresh()
    observe = observer(KINDS[0], _place())
    for raw in (b"", b"[]", b"{", b"\xff", b'{"metadata":{}}', b'{"metadata":{"name":5}}', b"null"):
        found = observe(raw)
        assert found.rows is None
        assert found.problems
        assert observed.put("ConfigMap", found) == []


def test_views_inherit_and_a_dump_is_loaded_again() -> None:
    observed = fresh()
    observed.put("Service", service("a"))
    observed.put("Pod", check("Pod", {"status": {"podIP": "10.0.0.1"}}))
    heir = fresh()
    heir.inherit("Service", observed)
    assert [r.name for r in heir.rows()] == ["a"]
    heir.put("Service", service("b"))
    assert observed.count() == 2
    loaded = fresh()
    loaded.load(observed.dump() | {"NoSuchKind": []})
    assert list(loaded.rows()) == list(observed.rows())


def test_remote_clusters_have_the_kinds_of_rs10() -> None:
    assert {kind.name for kind in kinds_of(config=False)} == {
        "ConfigMap",
        "Namespace",
        "Node",
        "Service",
        "EndpointSlice",
        "Pod",
        "WorkloadEntry",
        "KubernetesGateway",
    }
    assert {kind.name for kind in kinds_of(config=True)} == {kind.name for kind in KINDS}
