"""All kinds of rows that enter the graph from outside: checkpoints keep them, whatever module defines them."""

from isthmus.model.external import ServiceEntry, WorkloadEntry, WorkloadGroup
from isthmus.model.liveness import ClusterStanding, LivenessPolicy, MeshCluster
from isthmus.model.managed import ManagedGateway
from isthmus.model.mesh_config import MeshConfig, MeshNetworks
from isthmus.model.networks import ApiGateway, ResolvedName
from isthmus.model.peering import PeerBundle, PeerEntrances, PeerLink, PeerService
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.routing import Sidecar, VirtualService
from isthmus.model.rows import (
    Cluster,
    DestinationRule,
    EndpointSlice,
    Gateway,
    Namespace,
    Node,
    PeerAuthentication,
    Proxy,
    Row,
    Service,
    Workload,
)

OBSERVED: tuple[type[Row], ...] = (
    Cluster,
    Namespace,
    Node,
    Service,
    EndpointSlice,
    Workload,
    Gateway,
    PeerAuthentication,
    AuthorizationPolicy,
    DestinationRule,
    MeshCluster,
    LivenessPolicy,
    ClusterStanding,
    ServiceEntry,
    WorkloadEntry,
    VirtualService,
    WorkloadGroup,
    Sidecar,
    Proxy,
    MeshConfig,
    MeshNetworks,
    ApiGateway,
    ManagedGateway,
    ResolvedName,
    PeerLink,
    PeerService,
    PeerBundle,
    PeerEntrances,
)
"""Every kind of row that enters the graph from outside."""
