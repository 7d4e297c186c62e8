"""Run as a program: the agent of a node, and its Envoy, are killed; seen by the pods of the node.

`python -m tests.agent.ambient_killed`, and with arguments the agent itself.
"""

import asyncio
import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from isthmus.agent.node import read_text
from isthmus.agent.node_proxy import DAEMON_SETS, NodeProxy, parse_node_settings
from isthmus.agent.settings import Mounts
from isthmus.agent.stand_by import stand_by
from isthmus.base.errors import IsthmusError
from isthmus.edge.clock import SystemClock
from isthmus.edge.envoy_process import UNKNOWN_EXIT
from isthmus.edge.kube_access import from_kubeconfig
from tests.agent.ambient_open import Line, connect, serve_echo
from tests.agent.ambient_world import (
    HOST_RUN,
    World,
    answers,
    check_captured,
    daemon_set,
    environment,
    make_node,
    world,
)
from tests.agent.fakes import until
from tests.agent.namespaces import enter
from tests.agent.world import run


def be_agent(document: str) -> int:
    """As `isthmus agent ambient`, but for where it finds what."""
    told = json.loads(document)
    code = stand_by()
    if code is not None:
        return code
    arguments = ["--domain", "istio-system.svc.cluster.local"]
    settings = parse_node_settings(arguments, told["env"], mounts=Mounts(told["mounts"]), read=read_text)

    async def serve() -> int:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        access = from_kubeconfig(told["kubeconfig"])
        return await NodeProxy(settings, access, clock=SystemClock()).run(stop)

    return asyncio.run(serve())


@contextlib.asynccontextmanager
async def program(here: World) -> AsyncIterator[asyncio.subprocess.Process]:
    """The agent as a program of its own."""
    told = {"env": environment(here.plane), "mounts": here.mounts, "kubeconfig": str(here.kubeconfig)}
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.agent.ambient_killed", json.dumps(told)), cwd=Path(__file__).parents[2]
    )
    try:
        yield started
        started.terminate()
        # Of an Envoy that another agent started nobody knows the exit code.
        assert await asyncio.wait_for(started.wait(), 20) in (0, UNKNOWN_EXIT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()


def agent_of(started: asyncio.subprocess.Process) -> int:
    """The child that is the agent now; 0 between two."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if (
                int(fields[1]) == started.pid
                and fields[0] != "Z"
                and b"ambient_killed" in (entry / "cmdline").read_bytes()
            ):
                return int(entry.name)
    return 0


def envoy() -> int:
    """The process of the node's Envoy."""
    return int(json.loads((HOST_RUN / "envoy.pid").read_text())["pid"])


async def answers_again(here: World) -> bool:
    """A call goes through the proxy on both sides."""
    with contextlib.suppress(OSError, IsthmusError):
        before = await here.passed()
        return await here.call("a", "b") == "b" and await here.passed() - before == 2
    return False


async def kill_agent(here: World, started: asyncio.subprocess.Process, line: Line) -> None:
    """Envoy goes on; the next agent adopts it, and enrols nobody again."""
    old, kept = agent_of(started), envoy()
    os.kill(old, signal.SIGKILL)
    await until(functools.partial(is_replaced, started, old))
    for _ in range(10):
        assert await line.works()
        assert await here.call("a", "b") == "b"

    async def captured() -> bool:
        return await here.cni("CHECK", "a") == (0, {}) and await here.cni("CHECK", "b") == (0, {})

    await until(captured)
    await check_captured(here)
    assert await line.works()
    assert envoy() == kept


async def is_replaced(started: asyncio.subprocess.Process, old: int) -> bool:
    """Whether there is a new agent."""
    return agent_of(started) not in (0, old)


async def kill_envoy(here: World, started: asyncio.subprocess.Process) -> None:
    """The agent starts another one."""
    kept, old = agent_of(started), envoy()
    os.kill(old, signal.SIGKILL)

    async def again() -> bool:
        return envoy() != old and await answers_again(here)

    await until(again)
    await check_captured(here)
    assert agent_of(started) == kept


async def killed() -> None:
    """The agent, its adopted Envoy, and the agent once more."""
    async with contextlib.AsyncExitStack() as stack:
        here = await stack.enter_async_context(world())
        await serve_echo(stack, here, "b")
        for name in ("a", "b"):
            await here.create_pod(name, mode="ambient")
        await here.client.create(DAEMON_SETS, daemon_set(), namespace="istio-system")
        started = await stack.enter_async_context(program(here))
        await until(lambda: answers(here))
        for name in ("a", "b"):
            assert (await here.cni("ADD", name))[0] == 0
        line = await connect(here, "a", "b")
        await kill_agent(here, started, line)
        await kill_envoy(here, started)
        assert not await line.works()
        line = await connect(here, "a", "b")
        await kill_agent(here, started, line)
        assert here.orders == [("a", "pending"), ("a", "enabled"), ("b", "pending"), ("b", "enabled")]


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(be_agent(sys.argv[1]))
    enter()
    make_node()
    run(killed(), 60)
