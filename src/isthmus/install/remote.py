"""A cluster that control planes elsewhere serve: accounts, where they are reached, and the webhook (PR1, PR2)."""

from ipaddress import ip_address

from isthmus.base.errors import UsageError
from isthmus.install import access, webhook
from isthmus.install.istiod import common_labels, mesh_config, namespace, own_rights
from isthmus.install.values import (
    CONTROL_PLANE_CLUSTERS,
    WEBHOOK_PORT,
    XDS_PORT,
    Manifest,
    MeshValues,
    RemoteControlPlane,
    RemoteValues,
)

PORTS = {"https-dns": (XDS_PORT, XDS_PORT), "https-webhook": (443, WEBHOOK_PORT)}
"""Ports of the Service istiod of a remote cluster, with those at the control plane's own addresses.

They are named as in a primary, because the Service is the same in all clusters (AG1); Istio's are tcp-istiod, webhook.
"""

OWNER = "isthmus-install"
"""Who keeps the EndpointSlices, so that no controller takes them for its own."""


def remote_cluster(values: RemoteValues) -> list[Manifest]:
    """Everything but the custom resources' definitions. Raises UsageError for addresses that cannot be used."""
    mesh = values.mesh
    if not values.control_planes:
        raise UsageError("a remote cluster needs a control plane", "Say where one answers, by address or host name")
    labels = common_labels(mesh)
    system = namespace(mesh)
    writers = [plane.cluster or plane.name for plane in values.control_planes if plane.injects]
    extra: list[Manifest] = []
    if writers:
        system["metadata"]["annotations"] = {CONTROL_PLANE_CLUSTERS: ",".join(writers)}
        extra = [*access.ROOT_RULES, *access.GATEWAY_RULES, *access.webhook_rules(webhook.NAME)]
    return [
        system,
        *access.reader(mesh.namespace, labels, extra),
        *(
            [access.service_account("istiod", mesh.namespace, labels), *own_rights(mesh, labels)]
            if values.config
            else ()
        ),
        mesh_config(mesh, labels),
        *_reached(mesh, values.control_planes, labels),
        webhook.configuration(mesh, labels, client=_webhook_client(values)),
    ]


def _reached(mesh: MeshValues, planes: tuple[RemoteControlPlane, ...], labels: dict[str, str]) -> list[Manifest]:
    """The first control plane is the Service `istiod`, others are `istiod-<name>`."""
    made: list[Manifest] = []
    for index, plane in enumerate(planes):
        made += elsewhere(mesh, plane, "istiod" if index == 0 else f"istiod-{plane.name}", labels)
    return made


def elsewhere(mesh: MeshValues, plane: RemoteControlPlane, name: str, labels: dict[str, str]) -> list[Manifest]:
    """A Service without selector and its EndpointSlice for IP addresses, an ExternalName for a host name (PR1).

    It has a ClusterIP (Istio: none), because an API server finds its webhook by that.
    """
    metadata = {"name": name, "namespace": mesh.namespace, "labels": labels}
    if not plane.addresses:
        raise UsageError(f"control plane {plane.name} has no address", "Give the address of its gateway or Service")
    if not all(map(_is_ip, plane.addresses)):
        if len(plane.addresses) > 1:
            raise UsageError(
                f"control plane {plane.name} has several addresses, not all of them IP addresses",
                "Give IP addresses, or one host name",
            )
        ports = [{"name": key, "port": port, "protocol": "TCP"} for key, (port, _) in PORTS.items()]
        spec = {"type": "ExternalName", "externalName": plane.addresses[0], "ports": ports}
        return [{"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}]
    ports = [
        {"name": key, "port": port, "protocol": "TCP", "targetPort": target} for key, (port, target) in PORTS.items()
    ]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}
    return [service, *(_slice(metadata, plane, version) for version in _versions(plane))]


def _slice(service: Manifest, plane: RemoteControlPlane, version: int) -> Manifest:
    """The addresses of one IP version: a slice holds no other."""
    name = str(service["name"])
    labels = {**service["labels"], "kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": OWNER}
    metadata = {"name": f"{name}-ipv{version}", "namespace": service["namespace"], "labels": labels}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": f"IPv{version}",
        "ports": [{"name": key, "port": target, "protocol": "TCP"} for key, (_, target) in PORTS.items()],
        "endpoints": [{"addresses": [it]} for it in plane.addresses if ip_address(it).version == version],
    }


def _versions(plane: RemoteControlPlane) -> list[int]:
    return sorted({ip_address(address).version for address in plane.addresses})


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _webhook_client(values: RemoteValues) -> Manifest:
    """The cluster's own Service, or the URL of whoever injects; both with what the pods' proxies must be told."""
    said = webhook.parameters(values.mesh)
    if not values.injection_url:
        return webhook.in_cluster(values.mesh, f"/inject{said}")
    return {"url": f"{values.injection_url.rstrip('/')}{said}"}
