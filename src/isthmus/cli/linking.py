"""What `isthmus multicluster` needs of clusters: who they are, where they are entered, and the links between them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus.base.errors import IsthmusError, UnreachableError, UsageError
from isthmus.base.labels import EXPOSE_ISTIOD_LABEL, NETWORK_LABEL
from isthmus.cli.places import Place, ask
from isthmus.edge.kube_client import KubeError
from isthmus.install.peer_link import HBONE_PORT, PeerValues, link_manifest, link_name
from isthmus.install.values import XDS_PORT, Manifest
from isthmus.kube.requests import NAMESPACES, Resource, Scope
from isthmus.model.managed import EAST_WEST_CLASS, REMOTE_CLASS, managed_class

GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways")
MANAGER = "isthmus-multicluster"

Json = Mapping[str, Any]


class NotReadyError(IsthmusError):
    """A cluster cannot be linked to, or not yet."""


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster as its control planes describe it. `pages` are what each of them answered, by pod."""

    place: Place
    cluster: str
    network: str
    trust_domain: str
    roots: str
    pages: Mapping[str, Json] = field(default_factory=dict)

    @property
    def context(self) -> str:
        """How the user calls it."""
        return self.place.context or self.cluster


async def sites(found: Sequence[Place]) -> list[Site]:
    """The clusters of these contexts. Raises UnreachableError for one whose control plane does not answer."""
    return list(await asyncio.gather(*(site(place) for place in found)))


async def reachable(found: Sequence[Place]) -> tuple[list[Site], list[UnreachableError]]:
    """The clusters that answer, and why the others do not."""
    answers = await asyncio.gather(*(_site_or_error(place) for place in found))
    away = [one for one in answers if isinstance(one, UnreachableError)]
    return [one for one in answers if isinstance(one, Site)], away


async def _site_or_error(place: Place) -> Site | UnreachableError:
    try:
        return await site(place)
    except UnreachableError as error:
        return error


async def site(place: Place) -> Site:
    """One cluster. Replicas say the same of it, but each has streams of its own. UnreachableError: none answers."""
    try:
        seen = await ask([place], "/debug/peers")
    except UnreachableError as error:
        message = f"{place.context}: {error.message}" if place.context else error.message
        raise UnreachableError(message, error.remedy) from error
    first = seen[0].body
    pages = {one.istiod: one.body for one in seen}
    return Site(place, first["cluster"], first["network"], first["trustDomain"], first["roots"], pages)


def distinct(found: Iterable[Site]) -> None:
    """Raises UsageError where two contexts are one cluster."""
    by_cluster: dict[str, Site] = {}
    for one in found:
        other = by_cluster.setdefault(one.cluster, one)
        if other is not one:
            raise UsageError(
                f"the contexts {other.context} and {one.context} are both cluster {one.cluster}",
                "Name each cluster once; clusters of one mesh need names of their own (CLUSTER_ID)",
            )


async def gateway(one: Site, namespace: str) -> Json | None:
    """The cluster's east-west gateway in a namespace: that of the cluster's own network first."""
    try:
        items = await one.place.client.list(GATEWAYS, Scope(namespace))
    except KubeError as error:
        if error.status != 404:
            raise
        raise NotReadyError(
            f"{one.context} does not know the Gateway API", "Install it: isthmus install --profile ambient does"
        ) from error
    mine = [item for item in items if managed_class(item["spec"].get("gatewayClassName", "")) == EAST_WEST_CLASS]
    return min(mine, key=lambda item: (_network(item) != one.network, item["metadata"]["name"]), default=None)


def _network(item: Json) -> str:
    return str((item["metadata"].get("labels") or {}).get(NETWORK_LABEL, ""))


def addresses(item: Json) -> tuple[str, ...]:
    """Where a Gateway is entered, as its status says."""
    found = (item.get("status") or {}).get("addresses") or item["spec"].get("addresses") or []
    return tuple(str(one["value"]) for one in found)


async def peer_values(one: Site, namespace: str) -> PeerValues:
    """The cluster as others are linked to it. Raises NotReadyError where it cannot be entered yet."""
    item = await gateway(one, namespace)
    if item is None:
        raise NotReadyError(
            f"{one.context} has no east-west gateway in namespace {namespace}",
            f"Make one first: isthmus multicluster expose --context {one.context} --namespace {namespace}",
        )
    found = addresses(item)
    if not found:
        raise NotReadyError(
            f"the gateway {namespace}/{item['metadata']['name']} of {one.context} has no address yet",
            f"Wait until it is programmed: kubectl --context {one.context} get gateway -n {namespace}",
        )
    labels, listeners = item["metadata"].get("labels") or {}, item["spec"].get("listeners") or []
    hbone = next((int(it["port"]) for it in listeners if it.get("protocol") == "HBONE"), HBONE_PORT)
    exposed = str(labels.get(EXPOSE_ISTIOD_LABEL, ""))
    named = next((int(it["port"]) for it in listeners if it.get("name") == "xds-tls"), XDS_PORT)
    return PeerValues(
        cluster=one.cluster,
        network=_network(item) or one.network,
        trust_domain=one.trust_domain,
        roots=one.roots,
        addresses=found,
        account=str(item["metadata"]["name"]),
        hbone_port=hbone,
        xds_port=int(exposed) if exposed.isdigit() else named,
    )


async def write_link(source: Site, manifest: Manifest) -> None:
    """Write a link into a cluster, and its namespace if there is none."""
    client, namespace = source.place.client, manifest["metadata"]["namespace"]
    if await client.find(NAMESPACES, "", namespace) is None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await client.create(NAMESPACES, body)
    await client.apply(GATEWAYS, manifest, manager=MANAGER)


async def let_in(source: Site, target: Site, namespace: str) -> bool:
    """Have the target believe the source's identities without asking anything of it; False if it is linked already."""
    if await is_linked(target, source.cluster, namespace):
        return False
    await only_let_in(source, target, namespace)
    return True


async def is_linked(one: Site, cluster: str, namespace: str) -> bool:
    """True if there is a link to that cluster, be it only to let it in."""
    return await one.place.client.find(GATEWAYS, namespace, link_name(cluster)) is not None


async def calls(one: Site, cluster: str, namespace: str) -> bool:
    """True if a link leads to that cluster: its control plane is asked, and not only let in."""
    item = await one.place.client.find(GATEWAYS, namespace, link_name(cluster))
    return item is not None and any(it.get("name") == "xds-tls" for it in item["spec"].get("listeners") or [])


async def only_let_in(source: Site, target: Site, namespace: str) -> None:
    """The same, in place of whatever link there is."""
    values = PeerValues(
        cluster=source.cluster,
        network=source.network,
        trust_domain=source.trust_domain,
        roots=source.roots,
        addresses=(),
        xds_port=0,
    )
    await write_link(target, link_manifest(values, namespace))


async def remove_link(source: Site, cluster: str, namespace: str) -> bool:
    """Remove the link to a cluster; False if there is none."""
    if not await is_linked(source, cluster, namespace):
        return False
    await source.place.client.delete(GATEWAYS, namespace, link_name(cluster))
    return True


async def links(one: Site) -> list[Json]:
    """The links that are written in a cluster, wherever."""
    items = await one.place.client.list(GATEWAYS)
    return [item for item in items if item["spec"].get("gatewayClassName") == REMOTE_CLASS]
