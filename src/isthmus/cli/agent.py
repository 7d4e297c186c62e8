"""`isthmus agent`: what stands beside Envoy, and how to ask it."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Run Envoy for a pod or for all pods of a node; ask a running one.")

FORGIVING = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Injection templates pass more options than we have."""


@app.command(context_settings=FORGIVING)
def proxy(context: typer.Context, kind: Annotated[str, typer.Argument(help="sidecar or router.")]) -> None:
    """Look after the one Envoy of this container, set up from its environment; SIGTERM drains it."""
    from isthmus.agent.main import run_proxy

    raise typer.Exit(asyncio.run(run_proxy(["proxy", kind, *context.args])))


@app.command()
def node(
    socket: Annotated[Path, typer.Option(help="Unix socket on which the kubelet asks for proxies.")],
) -> None:
    """Look after the Envoys of all pods of a node. Ending it leaves them running for the next one."""
    from isthmus.agent.main import run_node

    asyncio.run(run_node(socket))


@app.command()
def request(
    method: Annotated[str, typer.Argument(help="GET or POST.")],
    path: Annotated[str, typer.Argument(help="Path of Envoy's admin interface, such as /config_dump.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", envvar="PROXY_ADMIN_PORT")] = 15000,
) -> None:
    """Ask the admin interface of this pod's Envoy and print the answer as it is."""
    from isthmus.agent.ask import ask

    sys.stdout.buffer.write(asyncio.run(ask(method.upper(), port, path)))


@app.command()
def wait(
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 60.0,
    port: Annotated[int, typer.Option(help="Readiness port on 127.0.0.1.", envvar="ENVOY_STATUS_PORT")] = 15021,
) -> None:
    """Return when this pod's Envoy is ready."""
    from isthmus.agent.ask import wait_ready

    asyncio.run(wait_ready(port, timeout))
