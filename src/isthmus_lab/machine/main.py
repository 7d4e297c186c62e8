"""The programs of a machine: process 1, and beside it what keeps services running and answers the lab's commands."""

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Any

from isthmus_lab.kubelet import dns, images
from isthmus_lab.kubelet.container import ContainerSpec, bind_file
from isthmus_lab.kubelet.runtime import Runtime, listen
from isthmus_lab.kubelet.runtime_client import RuntimeClient
from isthmus_lab.kubelet.server import KubeletServer, RequestError
from isthmus_lab.machine.config import MachineConfig, load
from isthmus_lab.machine.services import Keeper
from isthmus_lab.net import linux

Object = dict[str, Any]
_LOOK = 0.25


class MachineServer(KubeletServer):
    """Runs commands on the machine, shows its logs, tells how it is."""

    def __init__(self, keeper: Keeper, runtime: RuntimeClient) -> None:
        super().__init__(lambda *_: None, lambda: (), runtime)
        self._keeper = keeper
        self.ready = False

    def _command(self, request: Object) -> tuple[ContainerSpec, str | None]:
        config = self._keeper.config
        env = {**images.base_environment(), "POD_NAME": config.name, **config.env}
        return ContainerSpec(id="exec", argv=list(request["command"]), env=env, private=False, log=None), None

    def _log_path(self, request: Object) -> Path:
        try:
            return self._keeper.log(str(request.get("container") or ""))
        except (KeyError, StopIteration):
            known = ", ".join(self._keeper.services) or "nothing"
            raise RequestError(f"{request.get('container')!r} does not run here; there is {known}") from None

    def _control(self, request: Object) -> Object:
        if "pods" in request:
            return {"ok": True, "pods": [self._keeper.describe(ready=self.ready)]}
        return {"ok": False, "error": "kill and restore the whole machine: vm/<name>"}

    async def look(self) -> None:
        """Notice readiness, until cancelled."""
        while True:
            self.ready = await self._keeper.ready()
            await asyncio.sleep(_LOOK)


async def _run(config: MachineConfig) -> None:
    runtime = RuntimeClient(config.runtime_socket)
    keeper = Keeper(config, runtime)
    server = MachineServer(keeper, runtime)
    names = {name: tuple(addresses) for name, addresses in config.names.items()}
    async with asyncio.TaskGroup() as group:
        group.create_task(runtime.watch())
        group.create_task(dns.serve(config.ip, lambda: names))
        group.create_task(keeper.run())
        group.create_task(server.look())
        group.create_task(server.serve(config.control_socket))


def keep(arguments: list[str]) -> int:
    """The machine's second program."""
    asyncio.run(_run(load(Path(arguments[0]))))
    return 0


def main(arguments: list[str]) -> None:
    """`python -m isthmus_lab.machine MACHINE_JSON`: own mounts, /proc and host name, then serve for ever."""
    config = load(Path(arguments[0]))
    if os.getpid() == 1:
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS)
        linux.make_private()
        with contextlib.suppress(OSError):
            linux.mount("proc", "/proc", kind="proc", flags=linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        resolver = Path(config.directory, "resolv.conf")
        resolver.write_text(f"nameserver {config.ip}\n")
        bind_file(str(resolver), "/etc/resolv.conf")
        socket.sethostname(config.name)
    keeper = ContainerSpec(
        id="machine",
        argv=["isthmus-lab-machine", arguments[0]],
        entry=f"{__name__}:keep",
        env=dict(os.environ),
        private=False,
        log=str(Path(config.directory) / "machine.log"),
    )
    Runtime(listen(Path(config.runtime_socket)), keeper).run()
