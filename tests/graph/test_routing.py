"""VirtualServices, seen through Envoy's own matching: which client's request goes where."""

from typing import Any

import msgspec
import pytest

from isthmus.envoy.match import Connection, Verdict
from isthmus.graph.mesh import Mesh
from isthmus.model.routing import VirtualService
from isthmus.model.rows import DestinationRule, Proxy, Row, Subset, labels
from isthmus.xds.resource import LDS, RDS
from tests.graph.calls import config
from tests.graph.test_mesh import follow
from tests.graph.world import App, cluster, drop, mesh, put, sleep
from tests.ingest.check import check

HELLO = "helloworld.sample.svc.cluster.local"
OTHER = "other.sample.svc.cluster.local"
VIP = "10.96.0.1"
APPS = (
    App("east", "helloworld", ["10.0.0.11"], vip=VIP, pod_labels={"version": "v1"}),
    App("east", "other", ["10.0.0.21"], vip="10.96.0.21"),
)


def virtual_service(spec: dict[str, Any], **metadata: Any) -> VirtualService:
    """The row that an object with this spec yields; helloworld in `sample` unless it says otherwise."""
    whole = {"hosts": ["helloworld"], **spec}
    found = check("VirtualService", {"metadata": {"namespace": "sample", "name": "vs", **metadata}, "spec": whole})
    assert found.rows, found.problems
    (row,) = found.rows
    assert isinstance(row, VirtualService)
    return row


def subsets() -> DestinationRule:
    """v1 and v2 of helloworld; nothing is v2."""
    found = (Subset("v1", labels({"version": "v1"})), Subset("v2", labels({"version": "v2"})))
    return DestinationRule(cluster="east", namespace="sample", name="dr", host=HELLO, subsets=found)


def world(*rows: Row) -> Mesh:
    """One cluster with two services and a caller."""
    apps = [row for app in APPS for row in app.rows()]
    return mesh("east", cluster("east", config=True), apps, sleep().rows(), list(rows))


def ask(
    made: Mesh, *, proxy: Proxy | None = None, host: str = "helloworld", number: int = 5000, **request: Any
) -> Verdict:
    """What a request of sleep's sidecar meets."""
    caller = config(made, proxy or sleep().sidecar())
    headers = {name.replace("-", "_"): value for name, value in request.pop("headers", {}).items()}
    return caller.leaving(Connection(address=VIP, port=number, http="http/1.1"), host=host, **request, **headers)


def clusters(verdict: Verdict) -> dict[str, float]:
    """`<host>[/<subset>]` -> share."""
    found = {}
    for name, share in verdict.clusters:
        _, _, subset, host = name.split("|")
        found[host.partition(".")[0] + (f"/{subset}" if subset else "")] = share
    return found


def to(name: str, **fields: Any) -> dict[str, Any]:
    """A route to a service."""
    return {"route": [{"destination": {"host": name, **fields}}]}


MATCHES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"uri": {"exact": "/a"}}, {"path": "/a"}, {"path": "/a/"}),
    ({"uri": {"prefix": "/a"}}, {"path": "/ab"}, {"path": "/b"}),
    ({"uri": {"prefix": "/A"}, "ignoreUriCase": True}, {"path": "/ab"}, {"path": "/b"}),
    ({"uri": {"regex": "/a[0-9]+"}}, {"path": "/a12"}, {"path": "/a12b"}),
    ({"uri": {"regex": "/a[0-9]+"}}, {"path": "/a12?x=y"}, {"path": "/a"}),
    ({"method": {"exact": "POST"}}, {"method": "POST"}, {"method": "GET"}),
    ({"authority": {"prefix": "hello"}}, {"host": "helloworld"}, {"host": VIP}),
    ({"headers": {"X-User": {"exact": "j"}}}, {"headers": {"x-user": "j"}}, {"headers": {"x-user": "k"}}),
    ({"headers": {"x-user": {"regex": "j.*"}}}, {"headers": {"x-user": "jo"}}, {}),
    ({"headers": {"x-user": {}}}, {"headers": {"x-user": ""}}, {}),
    ({"withoutHeaders": {"x-user": {}}}, {}, {"headers": {"x-user": ""}}),
    ({"withoutHeaders": {"x-user": {"exact": "j"}}}, {}, {"headers": {"x-user": "j"}}),
    ({"queryParams": {"v": {"exact": "2"}}}, {"path": "/?v=2"}, {"path": "/?v=3"}),
    ({"queryParams": {"v": {}}}, {"path": "/?v="}, {"path": "/"}),
    ({"uri": {"prefix": "/a"}, "method": {"exact": "GET"}}, {"path": "/a"}, {"path": "/a", "method": "PUT"}),
]


@pytest.mark.parametrize(("match", "fits", "not_so"), MATCHES, ids=lambda value: str(value)[:60])
def test_a_match_decides(match: dict[str, Any], fits: dict[str, Any], not_so: dict[str, Any]) -> None:
    made = world(virtual_service({"http": [{"match": [match], **to("other")}, to("helloworld")]}))
    assert clusters(ask(made, **fits)) == {"other": 1}
    assert clusters(ask(made, **not_so)) == {"helloworld": 1}


@pytest.mark.parametrize(
    ("match", "proxy", "fits"),
    [
        ({"port": 5000}, {}, True),
        ({"port": 80}, {}, False),
        ({"gateways": ["mesh"]}, {}, True),
        ({"gateways": ["sample/gw"]}, {}, False),
        ({"sourceNamespace": "sample"}, {}, True),
        ({"sourceNamespace": "x"}, {}, False),
        ({"sourceNamespace": "x"}, {"namespace": "x"}, True),
        ({"sourceLabels": {"app": "sleep"}}, {}, True),
        ({"sourceLabels": {"app": "sleep", "version": "v9"}}, {}, False),
        ({"sourceLabels": {"app": "sleep"}}, {"labels": labels({"app": "x"})}, False),
        ({"sourceLabels": {"app": "sleep"}, "sourceNamespace": "x"}, {}, False),
    ],
)
def test_a_match_is_for_some_clients(match: dict[str, Any], proxy: dict[str, Any], fits: bool) -> None:
    row = virtual_service({"http": [{"match": [match], **to("other")}, to("helloworld")], "gateways": ["mesh", "gw"]})
    caller = msgspec.structs.replace(sleep().sidecar(), **proxy)
    verdict = ask(world(row), proxy=caller, host=HELLO)
    assert clusters(verdict) == ({"other": 1} if fits else {"helloworld": 1})


def test_requests_are_shared_by_weight_and_subset() -> None:
    route = [
        {"destination": {"host": "helloworld", "subset": "v1"}, "weight": 80},
        {"destination": {"host": "other", "port": {"number": 5000}}, "weight": 20},
    ]
    verdict = ask(world(virtual_service({"http": [{"route": route}]}), subsets()))
    assert clusters(verdict) == {"helloworld/v1": 0.8, "other": 0.2}
    assert [(target.address, target.share) for target in verdict.targets] == [("10.0.0.11", 0.8), ("10.0.0.21", 0.2)]


@pytest.mark.parametrize(
    ("route", "closed"),
    [
        (to("nowhere"), "no cluster outbound|5000||nowhere.sample.svc.cluster.local"),
        (to("helloworld", subset="v3"), f"no cluster outbound|5000|v3|{HELLO}"),
        (to("helloworld", subset="v2"), "no healthy upstream"),
        ({"match": [{"uri": {"exact": "/x"}}], **to("other")}, "404: no route"),
        ({"directResponse": {"status": 418}}, "418: answered here"),
        ({"redirect": {"authority": "a.example", "scheme": "https"}}, "redirected: https://a.example*"),
    ],
)
def test_what_goes_nowhere_is_answered(route: dict[str, Any], closed: str) -> None:
    verdict = ask(world(virtual_service({"http": [route]}), subsets()))
    assert verdict.closed == closed


@pytest.mark.parametrize(
    ("hosts", "routed"),
    [
        (["helloworld"], True),
        ([HELLO], True),
        (["*.sample.svc.cluster.local"], True),
        (["*.cluster.local", "x.example"], True),
        (["other"], False),
        (["helloworld.x.svc.cluster.local"], False),
    ],
)
@pytest.mark.parametrize("name", ["helloworld", "helloworld.sample", HELLO, VIP])
def test_a_host_is_meant_by_all_its_names(hosts: list[str], routed: bool, name: str) -> None:
    made = world(virtual_service({"hosts": hosts, "http": [to("other")]}))
    assert clusters(ask(made, host=name)) == ({"other": 1} if routed else {"helloworld": 1})


def test_the_most_specific_host_wins_then_the_oldest() -> None:
    rows = [
        virtual_service(
            {"hosts": ["*.sample.svc.cluster.local"], "http": [to("a")]}, name="wide", creationTimestamp="1"
        ),
        virtual_service({"http": [to("b")]}, name="young", creationTimestamp="2026-02-01T00:00:00Z"),
        virtual_service({"http": [to("c")]}, name="old", creationTimestamp="2026-01-01T00:00:00Z"),
    ]
    assert clusters(ask(world(*rows))) == {"c": 1}
    assert clusters(ask(world(*rows[:2]))) == {"b": 1}
    assert clusters(ask(world(rows[0]))) == {"a": 1}


@pytest.mark.parametrize(
    ("export_to", "seen"),
    [([], "sample x"), (["*"], "sample x"), (["."], "sample"), (["x"], "x"), (["~"], ""), (["x", "."], "sample x")],
)
def test_only_namespaces_it_is_exported_to_go_by_it_te1(export_to: list[str], seen: str) -> None:
    made = world(virtual_service({"http": [to("other")], "exportTo": export_to}))
    for namespace in ("sample", "x"):
        caller = msgspec.structs.replace(sleep().sidecar(), namespace=namespace)
        expected = {"other": 1} if namespace in seen.split() else {"helloworld": 1}
        assert clusters(ask(made, proxy=caller, host=HELLO)) == expected


def test_another_cluster_s_objects_do_not_count_te5() -> None:
    row = msgspec.structs.replace(virtual_service({"http": [to("other")]}), cluster="west")
    assert clusters(ask(world(row))) == {"helloworld": 1}


def test_a_change_reaches_who_is_concerned_and_reruns_one_virtual_host() -> None:
    made = world(virtual_service({"http": [to("other")]}))
    caller = follow(made, sleep().sidecar())
    row = virtual_service({"http": [{"timeout": "1s", **to("helloworld")}]})
    assert made.apply([put(row)]) == {caller: {RDS: {"5000"}}}
    assert [table for table, _ in made.recomputed].count("envoy.virtual_hosts") == 1
    assert made.apply([drop(row)]) == {caller: {RDS: {"5000"}}}


def test_labels_make_scopes_only_for_those_they_tell_apart() -> None:
    match = [{"sourceLabels": {"app": "sleep"}}]
    made = world(virtual_service({"http": [{"match": match, **to("other")}, to("helloworld")]}))
    alike = [
        msgspec.structs.replace(sleep().sidecar(), name=f"s{i}", labels=labels({"app": "sleep", "n": str(i)}))
        for i in range(3)
    ]
    stranger = msgspec.structs.replace(sleep().sidecar(), name="z", labels=labels({"app": "z"}))
    for proxy in (*alike, stranger):
        follow(made, proxy)
    scopes = {made.scopes(proxy.id) for proxy in alike}
    assert len(scopes) == 1
    assert len(made.scopes(stranger.id)) == len(next(iter(scopes))) - 1
    first = made.resource(alike[0].id, RDS, "5000")
    assert all(made.resource(proxy.id, RDS, "5000") is first for proxy in alike)
    assert made.resource(stranger.id, RDS, "5000") != first
    assert made.resource(stranger.id, LDS, "0.0.0.0_5000") is made.resource(alike[0].id, LDS, "0.0.0.0_5000")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"http": [to("nowhere")]}, [("spec.http[0].route[0].destination.host", "no service nowhere.sample.svc")]),
        ({"http": [to("other", subset="v9")]}, [("spec.http[0].route[0].destination.subset", "no subset v9")]),
        ({"http": [to("helloworld", subset="v2")]}, []),
        ({"http": [to("other", port={"number": 1})]}, [("spec.http[0].route[0].destination.port.number", "no port 1")]),
        ({"http": [{**to("other"), "mirror": {"host": "n"}}]}, [("spec.http[0].mirror.host", "no service n.sample")]),
        ({"tcp": [to("nowhere")]}, [("spec.tcp[0].route[0].destination.host", "no service nowhere")]),
        ({"hosts": ["x.example"], "http": [to("other")]}, [("spec.hosts", "no service x.example")]),
        ({"hosts": ["*.sample.svc.cluster.local"], "http": [to("other")]}, []),
        (
            {"hosts": ["x.example"], "gateways": ["gw"], "http": [to("other")]},
            [("spec.gateways", "no Gateway sample/gw")],
        ),
        ({"http": [to("secret")]}, [("spec.http[0].route[0].destination.host", "is not exported to namespace sample")]),
    ],
)
def test_what_there_is_not_is_told(spec: dict[str, Any], said: list[tuple[str, str]]) -> None:
    secret = App("east", "secret", ["10.0.0.31"], vip="10.96.0.31", service={"export_to": ("~",)})
    made = world(virtual_service(spec), subsets(), secret.service_row())
    found = [problem for problem in made.problems() if problem.where.kind == "VirtualService"]
    assert [problem.field for problem in found] == [field for field, _ in said]
    assert all(text in problem.message for problem, (_, text) in zip(found, said, strict=True))


def test_who_is_outdone_is_told_until_the_other_is_gone() -> None:
    old = virtual_service({"http": [to("other")]}, name="old", creationTimestamp="2026-01-01T00:00:00Z")
    young = virtual_service({"http": [to("other")]}, name="young", creationTimestamp="2026-02-01T00:00:00Z")
    made = world(old, young)
    (problem,) = made.problems()
    assert (problem.where.name, problem.field) == ("young", "spec.hosts")
    assert "sample/old" in problem.message
    made.apply([drop(old)])
    assert made.problems() == []


def test_clients_may_be_told_apart_by_where_they_are_lb15() -> None:
    match = [{"sourceLabels": {"topology.istio.io/cluster": "east"}}]
    away = [{"sourceLabels": {"topology.istio.io/cluster": "west"}}]
    rules = [{"match": away, **to("helloworld")}, {"match": match, **to("other")}]
    assert clusters(ask(world(virtual_service({"http": rules})))) == {"other": 1}


def test_tools_are_told_which_object_a_route_is_of() -> None:
    made = world(virtual_service({"http": [to("other")]}), subsets())
    caller = config(made, sleep().sidecar())
    routes = caller.routes("5000")
    found = {
        str(route.metadata.filter_metadata["istio"]["config"])
        for host in (routes.virtual_hosts if routes is not None else ())
        for route in host.routes
        if "istio" in route.metadata.filter_metadata
    }
    assert found == {"/apis/networking.istio.io/v1/namespaces/sample/virtual-service/vs"}
    cluster_message = caller.cluster(f"outbound|5000|v1|{HELLO}")
    assert cluster_message is not None
    about = cluster_message.metadata.filter_metadata["istio"]
    assert about["config"] == "/apis/networking.istio.io/v1/namespaces/sample/destination-rule/dr"
