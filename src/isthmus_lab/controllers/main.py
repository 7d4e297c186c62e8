"""Runs all controllers beside an API server: watch, decide, act; whatever fails is tried again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from isthmus.base.errors import UnreachableError
from isthmus_lab.apiserver.objects import JsonObject
from isthmus_lab.controllers import (
    daemonsets,
    deployments,
    endpoints,
    loadbalancer,
    nodes,
    old_endpoints,
    replicasets,
    scheduler,
    statefulsets,
)
from isthmus_lab.controllers.client import Client, Kind, is_conflict
from isthmus_lab.controllers.executor import Executor
from isthmus_lab.controllers.informer import Informer
from isthmus_lab.controllers.plan import Controller
from isthmus_lab.controllers.queue import FIRST_RETRY, WorkQueue
from isthmus_lab.controllers.view import Key, Moment, View
from isthmus_lab.kubelet.client import ApiError

_log = structlog.get_logger(__name__)
_SERIAL = frozenset({"scheduler"})  # its decisions depend on each other


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """Durations in seconds."""

    node_grace_seconds: float = 15.0
    """A node whose lease was not renewed for this long is not ready."""

    eviction_seconds: float = 300.0
    """The pods of a node that has been unreachable for this long are deleted."""

    workers: int = 4
    """How many keys of one controller may be worked on at a time; a slow webhook holds up only its own."""


def controllers(settings: ControllerSettings) -> list[Controller]:
    """All controllers of a lab cluster."""
    return [
        deployments.CONTROLLER,
        replicasets.CONTROLLER,
        statefulsets.CONTROLLER,
        daemonsets.CONTROLLER,
        scheduler.CONTROLLER,
        endpoints.CONTROLLER,
        old_endpoints.CONTROLLER,
        loadbalancer.CONTROLLER,
        nodes.lifecycle(grace_seconds=settings.node_grace_seconds, eviction_seconds=settings.eviction_seconds),
        nodes.LOST_PODS,
    ]


async def run(client: Client, settings: ControllerSettings) -> None:
    """Runs until cancelled. The client needs the rights of the system's own account; the server may come up later."""
    await Manager(client, controllers(settings), workers=settings.workers).run()


def _now() -> Moment:
    return Moment(wall=time.time(), mono=time.monotonic())


class Manager:
    """The thin loop around the decisions."""

    def __init__(self, client: Client, chosen: Iterable[Controller], *, workers: int = 4) -> None:
        self.view = View()
        self._client = client
        self._workers = workers
        self._executor = Executor(client, self.view, now=_now, learn=self._learn)
        self._queues = [(controller, WorkQueue()) for controller in chosen]

    async def run(self) -> None:
        """Lists everything, then decides: a decision on half a picture could delete what is only not seen yet."""
        informers = [
            Informer(self._client, store, changed=self._changed, mono=time.monotonic)
            for store in self.view.stores.values()
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for informer in informers:
                    group.create_task(informer.run())
                for informer in informers:
                    await informer.synced.wait()
                for controller, queue in self._queues:
                    for _ in range(1 if controller.name in _SERIAL else self._workers):
                        group.create_task(self._work(controller, queue))
        finally:
            for _, queue in self._queues:
                queue.close()

    def _learn(self, kind: Kind, obj: JsonObject) -> None:
        if self.view.stores[kind].put(obj, mono=time.monotonic()):
            self._changed(kind, obj)

    def _changed(self, kind: Kind, obj: JsonObject) -> None:
        for controller, queue in self._queues:
            trigger = controller.triggers.get(kind)
            if trigger is not None:
                for key in trigger(self.view, obj):
                    queue.add(key)

    async def _work(self, controller: Controller, queue: WorkQueue) -> None:
        while True:
            key = await queue.take()
            try:
                await self._decide(controller, queue, key)
            finally:
                queue.done(key)

    async def _decide(self, controller: Controller, queue: WorkQueue, key: Key) -> None:
        try:
            plan = controller.desired(self.view, key, _now())
            for action in plan.actions:
                await self._executor.execute(action)
        except (ApiError, UnreachableError) as failure:
            self._retry(controller, queue, key, failure, quiet=is_conflict(failure))
        except Exception as failure:  # an object that no decision can be taken on must not stop the others
            _log.exception("decision failed", controller=controller.name, key="/".join(key))
            self._retry(controller, queue, key, failure, quiet=True)
        else:
            queue.forget(key)
            if plan.again is None:
                queue.cancel_timer(key)
            else:
                queue.add_after(key, plan.again)

    def _retry(
        self, controller: Controller, queue: WorkQueue, key: Key, failure: Exception, *, quiet: bool = False
    ) -> None:
        pause = queue.retry(key)
        if not quiet and pause <= FIRST_RETRY:  # once per row of failures
            _log.warning(
                "will try again", controller=controller.name, key="/".join(key), error=str(failure), seconds=pause
            )
