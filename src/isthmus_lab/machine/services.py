"""What a machine runs, and that it goes on running: the part of systemd."""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet import images
from isthmus_lab.kubelet.container import ContainerSpec
from isthmus_lab.kubelet.runtime_client import RuntimeClient, RuntimeRefusedError
from isthmus_lab.machine.config import MachineConfig

AGENT = "istio-proxy"
"""Name of the agent's service: what a pod's container is called that does the same."""

_PREFIX = "isthmus"
_RESTART = 1.0
_READY_PORT = 15021
_PATIENCE = 1.0


@dataclass
class Service:
    """One command that is to run."""

    spec: ContainerSpec
    pid: int = 0
    starts: int = 0
    trouble: str = "not started yet"
    since: float = field(default_factory=time.time)

    @property
    def name(self) -> str:
        """Its name on this machine."""
        return self.spec.id


def services(config: MachineConfig) -> list[Service]:
    """The services of a machine: its applications, and the mesh's agent if it joins."""
    found = [_application(config, command) for command in config.run]
    if config.joins:
        argv = [sys.executable, "-m", "isthmus.cli.main", "agent", "vm", "--dir", config.files]
        argv += ["--state-dir", config.agent_state, "--ip", config.ip]
        found.append(Service(_spec(config, AGENT, argv)))
    return found


def _application(config: MachineConfig, command: list[str]) -> Service:
    """A command of the lab by its name (`helloworld --port 8080`), or any other of this computer."""
    image = images.IMAGES.get(f"{_PREFIX}/{command[0]}")
    if image is None:
        return Service(_spec(config, command[0].rpartition("/")[2], command))
    return Service(_spec(config, command[0], [*image.argv, *command[1:]], image.entry))


def _spec(config: MachineConfig, name: str, argv: list[str], entry: str | None = None) -> ContainerSpec:
    own = {"POD_NAME": config.name, "CLUSTER_ID": config.name}
    return ContainerSpec(
        id=name,
        argv=argv,
        entry=entry,
        env={**images.base_environment(), **own, **config.env},
        private=False,
        log=f"{config.directory}/{name}.log",
    )


class Keeper:
    """Starts services, and starts again what ended."""

    def __init__(self, config: MachineConfig, runtime: RuntimeClient) -> None:
        self.config = config
        self.services = {service.name: service for service in services(config)}
        self._runtime = runtime

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for service in self.services.values():
                group.create_task(self._keep(service))

    async def _keep(self, service: Service) -> None:
        while True:
            try:
                service.pid = int(self._runtime.start(service.spec)["pid"])
            except (RuntimeRefusedError, UnreachableError, OSError) as error:
                service.trouble = str(error)
            else:
                service.starts, service.trouble, service.since = service.starts + 1, "", time.time()
                ended = await self._runtime.wait(service.name)
                service.pid, service.trouble = 0, f"ended with {ended['exitCode']}"
            await asyncio.sleep(_RESTART)

    async def ready(self) -> bool:
        """True if everything runs, and the machine's proxy takes traffic."""
        if any(not service.pid for service in self.services.values()):
            return False
        return AGENT not in self.services or await _is_proxy_ready()

    def describe(self, *, ready: bool) -> dict[str, Any]:
        """As a kubelet tells of a pod."""
        config = self.config
        return {
            "uid": config.name,
            "namespace": config.namespace,
            "name": config.name,
            "labels": config.labels,
            "ready": ready,
            "held": False,
            "ip": config.ip,
            "wanIP": config.wan_ip,
            "restarts": sum(max(0, service.starts - 1) for service in self.services.values()),
            "troubles": [f"{service.name}: {service.trouble}" for service in self.services.values() if service.trouble],
            "pids": {service.name: service.pid for service in self.services.values() if service.pid},
        }

    def log(self, name: str) -> Path:
        """Where a service writes; without a name, the first one. KeyError: no such service."""
        service = self.services[name] if name else next(iter(self.services.values()))
        return Path(service.spec.log or "/dev/null")


async def _is_proxy_ready() -> bool:
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", _READY_PORT)
            try:
                writer.write(b"GET /healthz/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return False
