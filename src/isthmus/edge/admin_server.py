"""Readiness, metrics and what the control plane knows, as JSON, on loopback (15014)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Answer = Callable[[Mapping[str, str]], Any]
"""What a debug path answers, given the query, or an awaitable of it; raises KeyError for what does not exist."""


@dataclass(frozen=True, slots=True)
class AdminPages:
    """Everything the pages show, asked at each request."""

    ready: Callable[[], str]
    """Empty if ready, else what is waited for."""
    metrics: Callable[[], bytes]
    debug: Mapping[str, Answer]
    """By name below /debug/; a name that ends with `/` takes the rest of the path as `name` in the query."""


def admin_app(pages: AdminPages) -> Starlette:
    """The application."""

    async def ready(_: Request) -> Response:
        waiting = pages.ready()
        return Response(f"{waiting or 'ready'}\n", status_code=503 if waiting else 200)

    async def metrics(_: Request) -> Response:
        return Response(pages.metrics(), media_type="text/plain; version=0.0.4")

    async def index(_: Request) -> Response:
        return json_response(sorted(f"/debug/{name}" for name in pages.debug))

    async def debug(request: Request) -> Response:
        path = request.path_params["path"]
        answer, query = _find(pages.debug, path, dict(request.query_params))
        if answer is None:
            return json_response({"error": f"there is no /debug/{path}", "paths": sorted(pages.debug)}, status=404)
        try:
            value = answer(query)
            return json_response(await value if isinstance(value, Awaitable) else value)
        except KeyError as error:
            return json_response({"error": f"{error.args[0]} is not known"}, status=404)

    return Starlette(
        routes=[
            Route("/ready", ready),
            Route("/metrics", metrics),
            Route("/debug", index),
            Route("/debug/{path:path}", debug),
        ]
    )


def _find(debug: Mapping[str, Answer], path: str, query: dict[str, str]) -> tuple[Answer | None, dict[str, str]]:
    if path in debug:
        return debug[path], query
    head, _, rest = path.partition("/")
    return debug.get(f"{head}/"), query | {"name": rest}


def json_response(value: object, status: int = 200) -> Response:
    """Indented JSON of rows and plain data."""
    data = msgspec.json.format(msgspec.json.encode(value, enc_hook=str, order="sorted"), indent=2)
    return Response(data + b"\n", status_code=status, media_type="application/json")
