"""The admin pages: readiness, metrics, debug paths with and without a rest."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from isthmus.base.errors import ObjectRef, Problem
from isthmus.edge.admin_server import AdminPages, admin_app


def table(query: Mapping[str, str]) -> Any:
    return {"services": [("a", 1)]}[query["name"]]


PAGES = AdminPages(
    ready=lambda: "",
    metrics=lambda: b"isthmus_up 1\n",
    debug={
        "problems": lambda _: [Problem(ObjectRef("c", "Service", "n", "s"), "spec", "is bad", "Mend it")],
        "echo": dict,
        "tables": lambda _: {"services": 1},
        "tables/": table,
    },
)


def get(path: str, pages: AdminPages = PAGES) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=admin_app(pages))
        async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
            return await client.get(path)

    return asyncio.run(run())


def test_readiness_says_what_is_waited_for() -> None:
    assert get("/ready").text == "ready\n"
    waiting = AdminPages(ready=lambda: "the clusters", metrics=PAGES.metrics, debug={})
    answer = get("/ready", waiting)
    assert (answer.status_code, answer.text) == (503, "the clusters\n")


def test_metrics_are_prometheus_text() -> None:
    answer = get("/metrics")
    assert answer.text == "isthmus_up 1\n"
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/debug/echo?a=1&b=", {"a": "1", "b": ""}),
        ("/debug/tables", {"services": 1}),
        ("/debug/tables/services", [["a", 1]]),
        ("/debug", ["/debug/echo", "/debug/problems", "/debug/tables", "/debug/tables/"]),
        (
            "/debug/problems",
            [
                {
                    "where": {"cluster": "c", "kind": "Service", "namespace": "n", "name": "s"},
                    "field": "spec",
                    "message": "is bad",
                    "remedy": "Mend it",
                    "severity": "error",
                }
            ],
        ),
    ],
)
def test_debug_pages_are_json(path: str, body: Any) -> None:
    answer = get(path)
    assert (answer.status_code, answer.json()) == (200, body)


@pytest.mark.parametrize(
    ("path", "error"), [("/debug/nope", "there is no /debug/nope"), ("/debug/tables/nope", "nope is not known")]
)
def test_what_is_not_there_is_not_found(path: str, error: str) -> None:
    answer = get(path)
    assert (answer.status_code, answer.json()["error"]) == (404, error)
