"""What is installed into each cluster of a lab by its role in the mesh: values for the manifests of `isthmus install`.

Pure. Where a control plane is reached from other clusters is an argument, `Addresses`: known only once it runs.
"""

from collections.abc import Mapping
from typing import Any

from isthmus.install import access
from isthmus.install.eastwest import cross_network_gateway
from isthmus.install.istiod import common_labels, namespace, own_rights
from isthmus.install.manifests import control_plane, definitions, east_west_gateway, node_proxy, remote
from isthmus.install.node import NodeValues
from isthmus.install.values import (
    SYSTEM_NAMESPACE,
    XDS_PORT,
    ControlPlaneValues,
    GatewayValues,
    MeshValues,
    RemoteControlPlane,
    RemoteValues,
    Scaling,
)
from isthmus_lab.kubelet.sandbox import WAN_ANNOTATION
from isthmus_lab.world import Cluster, ControlPlane, DataPlane, World

Object = dict[str, Any]
Addresses = Mapping[str, tuple[str, ...]]
"""Control plane -> its addresses on the WAN."""

GATEWAY_SERVICE = "istio-eastwestgateway"
_ON_THE_WAN = {WAN_ANNOTATION: "true"}


def mesh_objects(world: World, name: str, addresses: Addresses) -> list[Object]:
    """Everything of the mesh in one cluster; what runs here first."""
    return [*objects_here(world, name), *objects_afar(world, name, addresses)]


def objects_here(world: World, name: str) -> list[Object]:
    """What needs nobody else: the control plane that runs here, and the gateway if that control plane serves it."""
    plane = world.plane_in(name)
    if plane is None:
        return []
    cluster = world.cluster(name)
    # An external control plane bears the names of its config cluster: it is that cluster's, run elsewhere.
    mesh = _mesh(world, world.cluster(plane.config))
    afar = bool(world.served_from_afar(plane.name))
    direct = afar and not cluster.gateway
    values = ControlPlaneValues(
        mesh=mesh,
        name=plane.name if afar else "",
        config_cluster=plane.config if plane.external else "",
        service_type="LoadBalancer" if direct else "ClusterIP",
        pod_annotations=_ON_THE_WAN if direct else {},
        scaling=Scaling(replicas=plane.replicas),
        gateway_api_crds=world.has_ambient,
    )
    joins = any(machine.cluster == name for machine in world.machines)
    control = (afar and not direct) or joins
    if not world.serves_itself(name):
        return control_plane(values)
    return [*control_plane(values), *_gateway(world, cluster, control=control), *on_nodes(world, name)]


def on_nodes(world: World, name: str) -> list[Object]:
    """The proxies of a cluster's nodes, where its pods have no sidecars."""
    cluster = world.cluster(name)
    if not cluster.sources or cluster.data_plane is not DataPlane.AMBIENT:
        return []
    return node_proxy(NodeValues(mesh=_mesh(world, cluster)))


def objects_afar(world: World, name: str, addresses: Addresses) -> list[Object]:
    """What names control planes in other clusters by their addresses; with it the gateway, if only they serve it."""
    planes = world.afar(name)
    if not planes:
        return []
    cluster = world.cluster(name)
    found = [_reached(plane, addresses, injects=plane.name == cluster.sources[0]) for plane in planes]
    if world.serves_itself(name):
        # The control plane here is installed already; the others are Services beside it.
        values = ControlPlaneValues(mesh=_mesh(world, cluster), others=tuple(found), crds=False)
        without = {_key(item) for item in control_plane(ControlPlaneValues(mesh=values.mesh, crds=False))}
        return [item for item in control_plane(values) if _key(item) not in without]
    config = any(plane.config == name for plane in planes)
    made = remote(RemoteValues(mesh=_mesh(world, cluster), control_planes=tuple(found), config=config))
    return [*made, *_gateway(world, cluster, control=False), *on_nodes(world, name)]


def accounts(world: World, name: str) -> list[Object]:
    """What a config cluster needs before its external control plane can start: definitions, account, rights."""
    mesh = _mesh(world, world.cluster(name))
    labels = common_labels(mesh)
    account = access.service_account("istiod", mesh.namespace, labels)
    return [*definitions(gateway_api=False), namespace(mesh), account, *own_rights(mesh, labels)]


def exposing_service(world: World, plane: ControlPlane) -> str:
    """The Service whose WAN addresses lead other clusters to a control plane."""
    return GATEWAY_SERVICE if world.cluster(plane.cluster).gateway else "istiod"


def is_address(item: Object) -> bool:
    """True for what holds addresses of control planes elsewhere: it follows them, whatever else stays as it is."""
    return str(item["kind"]) == "EndpointSlice"


def slices_of(world: World, name: str, plane: str, addresses: tuple[str, ...]) -> list[Object]:
    """What tells one cluster where one control plane elsewhere is now."""
    every = objects_afar(world, name, {p.name: addresses for p in world.afar(name)})
    service = _service(world, world.cluster(name), plane)
    found = [item for item in every if is_address(item)]
    return [item for item in found if item["metadata"]["labels"]["kubernetes.io/service-name"] == service]


def _mesh(world: World, cluster: Cluster) -> MeshValues:
    return MeshValues(
        cluster=cluster.name,
        network=cluster.mesh_network,
        mesh_id=world.mesh_id,
        trust_domain=cluster.trust_domain,
        discovery=_discovery(world, cluster),
        hbone=world.has_ambient,
    )


def _service(world: World, cluster: Cluster, plane: str) -> str:
    """Service istiod is the control plane that runs in a cluster, or else the first; others are istiod-<name>."""
    here = world.plane_in(cluster.name) if world.serves_itself(cluster.name) else None
    first = here.name if here else cluster.sources[0]
    return "istiod" if plane == first else f"istiod-{plane}"


def _discovery(world: World, cluster: Cluster) -> tuple[str, ...]:
    """The names of its control planes, best first; nothing where the Service istiod is the only one."""
    names = [_service(world, cluster, source) for source in cluster.sources]
    return () if names in ([], ["istiod"]) else tuple(f"{n}.{SYSTEM_NAMESPACE}.svc:{XDS_PORT}" for n in names)


def _reached(plane: ControlPlane, addresses: Addresses, *, injects: bool) -> RemoteControlPlane:
    return RemoteControlPlane(
        name=plane.name, addresses=tuple(addresses[plane.name]), cluster=plane.config, injects=injects
    )


def _gateway(world: World, cluster: Cluster, *, control: bool) -> list[Object]:
    """The east-west gateway. What it lets in is configuration, which only config clusters hold."""
    holds = any(plane.config == cluster.name for plane in world.control_planes)
    mesh = _mesh(world, cluster)
    if not cluster.gateway:
        served = any(c.gateway and s.config == cluster.name for c in world.clusters for s in world.sources_of(c.name))
        return [cross_network_gateway(GatewayValues(mesh=mesh))] if holds and served else []
    values = GatewayValues(
        mesh=mesh,
        scaling=Scaling(replicas=cluster.gateway_pods),
        pod_annotations=_ON_THE_WAN,
        expose=holds,
        expose_control_plane=control,
        hosts=cluster.exposes,
        global_names=world.global_names,
    )
    return east_west_gateway(values)


def _key(item: Object) -> tuple[str, str]:
    return str(item["kind"]), str(item["metadata"]["name"])
