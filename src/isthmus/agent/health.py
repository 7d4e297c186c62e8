"""Asks a machine's workload whether it is ready, and tells the control plane (VM6)."""

import asyncio
from collections.abc import Awaitable, Callable

from envoy.service.discovery.v3 import discovery_pb2
from structlog.typing import FilteringBoundLogger

from isthmus.base.clock import Clock
from isthmus.base.probe import Probe, Verdict
from isthmus.edge.probes import attempt
from isthmus.xds.resource import HEALTH

UNHEALTHY = 500
"""Code of the error that says so, as Istio's agent sends it."""


class HealthReporter:
    """Runs the probe, if there is one, for as long as `run` runs."""

    def __init__(self, probe: Probe | None, *, clock: Clock, log: FilteringBoundLogger) -> None:
        self._probe = probe
        self._clock = clock
        self._log = log
        self._verdict = Verdict(probe) if probe is not None else None

    def frame(self) -> bytes | None:
        """The request that tells how the workload is; None while that is not known."""
        message = self._verdict.message if self._verdict is not None else None
        if message is None:
            return None
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=HEALTH)
        if message:
            request.error_detail.code = UNHEALTHY
            request.error_detail.message = message
        return bytes(request.SerializeToString())

    async def run(self, send: Callable[[bytes], Awaitable[object]]) -> None:
        """Probe, and send each change; what is lost with a stream is said again at the beginning of the next."""
        probe, verdict = self._probe, self._verdict
        if probe is None or verdict is None:
            return
        await asyncio.sleep(probe.initial_delay)
        while True:
            begin = self._clock.monotonic()
            error = await attempt(probe.action, patience=probe.timeout)
            if verdict.note(error):
                self._log.info("workload", healthy=not verdict.message, reason=verdict.message)
                frame = self.frame()
                if frame is not None:
                    await send(frame)
            await asyncio.sleep(max(0.0, probe.period - (self._clock.monotonic() - begin)))
