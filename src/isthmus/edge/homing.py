"""When to leave a control plane that works for a better one: once that has answered for a while, and ever more rarely
if it does not last. All proxies of a cluster turn to their second source at once; they must not sway back and forth.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import grpc.aio

from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError
from isthmus.edge.control_plane import CONNECT_SECONDS, Target, Upstream

LONGEST_HOLD = 600.0


@dataclass(frozen=True, slots=True)
class HomingSettings:
    """Seconds: a better control plane must have answered for `hold`, asked every `probe`."""

    hold: float = 30.0
    probe: float = 5.0


class Homing:
    """Finds the way back to the best control plane, for one proxy."""

    def __init__(self, upstream: Upstream, settings: HomingSettings, clock: Clock) -> None:
        self._upstream = upstream
        self._settings = settings
        self._clock = clock
        self._hold = settings.hold
        self._left_at: float | None = None

    async def better_than(self, rank: int) -> Target:
        """Return when a control plane of a lower rank has answered all the time for as long as it must."""
        since: dict[str, float] = {}
        while True:
            await asyncio.sleep(self._settings.probe * random.uniform(0.8, 1.2))
            answering = await self._answering(rank)
            now = self._clock.monotonic()
            since = {target.address: since.get(target.address, now) for target in answering}
            for target in answering:
                if now - since[target.address] >= self._hold:
                    self._left_at = now
                    return target

    def lost(self) -> None:
        """A control plane was lost. If we had come back to it of late, the next return waits twice as long."""
        if self._left_at is None:
            return
        lasted = self._clock.monotonic() - self._left_at
        self._hold = min(self._hold * 2, LONGEST_HOLD) if lasted < 2 * self._hold else self._settings.hold
        self._left_at = None

    async def _answering(self, rank: int) -> Sequence[Target]:
        try:
            targets = [target for target in await self._upstream.targets() if target.rank < rank]
        except IsthmusError:
            return ()
        answers = await asyncio.gather(*map(self._answers, targets))
        return [target for target, answer in zip(targets, answers, strict=True) if answer]

    async def _answers(self, target: Target) -> bool:
        """True if it completes a TLS handshake under the mesh's root: then it is a control plane that runs."""
        try:
            async with self._upstream.channel(target.address) as channel, asyncio.timeout(CONNECT_SECONDS):
                await channel.channel_ready()
        except (TimeoutError, IsthmusError, grpc.aio.AioRpcError):
            return False
        return True
