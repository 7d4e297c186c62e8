"""What an operator does to make an example one mesh, on paper: expose, link, share a service, add a waypoint."""

import json

from isthmus.base.labels import SERVICE_SCOPE_LABEL, TRAFFIC_DISTRIBUTION_ANNOTATION, USE_WAYPOINT_LABEL
from isthmus.ingest.kinds import KINDS, observer
from isthmus.ingest.place import Place
from isthmus.install.expose import exposing_gateway, gateway_namespace
from isthmus.install.managed_gateway import managed_gateway
from isthmus.install.peer_link import PeerValues, link_manifest
from isthmus.install.waypoint import DEFAULT_NAME, waypoint
from isthmus.model.managed import ManagedGateway
from isthmus.trust.issue import make_root
from isthmus.trust.pem import new_key
from isthmus_lab.controllers import client as kinds
from tests.lab_pkg.controllers.world import Json, merged
from tests.models.paper import Paper, PaperCluster

SPACE = "istio-gateways"
_GATEWAYS = next(kind for kind in KINDS if kind.name == "KubernetesGateway")
_NOW = 1_700_000_000.0


def linked(paper: Paper) -> None:
    """Every cluster can be entered, and is linked to every other one."""
    for name in paper.clusters:
        network = paper.world.cluster(name).mesh_network
        paper.clusters[name].apply([gateway_namespace(SPACE)])
        _run(paper, name, exposing_gateway(network, SPACE))
    peers = [_values(paper, name) for name in paper.clusters]
    for name, cluster in paper.clusters.items():
        cluster.apply([link_manifest(peer, SPACE) for peer in peers if peer.cluster != name])


def shared(paper: Paper, host: str, distribution: str = "") -> None:
    """A service (`<name>.<namespace>…`) is global wherever it is."""
    name, namespace, *_ = host.split(".")
    said = {SERVICE_SCOPE_LABEL: "global"}
    notes = {TRAFFIC_DISTRIBUTION_ANNOTATION: distribution} if distribution else {}
    for cluster in paper.clusters.values():
        meta = {"metadata": {"labels": said, "annotations": notes}}
        _relabel(cluster, namespace, name, meta)


def through_waypoint(paper: Paper, namespace: str) -> None:
    """The services of a namespace go through a waypoint of their own cluster, wherever callers are."""
    for name, cluster in paper.clusters.items():
        _run(paper, name, waypoint(DEFAULT_NAME, namespace))
        _relabel(cluster, namespace, DEFAULT_NAME, {"metadata": {"labels": {SERVICE_SCOPE_LABEL: "global"}}})
        for space in cluster.objects("Namespace"):
            if space["metadata"]["name"] == namespace:
                space["metadata"]["labels"][USE_WAYPOINT_LABEL] = DEFAULT_NAME


def _run(paper: Paper, name: str, manifest: Json) -> None:
    """A Gateway, and what the control plane runs for it, until it serves."""
    cluster = paper.clusters[name]
    manifest = merged(manifest, {"metadata": {"uid": f"gateway-{manifest['metadata']['name']}"}})
    rows = observer(_GATEWAYS, Place(name))(json.dumps(manifest).encode()).rows or ()
    (row,) = (one for one in rows if isinstance(one, ManagedGateway))
    cluster.apply(managed_gateway(row, paper.values(name)))
    address = {"status": {"addresses": [{"value": one} for one in _entered(cluster, row.namespace, row.name)]}}
    cluster.apply([merged(manifest, address)])


def _entered(cluster: PaperCluster, namespace: str, name: str) -> list[str]:
    service = _service(cluster, namespace, name)
    ingress = (service["status"].get("loadBalancer") or {}).get("ingress") or []
    return [one["ip"] for one in ingress] or [service["spec"]["clusterIP"]]


def _values(paper: Paper, name: str) -> PeerValues:
    about = paper.world.cluster(name)
    return PeerValues(
        cluster=name,
        network=about.mesh_network,
        trust_domain=about.trust_domain,
        roots=make_root(new_key(), now=_NOW, serial=1).certificate.decode(),
        addresses=tuple(_entered(paper.clusters[name], SPACE, "istio-eastwest")),
    )


def _service(cluster: PaperCluster, namespace: str, name: str) -> Json:
    for one in cluster.objects("Service"):
        if (one["metadata"]["namespace"], one["metadata"]["name"]) == (namespace, name):
            return one
    raise AssertionError(f"no Service {namespace}/{name}")


def _relabel(cluster: PaperCluster, namespace: str, name: str, patch: Json) -> None:
    cluster.put(kinds.SERVICE, merged(_service(cluster, namespace, name), patch))
    cluster.settle()
