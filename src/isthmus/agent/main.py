"""The agent's ways to run: one proxy in its container or machine, all proxies of a node, or the node's own proxy."""

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import uvloop

from isthmus.agent.log import AgentLog
from isthmus.agent.machine import HOSTS, Place, parse_hosts, read_machine
from isthmus.agent.node import Node, read_text
from isthmus.agent.node_proxy import NodeProxy, NodeSettings, parse_node_settings
from isthmus.agent.proxy import Proxy
from isthmus.agent.requests import Memory
from isthmus.agent.settings import Mounts, ProxySettings, parse_settings
from isthmus.agent.ztunnel_node import ZtunnelNode
from isthmus.base.errors import IsthmusError
from isthmus.edge import netfilter
from isthmus.edge.agent_socket import serve_lines
from isthmus.edge.clock import SystemClock
from isthmus.edge.kube_access import in_cluster
from isthmus.edge.netns import NetworkNamespace
from isthmus.install.capture_rules import CAPTURE_TABLE, Capture, capture_chains
from isthmus.install.netfilter import delete_messages, table_messages
from isthmus.kube.kubeconfig import Access

CONTAINER_GRACE = 30.0
"""Kubernetes' default of terminationGracePeriodSeconds; drain settings end it sooner."""

SIGNAL_BASE = 128
"""A process that was ended by signal n leaves with 128 + n, as shells tell it."""

MEMORY_SUFFIX = ".proxies"

_OVERRIDES = ("PILOT_ADDRESS", "CA_ADDR", "SECRET_TTL", "PROXY_LOG_LEVEL", "CONCURRENCY", "POD_NAME", "OUTPUT_CERTS")
"""Variables of a machine's agent that win over its files."""


def run_proxy(args: Sequence[str]) -> int:
    """Look after this container's Envoy until a signal or its end; its exit code. Raises UsageError."""
    settings = parse_settings(args, os.environ, mounts=Mounts(), read=read_text)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_proxy(settings))


def run_machine(place: Place) -> int:
    """Look after the Envoy of this machine until a signal or its end; its exit code. Raises IsthmusError."""
    machine = read_machine(place, read=read_text, env=_overrides())
    place.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if machine.capture is not None:
        _capture(machine.capture)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_proxy(machine.settings))


def stop_capture() -> None:
    """Traffic of this machine goes by itself again. Raises IsthmusError."""
    _commit(delete_messages(CAPTURE_TABLE))


def _overrides() -> dict[str, str]:
    """What the environment says beside the files."""
    return {name: os.environ[name] for name in _OVERRIDES if name in os.environ}


def _capture(capture: Capture) -> None:
    _commit(table_messages(CAPTURE_TABLE, capture_chains(capture)))


def _commit(messages: Sequence[bytes]) -> None:
    try:
        netfilter.commit(messages)
    except OSError as error:
        raise IsthmusError(
            f"this machine's traffic cannot be redirected: {error.strerror or error}",
            "Run the agent as root, or give --no-capture and redirect it yourself",
        ) from error


def find_place(directory: Path, state_dir: Path, *, ip: str, captures: bool) -> Place:
    """Where this machine's agent runs; its address is the one on the way to the control plane, unless given."""
    hosts = parse_hosts(read_text(directory / HOSTS) or "")
    targets = [address for addresses in hosts.values() for address in addresses] or ["192.0.2.1"]
    return Place(
        directory=directory.absolute(),
        state_dir=state_dir.absolute(),
        host_name=socket.gethostname(),
        address=ip or _own_address(targets[0]),
        captures=captures,
    )


def _own_address(target: str) -> str:
    """The address that this machine has on the way to `target`; empty if there is no way."""
    with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((target, 9))
        except OSError:
            return ""
        return str(sock.getsockname()[0])


def run_node(socket: Path) -> None:
    """Serve the kubelet until a signal; the Envoys go on, and the next agent takes them up."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_node(socket))


def run_node_proxy(args: Sequence[str], ztunnel: Path | None = None) -> int:
    """Look after this node's Envoy and its ambient pods until a signal or Envoy's end; its exit code.

    `ztunnel`: a ztunnel connects there instead of an Envoy.
    """
    settings = parse_node_settings(args, os.environ, mounts=Mounts(), read=read_text)
    access = in_cluster()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if ztunnel is not None:
            return runner.run(_ztunnel_node(settings, access, ztunnel))
        return runner.run(_node_proxy(settings, access))


async def _ztunnel_node(settings: NodeSettings, access: Access, socket: Path) -> int:
    return await ZtunnelNode(settings, access, socket, clock=SystemClock()).run(_signalled())


async def _node_proxy(settings: NodeSettings, access: Access) -> int:
    code = await NodeProxy(settings, access, clock=SystemClock()).run(_signalled())
    return code if code >= 0 else SIGNAL_BASE - code


async def _proxy(settings: ProxySettings) -> int:
    stop = _signalled()
    log = AgentLog()
    proxy = Proxy(settings, namespace=NetworkNamespace(), log_file=None, clock=SystemClock(), log=log.events)
    await proxy.start()
    stopping, ended = asyncio.create_task(stop.wait()), asyncio.create_task(proxy.ended())
    await asyncio.wait((stopping, ended), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    code = await proxy.stop(CONTAINER_GRACE)
    return code if code >= 0 else SIGNAL_BASE - code


async def _node(socket: Path) -> None:
    stop = _signalled()
    node = Node(Memory(socket.with_name(socket.name + MEMORY_SUFFIX)), SystemClock())
    await node.recall()
    async with serve_lines(socket, node.handle):
        await stop.wait()
    await node.leave_all()


def _signalled() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
