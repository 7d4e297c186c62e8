"""Decisions about clusters as Kubernetes events in the system namespace, so that `kubectl get events` shows them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from isthmus.base.errors import IsthmusError
from isthmus.derive.liveness import Decision
from isthmus.edge.kube_client import KubeClient
from isthmus.kube.requests import EVENTS
from isthmus.model.liveness import Signal

log = structlog.get_logger()

MOST_WAITING = 100
RETRY_SECONDS = 5.0
_TAKES_AWAY = ("demoted", "drained", "dropped", "draining")


class EventWriter:
    """Writes events one after the other. While the API server is away the newest are kept, the oldest given up."""

    def __init__(self, client: Callable[[], KubeClient | None], *, namespace: str, instance: str) -> None:
        self._client = client
        self._namespace = namespace
        self._instance = instance
        self._waiting: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def put(self, decision: Decision, name: str) -> None:
        """Tell of a decision about the cluster that the MeshCluster `name` declares, or would declare."""
        self._waiting.append(event(decision, name, namespace=self._namespace, instance=self._instance))
        del self._waiting[:-MOST_WAITING]
        self._news.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._news.wait()
            while self._waiting:
                client = self._client()
                try:
                    if client is not None:
                        await client.create(EVENTS, self._waiting[0], namespace=self._namespace)
                        del self._waiting[:1]
                        continue
                except IsthmusError as error:
                    log.debug("event not written", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            self._news.clear()


def event(decision: Decision, name: str, *, namespace: str, instance: str) -> dict[str, Any]:
    """The core/v1 Event of a decision."""
    at = datetime.fromtimestamp(decision.time, UTC)
    moved = " -> ".join(part for part in (decision.before, decision.after) if part)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{name}.{int(decision.time * 1e6):x}.{_camel(decision.what)}".lower(),
            "namespace": namespace,
        },
        "involvedObject": {
            "apiVersion": "isthmus.dev/v1alpha1",
            "kind": "MeshCluster",
            "namespace": namespace,
            "name": name,
        },
        "type": "Warning" if _is_bad(decision) else "Normal",
        "reason": reason(decision),
        "message": f"cluster {decision.cluster}: {decision.what} {moved}: {decision.reason}",
        "firstTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lastTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "count": 1,
        "source": {"component": "isthmus", "host": instance},
        "reportingComponent": "isthmus.dev/istiod",
        "reportingInstance": instance,
    }


def _is_bad(decision: Decision) -> bool:
    """True for what nobody asked for."""
    taken = decision.what == "standing" and decision.after.startswith(_TAKES_AWAY)
    return taken or decision.after in ("bad", "stopped")


def reason(decision: Decision) -> str:
    """One word, such as `ClusterDemoted`, `GatewayBad`, `DrainStopped`."""
    first = decision.after.split(",")[0].split(" ")[0]
    if decision.what in list(Signal):
        return _camel(decision.what) + _camel(first)
    if decision.what == "drain":
        return "DrainStopped" if first == "stopped" else "ClusterDraining" if first == "draining" else _cluster(first)
    return _cluster(first) if decision.before != decision.after else "ClusterKept"


def _cluster(word: str) -> str:
    return "Cluster" + _camel(word or "forgotten")


def _camel(word: str) -> str:
    return word[:1].upper() + word[1:]
