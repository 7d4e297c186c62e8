"""Keeps a pod's volumes filled: at the start, when their sources change, and when tokens are due."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet import volumes
from isthmus_lab.kubelet.client import ApiError, Object
from isthmus_lab.kubelet.context import NodeContext
from isthmus_lab.kubelet.env import ConfigError

_RETRY = 0.3
_TOKEN_RETRY = 1.0


class PodVolumes:
    """The volumes of one pod on its node."""

    def __init__(self, context: NodeContext, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        self._context = context
        self._volumes: list[Object] = pod["spec"].get("volumes") or []
        self._tokens: dict[tuple[str, str], tuple[str, float]] = {}
        self._poked = asyncio.Event()
        base = context.pod_directory(uid) / "volumes"
        self.directories: dict[str, Path] = {v["name"]: base / v["name"] for v in self._volumes}
        self._host = Path(context.config.host_directory)

    def poke(self) -> None:
        """Something that volumes are made of may have changed."""
        self._poked.set()

    async def fill(self, pod: Object) -> None:
        """Write everything once. ConfigError: something is missing, or no token was given."""
        for volume in self._volumes:
            if "hostPath" in volume:
                self.directories[volume["name"]] = place = volumes.host_path(volume["hostPath"]["path"], self._host)
                volumes.ensure_host_path(volume, place)
                continue
            directory = self.directories[volume["name"]]
            directory.mkdir(parents=True, exist_ok=True)
            tokens = {}
            for request in volumes.token_requests(volume):
                tokens[request.path] = await self._token(volume["name"], request, pod)
            files = volumes.payload(volume, pod, self._context.lookup, tokens)
            if files is not None:
                volumes.write_atomically(directory, files)

    async def keep(self, current: Callable[[], Object]) -> None:
        """Fill again whenever poked or a token is due, until cancelled. What goes missing leaves files as they are."""
        while True:
            due = min((refresh for _, refresh in self._tokens.values()), default=time.time() + 3600)
            try:
                async with asyncio.timeout(max(_TOKEN_RETRY, due - time.time())):
                    await self._poked.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(_RETRY if self._poked.is_set() else 0)
            self._poked.clear()
            try:
                await self.fill(current())
            except (ConfigError, OSError) as error:
                self._context.event(current(), "Warning", "FailedMount", str(error))

    async def _token(self, volume: str, request: volumes.TokenRequest, pod: Object) -> str:
        known = self._tokens.get((volume, request.path))
        if known is not None and known[1] > time.time():
            return known[0]
        account = pod["spec"].get("serviceAccountName") or "default"
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/serviceaccounts/{account}/token"
        try:
            answer = await self._context.client.post(path, volumes.token_request_body(request, pod))
        except (ApiError, UnreachableError) as error:
            if known is not None:
                return known[0]
            raise ConfigError(f"no token for ServiceAccount {account!r}: {error}") from error
        token = str(answer["status"]["token"])
        refresh = time.time() + volumes.refresh_after(request.seconds)
        self._tokens[(volume, request.path)] = (token, refresh)
        return token
