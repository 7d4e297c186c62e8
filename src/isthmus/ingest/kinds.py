"""The registry: every kind that the control plane watches. A further kind is one entry here and one function."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from isthmus.base.errors import ObjectRef, Problem
from isthmus.ingest.api_gateway import api_gateway
from isthmus.ingest.authorization_policy import authorization_policy, closed
from isthmus.ingest.core import namespace, node
from isthmus.ingest.decode import shape_decoder
from isthmus.ingest.destination_rule import destination_rule
from isthmus.ingest.external import service_entry, workload_entry, workload_group
from isthmus.ingest.finding import Result, refused
from isthmus.ingest.gateway import gateway
from isthmus.ingest.managed_gateway import managed_gateway
from isthmus.ingest.mesh_cluster import liveness_policy, mesh_cluster
from isthmus.ingest.mesh_config import CONFIG_MAP, mesh_config
from isthmus.ingest.mesh_route import mesh_grpc_route, mesh_route
from isthmus.ingest.peer_authentication import peer_authentication, strict
from isthmus.ingest.peer_link import peer_link
from isthmus.ingest.place import Place
from isthmus.ingest.service import endpoint_slice, service
from isthmus.ingest.sidecar import sidecar
from isthmus.ingest.virtual_service import virtual_service
from isthmus.ingest.workload import workload
from isthmus.kube import objects, requests
from isthmus.kube.objects import KubeObject
from isthmus.kube.requests import Resource, Scope
from isthmus.model import external, liveness, routing, rows
from isthmus.model.managed import ManagedGateway
from isthmus.model.mesh_config import MeshConfig, MeshNetworks
from isthmus.model.networks import ApiGateway
from isthmus.model.peering import PeerLink
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.rows import Row

O = TypeVar("O", bound=KubeObject)  # noqa: E741 - an object
ObjectKey = tuple[str, str]
"""(namespace, name)."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one object says. `rows` None means refused: what was accepted before stays in force (fail static)."""

    where: ObjectRef
    rows: tuple[Row, ...] | None
    problems: tuple[Problem, ...] = ()

    @property
    def key(self) -> ObjectKey:
        """Names the object within its kind and cluster."""
        return (self.where.namespace, self.where.name)


@dataclass(frozen=True, slots=True)
class Kind(Generic[O]):
    """One kind: where it is served, the shape it is decoded to, the function that reads it, the rows it yields.

    `config_only`: read only from the config cluster (RS10). `optional`: a reader's account may lack the right to it.
    `closed`: rows in force while an object is refused, for policies that must fail closed; given those before.
    """

    name: str
    resource: Resource
    shape: type[O]
    read: Callable[[Place, O], Result]
    rows: tuple[type[Row], ...]
    config_only: bool = False
    optional: bool = False
    scope: Callable[[Place], Scope] = lambda _: Scope()
    closed: Callable[[ObjectRef, Sequence[Row]], tuple[Row, ...]] | None = None


def _istio(group: str, version: str, plural: str) -> Resource:
    return Resource(f"{group}.istio.io", version, plural)


def _isthmus(plural: str) -> Resource:
    return Resource("isthmus.dev", "v1alpha1", plural)


def _each(*readers: Callable[[Place, O], Result]) -> Callable[[Place, O], Result]:
    """Reads an object that means several things: what one reader refuses takes nothing from the others."""

    def read(place: Place, obj: O) -> Result:
        found = [reader(place, obj) for reader in readers]
        problems = dict.fromkeys(problem for _, told in found for problem in told)
        return [row for rows, _ in found for row in rows], list(problems)

    return read


def _system_scope(place: Place) -> Scope:
    return Scope(namespace=place.system_namespace)


def _mesh_config_scope(place: Place) -> Scope:
    return Scope(namespace=place.system_namespace, field_selector=f"metadata.name={CONFIG_MAP}")


KINDS: tuple[Kind[Any], ...] = (
    Kind("ConfigMap", requests.CONFIG_MAPS, objects.ConfigMap, mesh_config, (rows.Cluster, MeshConfig, MeshNetworks),
         optional=True, scope=_mesh_config_scope),
    Kind("Namespace", requests.NAMESPACES, objects.Namespace, namespace, (rows.Namespace,)),
    Kind("Node", requests.NODES, objects.Node, node, (rows.Node,), optional=True),
    Kind("Service", requests.SERVICES, objects.Service, service, (rows.Service,)),
    Kind("EndpointSlice", requests.ENDPOINT_SLICES, objects.EndpointSlice, endpoint_slice, (rows.EndpointSlice,)),
    Kind("Pod", requests.PODS, objects.Pod, workload, (rows.Workload,)),
    Kind("Gateway", _istio("networking", "v1", "gateways"), objects.Custom, gateway, (rows.Gateway,),
         config_only=True),
    Kind("KubernetesGateway", Resource("gateway.networking.k8s.io", "v1", "gateways"), objects.Custom,
         _each(api_gateway, managed_gateway, peer_link), (ApiGateway, ManagedGateway, PeerLink), optional=True),
    Kind("DestinationRule", _istio("networking", "v1", "destinationrules"), objects.Custom, destination_rule,
         (rows.DestinationRule,), config_only=True),
    Kind("ServiceEntry", _istio("networking", "v1", "serviceentries"), objects.Custom, service_entry,
         (external.ServiceEntry,), config_only=True),
    Kind("WorkloadEntry", _istio("networking", "v1", "workloadentries"), objects.Custom, workload_entry,
         (external.WorkloadEntry,), optional=True),
    Kind("VirtualService", _istio("networking", "v1", "virtualservices"), objects.Custom, virtual_service,
         (routing.VirtualService,), config_only=True),
    Kind("HTTPRoute", Resource("gateway.networking.k8s.io", "v1", "httproutes"), objects.Custom, mesh_route,
         (routing.VirtualService,), config_only=True, optional=True),
    Kind("GRPCRoute", Resource("gateway.networking.k8s.io", "v1", "grpcroutes"), objects.Custom, mesh_grpc_route,
         (routing.VirtualService,), config_only=True, optional=True),
    Kind("WorkloadGroup", _istio("networking", "v1", "workloadgroups"), objects.Custom, workload_group,
         (external.WorkloadGroup,), config_only=True),
    Kind("Sidecar", _istio("networking", "v1", "sidecars"), objects.Custom, sidecar, (routing.Sidecar,),
         config_only=True),
    Kind("PeerAuthentication", _istio("security", "v1", "peerauthentications"), objects.Custom, peer_authentication,
         (rows.PeerAuthentication,), config_only=True, closed=strict),
    Kind("MeshCluster", _isthmus("meshclusters"), objects.Custom, mesh_cluster, (liveness.MeshCluster,),
         config_only=True, scope=_system_scope),
    Kind("LivenessPolicy", _isthmus("livenesspolicies"), objects.Custom, liveness_policy, (liveness.LivenessPolicy,),
         config_only=True, scope=_system_scope),
    Kind("AuthorizationPolicy", _istio("security", "v1", "authorizationpolicies"), objects.Custom,
         authorization_policy, (AuthorizationPolicy,), config_only=True, closed=closed),
)  # fmt: skip
"""In the order in which rows are shown; all kinds of a cluster are watched at once."""


_REPORT = "Report it with the object; what was in force before stays"


def kinds_of(*, config: bool) -> tuple[Kind[Any], ...]:
    """The kinds to watch in the config cluster, or in another one."""
    return tuple(kind for kind in KINDS if config or not kind.config_only)


def observer(kind: Kind[O], place: Place) -> Callable[[bytes | msgspec.Raw], Observation]:
    """A function from an object's bytes to what it says. It never raises: broken bytes are an observation too."""
    decode = shape_decoder(kind.name, kind.shape, place.cluster)
    read, cluster, name = kind.read, place.cluster, kind.name

    def observe(raw: bytes | msgspec.Raw) -> Observation:
        obj = decode(raw)
        if isinstance(obj, Problem):
            return Observation(obj.where, None, (obj,))
        where = ObjectRef(cluster, name, obj.metadata.namespace, obj.metadata.name)
        try:
            found, problems = read(place, obj)
        except Exception as error:
            # A defect of ours must not take the whole kind down with one object.
            return Observation(where, None, (Problem(where, "(object)", f"internal error: {error!r}", _REPORT),))
        return Observation(where, None if not found and refused(problems) else tuple(found), tuple(problems))

    return observe
