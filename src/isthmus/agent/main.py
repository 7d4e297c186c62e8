"""The agent's two ways to run: one proxy in its container, or all proxies of a node."""

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import uvloop

from isthmus.agent.log import AgentLog
from isthmus.agent.node import Node, read_text
from isthmus.agent.proxy import Proxy
from isthmus.agent.requests import Memory
from isthmus.agent.settings import Mounts, ProxySettings, parse_settings
from isthmus.edge.agent_socket import serve_lines
from isthmus.edge.clock import SystemClock
from isthmus.edge.netns import NetworkNamespace

CONTAINER_GRACE = 30.0
"""Kubernetes' default of terminationGracePeriodSeconds; drain settings end it sooner."""

SIGNAL_BASE = 128
"""A process that was ended by signal n leaves with 128 + n, as shells tell it."""

MEMORY_SUFFIX = ".proxies"


def run_proxy(args: Sequence[str]) -> int:
    """Look after this container's Envoy until a signal or its end; its exit code. Raises UsageError."""
    settings = parse_settings(args, os.environ, mounts=Mounts(), read=read_text)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_proxy(settings))


def run_node(socket: Path) -> None:
    """Serve the kubelet until a signal; the Envoys go on, and the next agent takes them up."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_node(socket))


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
