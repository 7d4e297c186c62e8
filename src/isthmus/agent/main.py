"""The agent's two ways to run: one proxy in its container, or all proxies of a node."""

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from isthmus.agent.log import AgentLog
from isthmus.agent.node import Node, read_text
from isthmus.agent.proxy import Proxy
from isthmus.agent.requests import Memory
from isthmus.agent.settings import Mounts, parse_settings
from isthmus.edge.agent_socket import serve_lines
from isthmus.edge.clock import SystemClock
from isthmus.edge.netns import NetworkNamespace

CONTAINER_GRACE = 30.0
"""Kubernetes' default of terminationGracePeriodSeconds; drain settings end it sooner."""

MEMORY_SUFFIX = ".proxies"


async def run_proxy(args: Sequence[str]) -> int:
    """Look after this container's Envoy until a signal; its exit code. Raises UsageError for wrong settings."""
    settings = parse_settings(args, os.environ, mounts=Mounts(), read=read_text)
    stop = _signalled()
    proxy = Proxy(settings, namespace=NetworkNamespace(), log_file=None, clock=SystemClock(), log=AgentLog().events)
    await proxy.start()
    await stop.wait()
    return await proxy.stop(CONTAINER_GRACE)


async def run_node(socket: Path) -> None:
    """Serve the kubelet until a signal; the Envoys go on, and the next agent takes them up."""
    node = Node(Memory(socket.with_name(socket.name + MEMORY_SUFFIX)), SystemClock())
    stop = _signalled()
    await node.recall()
    async with serve_lines(socket, node.handle):
        await stop.wait()
    await node.leave_all()


def _signalled() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
