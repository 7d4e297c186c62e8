"""The node's agent: started through the runtime, asked over its socket to run the Envoys of proxy containers."""

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet import images
from isthmus_lab.kubelet.config import NodeConfig
from isthmus_lab.kubelet.container import ContainerSpec
from isthmus_lab.kubelet.runtime_client import RuntimeClient, RuntimeRefusedError

AGENT_ID = "node/agent"
_RETRY_FIRST, _RETRY_MOST = 0.1, 5.0
_GOOD_RUN = 5.0


class AgentRefusedError(Exception):
    """The agent could not do it; says why and what to do."""


class NodeAgent:
    """Client and keeper of `isthmus agent node`."""

    def __init__(self, config: NodeConfig, runtime: RuntimeClient) -> None:
        self._config = config
        self._runtime = runtime

    async def keep(self) -> None:
        """Start the agent, and again whenever it dies, until cancelled."""
        spec = ContainerSpec(
            id=AGENT_ID,
            argv=[sys.executable, "-m", "isthmus.cli.main", "agent", "node", "--socket", self._config.agent_socket],
            env=images.base_environment() | {"TMPDIR": "/tmp", "NODE_NAME": self._config.node.name},
            private=False,
            log=f"{self._config.directory}/agent.log",
        )
        delay = _RETRY_FIRST
        while True:
            begun = time.monotonic()
            with contextlib.suppress(UnreachableError, RuntimeRefusedError):
                self._runtime.start(spec)
                await self._runtime.wait(AGENT_ID)
            delay = _RETRY_FIRST if time.monotonic() - begun > _GOOD_RUN else min(delay * 2, _RETRY_MOST)
            await asyncio.sleep(delay)

    async def ask(self, message: dict[str, Any], patience: float = 10.0) -> dict[str, Any]:
        """One request, one answer within `patience` seconds. UnreachableError, AgentRefusedError."""
        try:
            async with asyncio.timeout(patience):
                reader, writer = await asyncio.open_unix_connection(self._config.agent_socket, limit=1 << 22)
                try:
                    writer.write(json.dumps(message).encode() + b"\n")
                    line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise UnreachableError(f"node agent: {error!r}") from error
        if not line:
            raise UnreachableError("node agent closed the connection")
        answer: dict[str, Any] = json.loads(line)
        if not answer.get("ok"):
            raise AgentRefusedError(f"{answer.get('error', 'refused')}. {answer.get('remedy', '')}".strip())
        return answer

    @property
    def log(self) -> Path:
        """Where the agent writes."""
        return Path(self._config.directory, "agent.log")
