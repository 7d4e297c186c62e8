"""Serves one Envoy its secrets: the secret discovery service, delta and state of the world, over the agent's socket."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, TypeAlias

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.xds.delta import DeltaSession
from isthmus.xds.resource import SDS, XdsResource
from isthmus.xds.session import Rejected, Session
from isthmus.xds.sotw import SotwSession

SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
OnRejected = Callable[[Rejected], None]


class SecretStore:
    """The secrets of one proxy: its own, and those of workloads that it serves. Streams wait for its own."""

    def __init__(self, *, patient: bool = False) -> None:
        """`patient`: a name without a secret is that of a workload whose secret is still being got."""
        self._patient = patient
        self._dropped: set[str] = set()
        self._own: Mapping[str, XdsResource] = {}
        self._others: Mapping[str, XdsResource] = {}
        self._secrets: Mapping[str, XdsResource] = {}
        self._changed = asyncio.Event()
        self.ready = asyncio.Event()

    def replace(self, secrets: Mapping[str, XdsResource]) -> None:
        """These are the proxy's own secrets from now on."""
        self._own = secrets
        self.ready.set()
        self._tell()

    def put(self, secret: XdsResource) -> None:
        """This secret is served beside the others."""
        self._dropped.discard(secret.name)
        self._set({**self._others, secret.name: secret})

    def drop(self, name: str) -> None:
        """A secret that was put is served no more."""
        self._dropped.add(name)
        self._set({known: secret for known, secret in self._others.items() if known != name})

    def _set(self, others: Mapping[str, XdsResource]) -> None:
        self._others = others
        self._tell()

    def _tell(self) -> None:
        self._secrets = {**self._others, **self._own}
        self._changed.set()
        self._changed = asyncio.Event()

    def expects(self, name: str) -> bool:
        """True if nobody knows yet whether there is such a secret.

        An Envoy that outlived the agent before this one has secrets of that one: it is to keep them meanwhile.
        """
        return self._patient and name not in self._secrets and name not in self._dropped

    def next_change(self) -> asyncio.Event:
        """Set when the secrets are replaced the next time."""
        return self._changed

    def resource(self, type_url: str, name: str) -> XdsResource | None:
        """One secret."""
        return self._secrets.get(name) if type_url == SDS else None

    def resources(self, type_url: str) -> Mapping[str, XdsResource]:
        """All secrets."""
        return self._secrets if type_url == SDS else {}

    def subscribe(self, type_url: str, names: Collection[str]) -> None:
        """Nothing to note: each stream looks at all changes."""

    def unsubscribe(self, type_url: str, names: Collection[str]) -> None:
        """Nothing to note."""


class SecretService:
    """The service for one proxy's store."""

    def __init__(self, store: SecretStore, on_rejected: OnRejected) -> None:
        self._store = store
        self._on_rejected = on_rejected

    def handler(self) -> grpc.GenericRpcHandler:
        """The service to add to a gRPC server."""
        methods = {
            "DeltaSecrets": grpc.stream_stream_rpc_method_handler(self._delta),
            "StreamSecrets": grpc.stream_stream_rpc_method_handler(self._sotw),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _delta(self, requests: AsyncIterator[bytes], context: Context) -> None:
        parse = discovery_pb2.DeltaDiscoveryRequest.FromString
        await self._serve(requests, context, parse, DeltaSession(self._store))

    async def _sotw(self, requests: AsyncIterator[bytes], context: Context) -> None:
        parse = discovery_pb2.DiscoveryRequest.FromString
        await self._serve(requests, context, parse, SotwSession(self._store))

    async def _serve(
        self, requests: AsyncIterator[bytes], context: Context, parse: Callable[[bytes], Any], session: Session[Any]
    ) -> None:
        # Absence would be an answer: Envoy would be told that its certificate does not exist.
        await self._store.ready.wait()
        work = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(context, session, work))
            watcher = group.create_task(self._watch(session, work))
            async for data in requests:
                for event in session.receive(parse(data), time.time()):
                    if isinstance(event, Rejected):
                        self._on_rejected(event)
                work.set()
            writer.cancel()
            watcher.cancel()

    async def _watch(self, session: Session[Any], work: asyncio.Event) -> None:
        while True:
            change = self._store.next_change()
            session.mark_all()
            work.set()
            await change.wait()

    async def _write(self, context: Context, session: Session[Any], work: asyncio.Event) -> None:
        while True:
            await work.wait()
            work.clear()
            for subscription in session.subscriptions.values():
                expected = set(filter(self._store.expects, subscription.dirty))
                subscription.dirty -= expected
                subscription.forced -= expected
            while push := session.next(time.time()):
                await context.write(push.data)
