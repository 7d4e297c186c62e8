"""Several clusters at once, each by its context: their control planes' pages, and what is declared there."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from isthmus.base.errors import UnreachableError, UsageError
from isthmus.cli.output import warn
from isthmus.cli.reach import ask_all_istiods, connect
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.kube.requests import Resource, Scope

MESH_CLUSTERS = Resource("isthmus.dev", "v1alpha1", "meshclusters")


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster with control planes, that configuration is written to. `context` as in the kubeconfig."""

    context: str
    client: KubeClient
    namespace: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What one control plane answered."""

    context: str
    istiod: str
    body: Mapping[str, Any]

    @property
    def by(self) -> str:
        """Who says so: the context, and which control plane of it."""
        return f"{self.context}/{self.istiod}" if self.context else self.istiod


@asynccontextmanager
async def places(kubeconfig: str, contexts: Iterable[str], namespace: str) -> AsyncIterator[list[Place]]:
    """The clusters of these contexts; of none: the current one. Raises UsageError for one that does not exist."""
    async with AsyncExitStack() as stack:
        found = []
        for context in list(dict.fromkeys(contexts)) or [""]:
            client = await stack.enter_async_context(await connect(kubeconfig, context))
            found.append(Place(context, client, namespace))
        yield found


def split_contexts(texts: Iterable[str]) -> list[str]:
    """`--contexts east,west` and `--context east --context west` alike."""
    return [name for text in texts for name in text.split(",") if name]


async def ask(found: Iterable[Place], path: str, *, quiet: bool = False) -> list[Seen]:
    """Every control plane's page. What does not answer is warned of; raises if a whole cluster does not."""
    asked = list(found)
    answers = await asyncio.gather(*(ask_all_istiods(place.client, place.namespace, path) for place in asked))
    seen = []
    for place, parts in zip(asked, answers, strict=True):
        good = [Seen(place.context, part.istiod, part.body) for part in parts if part.error is None]
        errors = [part.error for part in parts if part.error is not None]
        if not good:
            raise errors[0]
        for error in () if quiet else errors:
            warn(str(error))
        seen += good
    return seen


async def declaration(place: Place, cluster: str) -> dict[str, Any] | None:
    """The oldest MeshCluster about a cluster; None if nothing is declared. Raises if the kind is not installed."""
    try:
        items = await place.client.list(MESH_CLUSTERS, Scope(place.namespace))
    except KubeError as error:
        if error.status == 404:
            raise UsageError(
                f"{place.context or place.client.server} does not know the kind MeshCluster",
                "Run isthmus install there again: it adds the definition",
            ) from error
        raise
    about = [item for item in items if (item.get("spec") or {}).get("cluster", item["metadata"]["name"]) == cluster]
    return min(about, key=lambda item: str(item["metadata"].get("creationTimestamp", "")), default=None)


async def declare(place: Place, cluster: str, spec: Mapping[str, Any]) -> None:
    """Write these fields of the declaration; one is made if there is none."""
    known = await declaration(place, cluster)
    if known is not None:
        name = str(known["metadata"]["name"])
        await place.client.patch(MESH_CLUSTERS, {"spec": dict(spec)}, namespace=place.namespace, name=name)
        return
    name = cluster.lower()
    body = {
        "apiVersion": "isthmus.dev/v1alpha1",
        "kind": "MeshCluster",
        "metadata": {"name": name, "namespace": place.namespace},
        "spec": {**({} if name == cluster else {"cluster": cluster}), **spec},
    }
    await place.client.create(MESH_CLUSTERS, body, namespace=place.namespace)


async def declared_states(found: Iterable[Place], cluster: str) -> dict[str, str]:
    """The state that is declared now, by context."""
    states = {}
    for place in found:
        known = await declaration(place, cluster)
        states[place.context] = str(((known or {}).get("spec") or {}).get("state") or "active")
    return states


def standings(seen: Iterable[Seen], cluster: str) -> dict[str, Mapping[str, Any]]:
    """How each control plane says that the cluster stands. Raises UsageError if none knows it."""
    found = {one.by: entry for one in seen for entry in one.body["clusters"] if entry["cluster"] == cluster}
    if not found:
        known = sorted({entry["cluster"] for one in seen for entry in one.body["clusters"]})
        raise UsageError(f"no control plane knows a cluster {cluster!r}", f"Known are: {', '.join(known)}")
    return found


async def patient_ask(found: Iterable[Place], path: str) -> list[Seen]:
    """As `ask`, but a control plane that is away for a moment is no reason to give up: then nothing is answered."""
    try:
        return await ask(found, path, quiet=True)
    except (UnreachableError, KubeError) as error:
        warn(str(error))
        return []
