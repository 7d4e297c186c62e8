"""Asks this pod's Envoy: its admin interface, and whether it is ready. Imports little, because it runs through exec."""

import asyncio

from isthmus.base.errors import IsthmusError, UnreachableError
from isthmus.edge.agent_admin import LoopbackClient
from isthmus.edge.netns import NetworkNamespace

LOOK_EVERY = 0.1
PATIENCE = 30.0


async def ask(method: str, port: int, path: str) -> bytes:
    """The body of an answer. Raises UnreachableError, or IsthmusError with the text of a refusal."""
    answer = await LoopbackClient(NetworkNamespace(), patience=PATIENCE).request(method, port, path)
    if answer.status >= 400:
        text = answer.body.decode(errors="replace").strip()
        raise IsthmusError(f"{method} {path}: {answer.status} {text}", "GET /help lists what Envoy answers")
    return answer.body


async def wait_ready(port: int, patience: float) -> None:
    """Return when Envoy says that it is ready. Raises UnreachableError after `patience` seconds."""
    client = LoopbackClient(NetworkNamespace(), patience=1.0)
    try:
        async with asyncio.timeout(patience):
            while True:
                if await _is_ready(client, port):
                    return
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        raise UnreachableError(
            f"Envoy was not ready within {patience:g} s", "Look at the log of the container istio-proxy"
        ) from None


async def _is_ready(client: LoopbackClient, port: int) -> bool:
    try:
        return (await client.request("GET", port, "/healthz/ready")).status == 200
    except UnreachableError:
        return False
