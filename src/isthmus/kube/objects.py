"""Typed partial objects: of each kind only the fields that the mesh uses, so that decoding skips the rest.

Field types are as strict as the Kubernetes API: a wrong type is found while decoding and names the field.
Fields that a Go API server writes as `null` accept it.
"""

from typing import Any

import msgspec


class Part(msgspec.Struct, gc=False, rename="camel"):
    """Base of everything that is decoded from an object."""


class OwnerReference(Part):
    """Who made an object."""

    kind: str = ""
    name: str = ""
    controller: bool | None = None


class Metadata(Part):
    """What all objects carry."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class KubeObject(Part):
    """Any object, known only by its metadata."""

    metadata: Metadata


class Namespace(KubeObject):
    """core/v1 Namespace."""


class NodeAddress(Part):
    """One address of a node: type InternalIP, ExternalIP, Hostname, …"""

    type: str = ""
    address: str = ""


class NodeStatus(Part):
    """The addresses of a node."""

    addresses: list[NodeAddress] | None = None


class Node(KubeObject):
    """core/v1 Node."""

    status: NodeStatus | None = None


class ServicePort(Part):
    """One port of a Service."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    target_port: int | str | None = None
    node_port: int = 0


class ServiceSpec(Part):
    """What a Service wants."""

    type: str = "ClusterIP"
    ports: list[ServicePort] | None = None
    selector: dict[str, str] | None = None
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: list[str] | None = msgspec.field(name="clusterIPs", default=None)
    external_ips: list[str] | None = msgspec.field(name="externalIPs", default=None)
    external_name: str = ""
    publish_not_ready_addresses: bool = False
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None


class Ingress(Part):
    """One address of a load balancer."""

    ip: str = ""
    hostname: str = ""


class LoadBalancer(Part):
    """What a load balancer answers on."""

    ingress: list[Ingress] | None = None


class ServiceStatus(Part):
    """What a Service got."""

    load_balancer: LoadBalancer | None = None


class Service(KubeObject):
    """core/v1 Service."""

    spec: ServiceSpec | None = None
    status: ServiceStatus | None = None


class EndpointConditions(Part):
    """Readiness of an endpoint; None means as if ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(Part):
    """What an endpoint stands for."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class Endpoint(Part):
    """One endpoint of a slice."""

    addresses: list[str]
    conditions: EndpointConditions | None = None
    hostname: str | None = None
    target_ref: TargetRef | None = None
    node_name: str | None = None
    zone: str | None = None


class EndpointPort(Part):
    """One port of a slice; a missing number means all ports."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None
    app_protocol: str | None = None


class EndpointSlice(KubeObject):
    """discovery.k8s.io/v1 EndpointSlice."""

    address_type: str = "IPv4"
    endpoints: list[Endpoint] | None = None
    ports: list[EndpointPort] | None = None


class ContainerPort(Part):
    """A port that a container says it listens on."""

    container_port: int
    name: str = ""
    protocol: str = "TCP"


class Container(Part):
    """A container of a pod."""

    name: str = ""
    ports: list[ContainerPort] | None = None


class PodSpec(Part):
    """What a Pod runs and where."""

    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    service_account_name: str = ""
    node_name: str = ""
    hostname: str = ""
    subdomain: str = ""
    host_network: bool | None = None


class PodIP(Part):
    """One address of a pod."""

    ip: str = ""


class Condition(Part):
    """One condition of a status."""

    type: str = ""
    status: str = ""


class PodStatus(Part):
    """How a Pod is."""

    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: list[PodIP] | None = msgspec.field(name="podIPs", default=None)
    conditions: list[Condition] | None = None


class Pod(KubeObject):
    """core/v1 Pod."""

    spec: PodSpec | None = None
    status: PodStatus | None = None


class ConfigMap(KubeObject):
    """core/v1 ConfigMap."""

    data: dict[str, str] | None = None


class Secret(KubeObject):
    """core/v1 Secret; values are base64."""

    type: str = ""
    data: dict[str, str] | None = None


class Custom(KubeObject):
    """A custom resource whose `spec` and `status` are read field by field, so that each wrong field is named."""

    spec: Any = None
    status: Any = None
