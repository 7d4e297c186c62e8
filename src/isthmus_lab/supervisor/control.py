"""The supervisor's socket: one JSON line in, JSON lines out, the last with `done`."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

from isthmus.base.errors import IsthmusError
from isthmus_lab.supervisor.lab import Lab
from isthmus_lab.supervisor.progress import Progress

Message = dict[str, Any]


class ControlServer:
    """Does for the command line what only the supervisor can do."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    async def serve(self, path: str) -> None:
        """Listen until cancelled."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server = await asyncio.start_unix_server(self._connection, path)
        os.chmod(path, 0o600)
        async with server:
            await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request: Message = json.loads(await reader.readline() or b"{}")
            async for answer in self._answers(request):
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass
        finally:
            writer.close()

    async def _answers(self, request: Message) -> AsyncIterator[Message]:
        try:
            if request.get("op") == "follow":
                async for answer in self._follow():
                    yield answer
                return
            yield {"done": True, "ok": True, **await self._do(request)}
        except IsthmusError as error:
            yield {"done": True, "ok": False, "error": error.message, "remedy": error.remedy, "exit": error.exit_code}

    async def _follow(self) -> AsyncIterator[Message]:
        """The start as it goes on; of a lab that was started before, whether it is ready now."""
        progress = self._lab.progress
        if progress.over:
            progress = Progress()
            await self._lab.until_ready(progress)
            await progress.finish()
        async for step in progress.follow():
            yield {"step": step.show()}
        yield {"done": True, "ok": not progress.failed}

    async def _do(self, request: Message) -> Message:
        drills, seconds = self._lab.drills, request.get("seconds")
        match request.get("op"):
            case "status":
                return await self._lab.status()
            case "unready":
                return {"unready": await self._lab.unready()}
            case "kill":
                return {"killed": await drills.kill(request["target"], seconds)}
            case "restore" if not request.get("targets"):
                return {"restored": await drills.restore_all()}
            case "restore":
                return await self._restore(request["targets"])
            case "partition":
                return {"cut": drills.partition(request["networks"], seconds)}
            case "down":
                self._lab.down.set()
                return {}
        raise IsthmusError(f"unknown request {request.get('op')!r}")

    async def _restore(self, targets: list[str]) -> Message:
        """What has a slash was killed; the others are networks that were cut."""
        for target in targets:
            if "/" in target:
                await self._lab.drills.restore(target)
        networks = [t for t in targets if "/" not in t]
        cut = self._lab.drills.heal(networks) if networks else self._lab.drills.cuts()
        return {"restored": targets, "cut": cut}
