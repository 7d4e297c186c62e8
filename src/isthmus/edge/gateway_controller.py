"""Runs what Gateways of our classes ask for, and tells them how it is (their status).

There is no election: what is made is a function of the Gateway and of the settings that replicas share, it is applied
under one field manager, and a status is written only where it says something else. So replicas write the same once.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError, ObjectRef, Problem, UsageError
from isthmus.base.labels import MANAGED_LABEL
from isthmus.derive.gateway_status import Seen, class_status, gateway_status
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.install.managed_gateway import controller_label, gateway_classes, managed_gateway
from isthmus.install.overlay import overlays
from isthmus.install.values import Manifest, MeshValues
from isthmus.kube.requests import CONFIG_MAPS, SERVICE_ACCOUNTS, SERVICES, Resource
from isthmus.model.managed import ManagedGateway
from isthmus.tables.changes import Key

log = structlog.get_logger()

Json = dict[str, Any]

GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways")
GATEWAY_CLASSES = Resource("gateway.networking.k8s.io", "v1", "gatewayclasses", namespaced=False)
DEPLOYMENTS = Resource("apps", "v1", "deployments")
_RESOURCES = {
    "ServiceAccount": SERVICE_ACCOUNTS,
    "Service": SERVICES,
    "Deployment": DEPLOYMENTS,
    "HorizontalPodAutoscaler": Resource("autoscaling", "v2", "horizontalpodautoscalers"),
    "PodDisruptionBudget": Resource("policy", "v1", "poddisruptionbudgets"),
}

MANAGER = "isthmus-gateways"

INTERVAL = 30.0
"""Seconds until everything is looked at again, whether something changed or not."""

SETTLE = 0.2
"""Seconds in which changes are gathered."""

FORBIDDEN, NOT_FOUND, CONFLICT = 403, 404, 409


class GatewayController:
    """Looks when it is poked, and now and then."""

    def __init__(
        self,
        mesh: Callable[[], MeshValues],
        clock: Clock,
        *,
        rows: Callable[[], Sequence[ManagedGateway]],
        seen: Callable[[ManagedGateway], Seen],
        client: Callable[[], KubeClient | None],
    ) -> None:
        """`mesh` is what pods of the cluster are given, `rows` are its Gateways, `seen` is what runs of one."""
        self._mesh = mesh
        self._clock = clock
        self._rows = rows
        self._seen = seen
        self._client = client
        self._poked = asyncio.Event()
        self._done: dict[Key, tuple[ManagedGateway, Seen]] = {}
        self._errors: dict[Key, str] = {}
        self._blamed: dict[Key, str] = {}
        self._denied: dict[Key, Problem] = {}

    def poke(self) -> None:
        """A Gateway changed, or something that may run for one."""
        self._poked.set()

    async def run(self) -> None:
        """Until cancelled."""
        again = True
        while True:
            self._poked.clear()
            await self.look(everything=again)
            try:
                async with asyncio.timeout(INTERVAL):
                    await self._poked.wait()
                again = False
            except TimeoutError:
                again = True
                continue
            await asyncio.sleep(SETTLE)

    async def look(self, *, everything: bool) -> None:
        """Once: at what changed since the last time, or at everything."""
        client, rows = self._client(), self._rows()
        if client is None:
            return
        new = {row.key for row in rows} - self._done.keys()
        for gone in self._done.keys() - {row.key for row in rows}:
            del self._done[gone]
            self._errors.pop(gone, None)
            self._blamed.pop(gone, None)
            self._denied.pop(gone, None)
        if everything or new:
            await self._attempt(self._keep_classes(client), "gateway classes")
        for row in rows:
            before, now = self._done.get(row.key), (row, self._seen(row))
            if everything or before != now:
                same = before is not None and before[0] == row and before[1].service == now[1].service
                make = everything or not same
                work = self._look_after(client, row, make=make)
                if await self._attempt(work, f"gateway {row.namespace}/{row.name}", row):
                    self._done[row.key] = now

    def problems(self) -> list[Problem]:
        """Gateways that cannot be run, and not be told so either, for we may not write there."""
        return list(self._denied.values())

    async def _attempt(self, work: Coroutine[Any, Any, None], what: str, row: ManagedGateway | None = None) -> bool:
        """Do it, whatever comes; True if nothing did."""
        try:
            await work
        except KubeError as error:
            log.warning("not looked after", what=what, error=str(error))
            if row is not None and error.status == FORBIDDEN:
                self._denied[row.key] = _denied(row, error)
        except IsthmusError as error:
            log.debug("not looked after", what=what, error=str(error))
        except Exception:
            # An object of a form that nobody foresaw must not end the control plane.
            log.exception("not looked after", what=what)
        else:
            if row is not None:
                self._denied.pop(row.key, None)
            return True
        return False

    async def _keep_classes(self, client: KubeClient) -> None:
        """Our classes are there and accepted. A class of the same name that is somebody else's stays as it is."""
        for wanted in gateway_classes():
            name, spec = str(wanted["metadata"]["name"]), wanted["spec"]
            found = await client.find(GATEWAY_CLASSES, "", name)
            if found is None:
                try:
                    found = await client.apply(GATEWAY_CLASSES, wanted, manager=MANAGER)
                except KubeError as error:
                    if error.status == NOT_FOUND:  # the cluster has no Gateway API
                        return
                    raise
                log.info("gateway class made", name=name)
            if (found.get("spec") or {}).get("controllerName") == spec["controllerName"]:
                before = found.get("status") or {}
                status = class_status(_generation(found), before, self._now())
                await _write_status(client, GATEWAY_CLASSES, found, status)

    async def _look_after(self, client: KubeClient, row: ManagedGateway, *, make: bool) -> None:
        if make:
            try:
                error = await self._make(client, row)
            except KubeError as refused:
                error = f"Not everything can be made: {refused.message}"
            if error and self._errors.get(row.key) != error:
                log.warning("gateway cannot be run", gateway=(row.namespace, row.name), error=error)
            self._errors[row.key] = error
        error, blamed = self._errors.get(row.key, ""), self._blamed.get(row.key, "")
        found = await client.find(GATEWAYS, row.namespace, row.name)
        if found is None or (found.get("metadata") or {}).get("uid") != row.uid:
            return
        seen = self._seen(row)
        seen = Seen(seen.service, seen.pods, error, blamed)
        status = gateway_status(row, seen, _generation(found), found.get("status") or {}, self._now())
        if await _write_status(client, GATEWAYS, found, status):
            programmed = next(one for one in status["conditions"] if one["type"] == "Programmed")
            where = (row.namespace, row.name)
            log.info("gateway told", gateway=where, programmed=programmed["status"], reason=programmed["reason"])

    async def _make(self, client: KubeClient, row: ManagedGateway) -> str:
        """Apply what runs for a Gateway; why not, if something of that name is somebody else's."""
        self._blamed.pop(row.key, None)
        if row.fault or row.host:
            return ""
        parts: dict[str, Manifest] = {}
        if row.parameters:
            try:
                parts = await self._parameters(client, row)
            except UsageError as error:
                self._blamed[row.key] = f"ConfigMap {row.namespace}/{row.parameters}: {error.message}. {error.remedy}"
                return ""
        mine = controller_label(row.class_name)
        for wanted in managed_gateway(row, self._mesh(), parts):
            kind, resource = str(wanted["kind"]), _RESOURCES[str(wanted["kind"])]
            found = await client.find(resource, row.namespace, row.name)
            if found is not None and _labels(found).get(MANAGED_LABEL) != mine:
                if kind == "ServiceAccount":
                    continue
                return f"{kind} {row.namespace}/{row.name} is there already and not ours: rename the Gateway"
            await client.apply(resource, wanted, manager=MANAGER)
        return ""

    @staticmethod
    async def _parameters(client: KubeClient, row: ManagedGateway) -> dict[str, Manifest]:
        """What is laid over what is made. Raises UsageError for a ConfigMap that is not there or not understood."""
        found = await client.find(CONFIG_MAPS, row.namespace, row.parameters)
        if found is None:
            raise UsageError("does not exist", "Create it, or take spec.infrastructure.parametersRef away")
        return overlays(found.get("data") or {})

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _write_status(client: KubeClient, resource: Resource, found: Mapping[str, Any], status: Json) -> bool:
    """Write a status if it says something else than the object's own; True if it was written.

    Only over the object that it was made from: who comes second, sees first what the other wrote.
    """
    before = found.get("status") or {}
    if all(before.get(key) == value for key, value in status.items()):
        return False
    meta = found["metadata"]
    body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": status}
    try:
        await client.patch_status(resource, body, namespace=meta.get("namespace", ""), name=meta["name"])
    except KubeError as error:
        if error.status not in (NOT_FOUND, CONFLICT):
            raise
        return False
    return True


def _denied(row: ManagedGateway, error: KubeError) -> Problem:
    where = ObjectRef(row.cluster, "Gateway", row.namespace, row.name)
    remedy = "Apply isthmus install there again, for the rights of the account that its remote secret is of"
    return Problem(where, "status", f"nothing can be run for it, nor told: {error.message}".rstrip("."), remedy)


def _generation(found: Mapping[str, Any]) -> int:
    return int((found.get("metadata") or {}).get("generation") or 0)


def _labels(found: Mapping[str, Any]) -> Mapping[str, str]:
    return (found.get("metadata") or {}).get("labels") or {}
