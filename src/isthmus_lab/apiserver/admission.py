"""Admission: the server's own, then webhooks. Mutating ones in order, validating ones all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from isthmus_lab.apiserver import webhooks
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.objects import JsonObject, copy, encode, items, labels_of, lookup
from isthmus_lab.apiserver.serviceaccounts import ServiceAccountAdmission
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.webhookclient import Target, post
from isthmus_lab.apiserver.webhooks import Admitted, WebhookError

_LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Hook:
    """One webhook that a request goes to, and the version it wants the object in."""

    spec: JsonObject
    version: str

    @property
    def name(self) -> str:
        return str(self.spec.get("name", ""))


class Admission:
    def __init__(self, state: State, accounts: ServiceAccountAdmission) -> None:
        self._state = state
        self._accounts = accounts

    def fill(self, call: Call, obj: JsonObject, operation: str) -> None:
        """The server's own admission of an object; done again after webhooks, which may add containers."""
        creating = operation == "CREATE" and not call.info.subresource
        if creating or (call.resource.storage == "secrets" and operation == "UPDATE"):
            self._accounts.admit(call.resource.storage, obj)

    async def mutate(self, call: Call, admitted: Admitted) -> JsonObject:
        """The object after all mutating webhooks. Raises what a webhook denies."""
        obj = admitted.new
        assert obj is not None
        for hook in self._hooks("mutating", call, admitted):
            # Each sees what those before it have made of the object.
            current = Admitted(operation=admitted.operation, new=obj, old=admitted.old)
            patched = await self._ask(hook, call, current)
            if patched is not None:
                obj = patched
        return obj

    async def validate(self, call: Call, admitted: Admitted) -> None:
        """Raises the first denial, in the order of the webhooks."""
        hooks = list(self._hooks("validating", call, admitted))
        if not hooks:
            return
        answers = await asyncio.gather(*(self._ask(hook, call, admitted) for hook in hooks), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    def _hooks(self, kind: str, call: Call, admitted: Admitted) -> Iterator[_Hook]:
        storage = f"{kind}webhookconfigurations.{webhooks.GROUP}"
        if not self._state.store.count(storage) or call.resource.group == webhooks.GROUP:
            return
        namespace = None
        if call.namespace:
            entry = self._state.store.get("namespaces", "", call.namespace)
            namespace = labels_of(entry.obj) if entry is not None else {}
        for entry in self._state.store.list(storage):
            for spec in items(entry.obj, "webhooks"):
                version = webhooks.matching_version(spec, call, admitted.operation)
                if version and webhooks.selected(spec, admitted, call.resource, namespace):
                    yield _Hook(spec, version)

    async def _ask(self, hook: _Hook, call: Call, admitted: Admitted) -> JsonObject | None:
        """The object as the webhook wants it, None when it changes nothing."""
        uid = self._state.new_uid()
        body = encode(webhooks.review(call, admitted, version=hook.version, uid=uid))
        seconds = int(hook.spec.get("timeoutSeconds") or 10)
        try:
            target = self.resolve(hook.spec["clientConfig"], seconds)
            answer = await post(target, body, seconds=seconds)
            obj = copy(admitted.new) if admitted.new is not None else None
            said = webhooks.verdict(answer, name=hook.name, uid=uid, obj=obj)
        except WebhookError as error:
            if hook.spec.get("failurePolicy") == "Ignore":
                _LOG.warning("webhook failed, ignored", webhook=hook.name, why=str(error))
                return None
            raise webhooks.call_failed(hook.name, str(error)) from error
        call.warnings += said.warnings
        return said.patched

    def resolve(self, client: JsonObject, seconds: int) -> Target:
        """Where to call: a URL, or a Service by its ClusterIP. Raises WebhookError."""
        if client.get("url"):
            return Target.of_url(str(client["url"]), client.get("caBundle") or "", seconds)
        service = client["service"]
        name, namespace, port = service["name"], service["namespace"], int(service.get("port") or 443)
        host = f"{name}.{namespace}.svc"
        path = "/" + str(service.get("path") or "").lstrip("/")
        entry = self._state.store.get("services", namespace, name)
        if entry is None:
            raise WebhookError(f'Post "https://{host}:{port}{path}?timeout={seconds}s": service "{name}" not found')
        address = lookup(entry.obj, "spec", "clusterIP", default="")
        if address in ("", "None"):
            raise WebhookError(f'service "{name}" has no cluster IP to call')
        if not any(p.get("port") == port for p in items(entry.obj["spec"], "ports")):
            raise WebhookError(f'no service port {port} found for service "{name}"')
        return Target(
            address=address,
            port=port,
            host=host,
            path=f"{path}?timeout={seconds}s",
            authority=client.get("caBundle") or "",
        )
