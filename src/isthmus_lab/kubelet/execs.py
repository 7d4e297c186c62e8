"""Commands inside a running container: for exec probes and for `kubectl exec`."""

import asyncio
import json
import os
import socket
from typing import Any

from isthmus_lab.kubelet.container import ContainerSpec
from isthmus_lab.kubelet.context import PodPlace
from isthmus_lab.kubelet.env import Object
from isthmus_lab.kubelet.runtime import MAX_MESSAGE
from isthmus_lab.kubelet.runtime_client import RuntimeClient

CANNOT_RUN = 126


def exec_spec(place: PodPlace, pod: Object, container: Object, command: list[str]) -> ContainerSpec:
    """A command with the container's environment, in the pod's network; files come from the container it is run in."""
    return ContainerSpec(
        id="exec",
        argv=command,
        env=place.environment(pod, container),
        cwd=container.get("workingDir") or "/",
        netns=place.box.netns,
        private=False,
        log=None,
    )


def inside(spec: ContainerSpec) -> ContainerSpec:
    """The command for a runtime container: it enters that one's namespaces, where the network's name is not visible."""
    fields: dict[str, Any] = {name: getattr(spec, name) for name in spec.__struct_fields__}
    return ContainerSpec(**{**fields, "netns": None})


async def exit_code(sock: socket.socket) -> int:
    """What the command that `execute` started ended with."""
    sock.setblocking(False)
    data = await asyncio.get_running_loop().sock_recv(sock, MAX_MESSAGE)
    return int(json.loads(data)["exitCode"]) if data else CANNOT_RUN


async def run_silently(runtime: RuntimeClient, spec: ContainerSpec, target: str | None) -> int:
    """Run a command without input or output; its exit code."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        sock = runtime.execute(inside(spec) if target else spec, target, [null] * 3)
    finally:
        os.close(null)
    with sock:
        return await exit_code(sock)
