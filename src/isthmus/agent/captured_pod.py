"""One pod of a node on its way into ambient, while it is in, and on its way out."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from isthmus.agent.enrolment import ENABLED, PENDING, Pod, Standing, Step, next_step
from isthmus.agent.identities import Identities
from isthmus.agent.node_probes import NodeProbes
from isthmus.agent.pod_names import NAME_PORT, PodNames
from isthmus.agent.settings import Drain
from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError
from isthmus.base.names import spiffe_id
from isthmus.edge import local_routes, netfilter
from isthmus.edge.netns import NetworkNamespace
from isthmus.edge.zds_server import ZdsServer
from isthmus.install.capture_rules import CAPTURE_TABLE, NodeCapture, node_capture_chains, released_chains
from isthmus.install.netfilter import table_messages
from isthmus.ztunnel.handover import Handed

LOOK_EVERY = 0.05
LOOK_SELDOM = 0.5
"""Seconds between looks whether a pod's listeners are there, doubling from the first to the second."""

FIRST_RETRY = 0.2
LONGEST_RETRY = 10.0
"""Seconds after a step that failed, doubling."""

LEAVE_PATIENCE = 2.0
"""Seconds that a pod's end waits for Envoy to close what listens in its namespace."""

_MARKS = {Step.MARK_PENDING: PENDING, Step.MARK_ENABLED: ENABLED, Step.UNMARK: ""}

_LONG = (Step.PREPARE, Step.DRAIN)
"""Steps that may be waiting for what never comes, when something else is wanted by then."""

_WAITS_FOR = {
    Step.MARK_PENDING: "the API server does not take its annotation",
    Step.PREPARE: "it has no certificate yet",
    Step.AWAIT_LISTENERS: "the proxy of this node does not listen in its network namespace yet",
    Step.REDIRECT: "its traffic cannot be redirected",
    Step.MARK_ENABLED: "the API server does not take its annotation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What all pods of a node share. `mark` writes a pod's annotation, "" removes it; a pod that is gone is fine.

    `identities` are for our own proxy; a ztunnel gets its certificates itself, and is handed pods by `ztunnel`.
    """

    mark: Callable[[Pod, str], Awaitable[None]]
    identities: Identities | None
    names: PodNames | None
    capture: NodeCapture
    probes: NodeProbes
    trust_domain: str
    drain: Drain
    clock: Clock
    log: FilteringBoundLogger
    ztunnel: ZdsServer | None = None


class CapturedPod:
    """Brings one pod to where it is wanted, step by step, for as long as `run` runs."""

    def __init__(self, pod: Pod, link: Path, tools: Tools) -> None:
        """`link` is where the pod's network namespace is found, once it is known."""
        self.pod = pod
        self._link = link
        self._tools = tools
        self._namespace = NetworkNamespace(link)
        self._wanted = False
        self._written: str | None = None
        self._mark = pod.mark
        self._prepared = False
        self._listening = False
        self._redirected: bool | None = None
        self._drained = False
        self._gone = False
        self._step = Step.NOTHING
        self._error = ""
        self._news = asyncio.Event()
        self._told = asyncio.Event()
        self._settled = asyncio.Event()

    @property
    def captured(self) -> bool:
        """True if its traffic goes through the proxy of the node."""
        return self._wanted and self._step is Step.NOTHING and self._redirected is True

    @property
    def obstacle(self) -> str:
        """Why it is not captured yet."""
        reason = _WAITS_FOR.get(self._step, "the agent has not come to it yet")
        return f"{reason} ({self._error})" if self._error else reason

    def learn(self, pod: Pod, *, wanted: bool) -> None:
        """What the API server says of it now."""
        # Until our own last word comes back, what comes is older than it.
        if self._written is None or pod.mark == self._written:
            self._written = None
            known, self._mark = self._mark, pod.mark
        else:
            known = self._mark
        changed = wanted != self._wanted or known != self._mark
        if self._redirected and self._capture_of(pod) != self._capture_of(self.pod):
            self._redirected, changed = None, True
        self.pod, self._wanted = pod, wanted
        self._told.set()
        if changed:
            self._wake()

    def _capture_of(self, pod: Pod) -> NodeCapture:
        """What is redirected of this pod, by its annotations."""
        capture = self._tools.capture
        names = capture.dns_port if pod.captures_names else None
        return replace(capture, dns_port=names, inbound=not pod.bypasses_inbound)

    async def enter(self) -> None:
        """Its network namespace is a new one."""
        if self._tools.names is not None:
            await self._tools.names.stop(self.pod.uid)
        self._prepared, self._listening, self._redirected, self._drained = False, False, False, False
        self._gone = False
        self._wake()

    async def settled(self, patience: float) -> bool:
        """True once it is as wanted; False after `patience` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._settled.wait()
                return True
        return False

    async def run(self) -> None:
        """Never ends by itself. Nothing happens before it is known what is wanted: it may be captured already."""
        await self._told.wait()
        failures, looks = 0, 0
        while True:
            self._news.clear()
            self._step = step = next_step(self._standing())
            if step in (Step.NOTHING, Step.FORGET):
                if step is Step.FORGET:
                    await self._let_go(linger=not self._gone)
                failures, looks, self._error = 0, 0, ""
                self._settled.set()
                await self._news.wait()
                continue
            self._settled.clear()
            try:
                if step is Step.AWAIT_LISTENERS:
                    looks = await self._look(looks)
                elif step in _LONG:
                    await self._unless_news(self._perform(step))
                else:
                    await self._perform(step)
                failures, self._error = 0, ""
            except (IsthmusError, OSError) as error:
                failures += 1
                self._error = str(error)
                self._tools.log.warning("pod", pod=self.pod.key, step=step.name.lower(), failed=self._error)
                await self._rest(min(FIRST_RETRY * 2.0**failures, LONGEST_RETRY))

    async def leave(self) -> None:
        """Its network namespace is about to go: nothing may listen there, or be wanted there, any more."""
        self._gone = True
        self._told.set()
        self._wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_PATIENCE):
                await self._settled.wait()
                await self._until_closed()

    async def end(self) -> None:
        """There is no such pod any more."""
        await self._let_go()

    async def _until_closed(self) -> None:
        while True:
            if not await self._is_listening(every=False):
                return
            await asyncio.sleep(LOOK_EVERY)

    def _standing(self) -> Standing:
        return Standing(
            wanted=self._wanted,
            mark=self._mark,
            reachable=not self._gone and self._link.exists(),
            prepared=self._prepared,
            listening=self._listening,
            redirected=self._redirected,
            drained=self._drained,
        )

    async def _perform(self, step: Step) -> None:
        match step:
            case Step.MARK_PENDING | Step.MARK_ENABLED | Step.UNMARK:
                await self._say(_MARKS[step])
            case Step.PREPARE:
                await self._prepare()
            case Step.REDIRECT:
                await self._tools.probes.allow(self.pod, self._namespace)
                if self._tools.capture.keeps_source:
                    await self._namespace.run(local_routes.add)
                await self._commit(table_messages(CAPTURE_TABLE, node_capture_chains(self._capture_of(self.pod))))
                await self._forget_queries()
                self._redirected, self._drained = True, False
                self._tools.log.info("pod captured", pod=self.pod.key)
            case Step.STOP_REDIRECT:
                await self._commit(table_messages(CAPTURE_TABLE, released_chains(self._tools.capture)))
                self._redirected, self._drained, self._listening = False, False, False
                self._tools.log.info("pod released", pod=self.pod.key)
            case Step.DRAIN:
                await self._drain()
                await self._tools.probes.forbid(self.pod.uid)
                self._drained = True

    async def _say(self, mark: str) -> None:
        await self._tools.mark(self.pod, mark)
        self._mark = self._written = mark
        if not mark:
            self._redirected, self._listening = False, False

    async def _prepare(self) -> None:
        pod = self.pod
        identity = spiffe_id(self._tools.trust_domain, pod.namespace, pod.service_account)
        # Names first: a pod that an agent before this one captured asks for some already.
        if self._tools.names is not None:
            await self._tools.names.serve(pod, self._namespace)
        if self._tools.identities is not None:
            await self._tools.identities.ensure(pod.uid, identity)
        if self._tools.ztunnel is not None:
            await self._tools.ztunnel.add(handed(pod, str(self._link)))
        self._prepared = True

    async def _look(self, looks: int) -> int:
        """Whether the proxy listens by now; pauses if not. How often it was looked for in a row."""
        self._listening = await self._is_listening(every=True)
        if self._listening:
            return 0
        await self._rest(min(LOOK_EVERY * 2.0**looks, LOOK_SELDOM))
        return looks + 1

    async def _is_listening(self, *, every: bool) -> bool:
        """On all ports of the proxy, or on any of them. Of a namespace that is gone: on none."""
        try:
            sockets = await self._namespace.sockets()
        except IsthmusError:
            return False
        ports = self._tools.capture.proxy_ports
        return ports <= sockets.listening if every else not ports.isdisjoint(sockets.listening)

    async def _drain(self) -> None:
        """Serve on what is open, and those who have not heard yet."""
        tools = self._tools
        begin = tools.clock.monotonic()
        while (waited := tools.clock.monotonic() - begin) < tools.drain.most:
            sockets = await self._namespace.sockets()
            busy = any(sockets.connections.get(port) for port in tools.capture.proxy_ports)
            if waited >= tools.drain.least and not busy:
                return
            await asyncio.sleep(min(LOOK_SELDOM, tools.drain.most - waited))

    async def _forget_queries(self) -> None:
        """An application that asks from one socket all the time asks by the new rules from now on."""
        try:
            await self._namespace.run(lambda: netfilter.forget_udp(NAME_PORT, answered=True))
        except OSError as error:
            self._tools.log.warning("queries for names go where they went", pod=self.pod.key, reason=str(error))

    async def _commit(self, messages: list[bytes]) -> None:
        await self._namespace.run(lambda: netfilter.commit(messages))

    async def _let_go(self, *, linger: bool = False) -> None:
        if self._tools.names is not None:
            if linger:
                self._tools.names.stop_later(self.pod.uid)
            else:
                await self._tools.names.stop(self.pod.uid)
        if self._tools.identities is not None:
            await self._tools.identities.release(self.pod.uid)
        if self._tools.ztunnel is not None:
            self._tools.ztunnel.remove(self.pod.uid)
        await self._tools.probes.forbid(self.pod.uid)
        self._prepared, self._listening, self._drained = False, False, False

    async def _unless_news(self, work: Coroutine[None, None, None]) -> None:
        """Do the work, but leave it when something else is wanted meanwhile."""
        doing = asyncio.create_task(work)
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait((doing, news), return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
        finally:
            for task in (doing, news):
                task.cancel()
            await asyncio.gather(doing, news, return_exceptions=True)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def _wake(self) -> None:
        self._settled.clear()
        self._news.set()


def handed(pod: Pod, netns: str = "") -> Handed:
    """The pod as ztunnel is told of it."""
    return Handed(pod.uid, pod.namespace, pod.name, pod.service_account, netns)
