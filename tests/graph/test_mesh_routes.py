"""Several routes of the Gateway API for one service, through ingest and Envoy's own matching: they count together."""

from typing import Any

import pytest

from isthmus.model.rows import Row
from tests.graph.test_routing import ask, clusters, virtual_service, world
from tests.graph.world import App, sleep
from tests.ingest.check import check

PARENT = {"group": "", "kind": "Service", "name": "helloworld", "namespace": "sample"}


def route(name: str, created: str, *rules: tuple[Any, str], kind: str = "HTTPRoute", at: str = "sample") -> list[Row]:
    """The rows of a route made in a year; each rule is (match, Service it leads to)."""
    spec = {
        "parentRefs": [PARENT],
        "rules": [
            {"matches": [match] if match else [], "backendRefs": [{"name": to, "port": 5000}]} for match, to in rules
        ],
    }
    about = {"namespace": at, "name": name, "creationTimestamp": f"{created}-01-01T00:00:00Z"}
    found = check(kind, {"metadata": about, "spec": spec})
    assert found.rows, found.problems
    return list(found.rows)


def prefix(value: str) -> dict[str, Any]:
    return {"path": {"type": "PathPrefix", "value": value}}


ELSEWHERE, SAME = {"other": 1.0}, {"helloworld": 1.0}


@pytest.mark.parametrize(
    ("rows", "path", "expected"),
    [
        pytest.param(
            [*route("old", "2024", ({}, "helloworld")), *route("new", "2025", (prefix("/api"), "other"))],
            "/api/x",
            ELSEWHERE,
            id="the more specific one, though it is younger",
        ),
        pytest.param(
            [*route("old", "2024", ({}, "helloworld")), *route("new", "2025", (prefix("/api"), "other"))],
            "/x",
            SAME,
            id="the other one where the specific does not fit",
        ),
        pytest.param(
            [*route("b", "2025", (prefix("/api"), "helloworld")), *route("c", "2024", (prefix("/api"), "other"))],
            "/api",
            ELSEWHERE,
            id="the older of equals",
        ),
        pytest.param(
            [*route("b", "2024", (prefix("/api"), "helloworld")), *route("a", "2024", (prefix("/api"), "other"))],
            "/api",
            ELSEWHERE,
            id="the first by name of equals of one age",
        ),
        pytest.param(
            [
                *route("old", "2024", (prefix("/api"), "helloworld")),
                *route("new", "2025", ({"path": {"type": "Exact", "value": "/api"}}, "other")),
            ],
            "/api",
            ELSEWHERE,
            id="an exact path before a prefix",
        ),
        pytest.param(
            [
                *route("calls", "2025", ({"method": {"service": "a.B", "method": "C"}}, "other"), kind="GRPCRoute"),
                *route("old", "2024", ({}, "helloworld")),
            ],
            "/a.B/C",
            ELSEWHERE,
            id="routes for gRPC alone, where there are some",
        ),
    ],
)
def test_routes_of_one_service_count_together(rows: list[Row], path: str, expected: dict[str, float]) -> None:
    assert clusters(ask(world(*rows), path=path)) == expected
    assert clusters(ask(world(*reversed(rows)), path=path)) == expected


def test_a_namespaces_own_routes_leave_no_room_for_the_owners() -> None:
    """GAMMA: clients go by the routes of their own namespace, others by those of the service's."""
    own = route("own", "2025", (prefix("/own"), "other"), at="app")
    assert own[0].namespace == "app"
    owners = route("owners", "2024", (prefix("/api"), "other"))
    client = App("east", "client", ["10.0.0.41"], "app").sidecar()
    made = world(*owners, *own, *App("east", "other", ["10.0.0.51"], "app", vip="10.96.0.51").rows())
    host = "helloworld.sample"
    assert clusters(ask(made, proxy=client, host=host, path="/own/x")) == {"other": 1.0}
    assert ask(made, proxy=client, host=host, path="/api/x").closed == "404: no route"
    assert clusters(ask(made, proxy=sleep().sidecar(), path="/api/x")) == ELSEWHERE


def test_an_older_virtual_service_counts_alone_and_a_younger_one_not_at_all() -> None:
    rule = virtual_service({"http": [{"route": [{"destination": {"host": "helloworld"}}]}]},
                           creationTimestamp="2024-01-01T00:00:00Z")  # fmt: skip
    young, old = route("r", "2025", ({}, "other")), route("r", "2023", ({}, "other"))
    assert clusters(ask(world(rule, *young))) == SAME
    assert clusters(ask(world(rule, *old))) == ELSEWHERE


@pytest.mark.parametrize(
    ("match", "path", "fits"),
    [
        ({}, "/a.B/C", True),
        ({"method": {"service": "a.B"}}, "/a.B/D", True),
        ({"method": {"service": "a.B"}}, "/a.Bx/D", False),
        ({"method": {"method": "C"}}, "/a.B/C", True),
        ({"method": {"method": "C"}}, "/a.B/D", False),
        ({"method": {"type": "RegularExpression", "service": "a\\..*", "method": "C|D"}}, "/a.B/D", True),
        ({"method": {"service": "a.B"}, "headers": [{"name": "x", "value": "1"}]}, "/a.B/D", False),
    ],
)
def test_methods_are_paths(match: dict[str, Any], path: str, fits: bool) -> None:
    found = ask(world(*route("calls", "2024", (match, "other"), kind="GRPCRoute")), path=path)
    assert (clusters(found) == ELSEWHERE) is fits


def test_nobody_is_told_to_be_outdone_by_a_route_that_is_joined() -> None:
    made = world(*route("old", "2024", ({}, "other")), *route("new", "2025", ({}, "helloworld")))
    assert [one for one in made.problems() if "older" in one.message] == []
