"""`isthmus debug`: ask the control plane in whose pod this runs. Other commands come here through exec."""

import asyncio
import sys
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Ask the control plane of this pod.")

PATIENCE = 15.0


@app.callback()
def _group() -> None:
    """Ask the control plane of this pod."""


@app.command()
def request(
    method: Annotated[str, typer.Argument(help="GET.")],
    path: Annotated[str, typer.Argument(help="Path of the admin server, such as /debug/syncz.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", envvar="ISTHMUS_ADMIN_PORT")] = 15014,
) -> None:
    """Ask the admin server on loopback and print the answer as it is."""
    sys.stdout.buffer.write(asyncio.run(ask(method.upper(), path, port)))


async def ask(method: str, path: str, port: int) -> bytes:
    """The body of the answer. Raises UnreachableError, or UsageError for a path that does not exist."""
    from isthmus.base.errors import IsthmusError, UnreachableError, UsageError
    from isthmus.edge.agent_admin import LoopbackClient
    from isthmus.edge.netns import NetworkNamespace

    try:
        answer = await LoopbackClient(NetworkNamespace(), patience=PATIENCE).request(method, port, path)
    except UnreachableError as error:
        raise UnreachableError(
            f"no control plane answers here ({error.message})", "Run it in the istiod pod"
        ) from error
    text = answer.body.decode(errors="replace").strip()
    if answer.status == 404:
        raise UsageError(f"{method} {path}: {text}", "GET /debug lists the paths")
    if answer.status >= 400:
        raise IsthmusError(f"{method} {path}: {answer.status} {text}", "See the control plane's log")
    return answer.body
