"""`isthmus debug`: ask the control plane in whose pod this runs. Other commands come here through exec."""

import asyncio
import socket
import sys
import time
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


@app.command()
def connect(
    target: Annotated[str, typer.Argument(help="host:port")],
    timeout: Annotated[float, typer.Option(help="Seconds.")] = 3.0,
) -> None:
    """Open a TCP connection from here and print the milliseconds it took, such as to another network's gateway."""
    from isthmus.base.errors import UnreachableError, UsageError

    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"{target!r} is not host:port", "Write 198.51.100.1:15443")
    begun = time.monotonic()
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout):
            print(f"{1000 * (time.monotonic() - begun):.1f}")
    except OSError as error:
        words = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise UnreachableError(words.lower(), "Check routes and firewalls from this pod") from error


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
