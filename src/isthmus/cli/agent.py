"""`isthmus agent`: what stands beside Envoy, and how to ask it."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Run Envoy for a pod or for all pods of a node; ask a running one."
)

FORGIVING = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Injection templates pass more options than we have."""


@app.command(context_settings=FORGIVING)
def proxy(context: typer.Context, kind: Annotated[str, typer.Argument(help="sidecar or router.")]) -> None:
    """Look after the one Envoy of this container, set up from its environment; SIGTERM drains it."""
    _quiet_grpc()
    from isthmus.agent.main import run_proxy

    raise typer.Exit(run_proxy(["proxy", kind, *context.args]))


@app.command()
def node(
    socket: Annotated[Path, typer.Option(help="Unix socket on which the kubelet asks for proxies.")],
) -> None:
    """Look after the Envoys of all pods of a node. Ending it leaves them running for the next one."""
    _quiet_grpc()
    from isthmus.agent.main import run_node

    run_node(socket)


@app.command(context_settings=FORGIVING)
def ambient(
    context: typer.Context,
    ztunnel: Annotated[
        Path | None,
        typer.Option(
            envvar="ZTUNNEL_SOCKET",
            help="Serve a ztunnel that connects here instead of running Envoy, such as /var/run/ztunnel/ztunnel.sock.",
        ),
    ] = None,
) -> None:
    """Be the proxy of this node for its ambient pods, set up from the environment as isthmus install --profile ambient
    does it.

    It installs the CNI plugin isthmus-cni on the node, captures pods that are labelled istio.io/dataplane-mode=ambient,
    without a restart, and lets go of those that are not any more. SIGTERM ends its Envoy; what is captured stays so
    for the next one, unless the DaemonSet was removed.
    """
    _quiet_grpc()
    from isthmus.agent.main import run_node_proxy
    from isthmus.agent.stand_by import stand_by

    code = stand_by()
    raise typer.Exit(run_node_proxy(context.args, ztunnel) if code is None else code)


@app.command()
def vm(
    directory: Annotated[Path, typer.Option("--dir", help="Files of `workload entry configure`.")] = Path("."),
    state_dir: Annotated[Path, typer.Option(help="Directory for key, certificate and sockets.")] = Path(
        "/var/lib/isthmus"
    ),
    ip: Annotated[str, typer.Option("--ip", help="This machine's address; default: on the way to the mesh.")] = "",
    capture: Annotated[
        bool, typer.Option("--capture/--no-capture", help="Redirect this machine's traffic (needs root).")
    ] = True,
    clean: Annotated[bool, typer.Option("--clean", help="Only stop redirecting.")] = False,
) -> None:
    """Make this machine a part of the mesh, until SIGTERM, which drains it.

    isthmus agent vm --dir vm-files
    """
    _quiet_grpc()
    from isthmus.agent.main import find_place, run_machine, stop_capture

    if clean:
        stop_capture()
        return
    raise typer.Exit(run_machine(find_place(directory, state_dir, ip=ip, captures=capture)))


@app.command()
def request(
    method: Annotated[str, typer.Argument(help="GET or POST.")],
    path: Annotated[str, typer.Argument(help="Path of Envoy's admin interface, such as /config_dump.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", envvar="PROXY_ADMIN_PORT")] = 15000,
) -> None:
    """Ask the admin interface of this pod's Envoy and print the answer as it is."""
    from isthmus.agent.ask import ask

    body = asyncio.run(ask(method.upper(), port, path))
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


@app.command()
def wait(
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 60.0,
    port: Annotated[int, typer.Option(help="Readiness port on 127.0.0.1.", envvar="ENVOY_STATUS_PORT")] = 15021,
) -> None:
    """Return when this pod's Envoy is ready."""
    from isthmus.agent.ask import wait_ready

    asyncio.run(wait_ready(port, timeout))


def _quiet_grpc() -> None:
    """gRPC's own notes on connections say what our log says better; it reads this when it is imported."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
