"""Files that a machine outside of Kubernetes joins the mesh with (VM9), and the WorkloadGroup they are made from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from isthmus.base.errors import UsageError
from isthmus.base.labels import NETWORK_LABEL
from isthmus.base.names import DEFAULT_DOMAIN
from isthmus.install.values import SYSTEM_NAMESPACE, XDS_PORT, Manifest

TOKEN_AUDIENCE = "istio-ca"
EXCLUDED_PORTS = (22, 15090, 15021, 15020)
"""Inbound ports that are not captured: who administers the machine must reach it without the mesh."""

SECRET_FILES = frozenset({"istio-token"})
"""Files that only their owner may read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineValues:
    """One machine's way into the mesh. `addresses`: where it reaches the control plane, in its file `hosts`.

    `capture`: inbound ports that go through the proxy, `*` for all.
    """

    cluster: str
    group: Manifest
    addresses: tuple[str, ...] = ()
    network: str = ""
    mesh_id: str = "mesh1"
    trust_domain: str = DEFAULT_DOMAIN
    domain: str = DEFAULT_DOMAIN
    namespace: str = SYSTEM_NAMESPACE
    revision: str = "default"
    auto_register: bool = True
    capture_dns: bool = True
    internal_ip: str = ""
    capture: str = "*"
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def control_plane(self) -> str:
        """The host name by which the machine knows the control plane."""
        suffix = f"-{self.revision}" if self.revision not in ("", "default") else ""
        return f"istiod{suffix}.{self.namespace}.svc"


@dataclass(frozen=True, slots=True)
class Group:
    """What a WorkloadGroup says that its machines must know."""

    name: str
    namespace: str
    service_account: str
    network: str
    labels: dict[str, str]
    probe: Manifest


def read_group(document: object) -> Group:
    """A WorkloadGroup manifest. Raises UsageError for what is none."""
    if not isinstance(document, dict) or document.get("kind") != "WorkloadGroup":
        raise UsageError("the file holds no WorkloadGroup", "Make one with `isthmus workload group create`")
    meta, spec = document.get("metadata"), document.get("spec")
    if not isinstance(meta, dict) or not meta.get("name") or not isinstance(spec, dict):
        raise UsageError("the WorkloadGroup lacks its name or spec", "See `isthmus workload group create --help`")
    template, given, probe = spec.get("template") or {}, spec.get("metadata") or {}, spec.get("probe") or {}
    if not all(isinstance(part, dict) for part in (template, given, probe)):
        raise UsageError("template, metadata or probe of the WorkloadGroup is no object", "Correct it")
    labels = {**(template.get("labels") or {}), **(given.get("labels") or {})}
    return Group(
        name=str(meta["name"]),
        namespace=str(meta.get("namespace") or "default"),
        service_account=str(template.get("serviceAccount") or "default"),
        network=str(template.get("network") or labels.get(NETWORK_LABEL, "")),
        labels={str(key): str(value) for key, value in labels.items()},
        probe=probe,
    )


def files(values: MachineValues, *, roots: str, token: str) -> dict[str, str]:
    """The files by name. `roots` PEM; `token` of the group's service account for audience `istio-ca`."""
    group = read_group(values.group)
    names = dict.fromkeys(values.addresses, values.control_plane)
    return {
        "cluster.env": "".join(f"{key}='{value}'\n" for key, value in sorted(environment(values, group).items())),
        "mesh.yaml": yaml.safe_dump(mesh_config(values, group), sort_keys=False),
        "root-cert.pem": roots,
        "istio-token": token,
        "hosts": "".join(f"{address} {name}\n" for address, name in names.items()),
    }


def environment(values: MachineValues, group: Group) -> dict[str, str]:
    """cluster.env: who the machine is, under the names that Istio's machines know."""
    network = values.network or group.network
    labels = dict(group.labels)
    if network:
        labels[NETWORK_LABEL] = network
    canonical = labels.get("service.istio.io/canonical-name") or labels.get("app") or group.name
    found = {
        "CANONICAL_SERVICE": canonical,
        "CANONICAL_REVISION": labels.get("service.istio.io/canonical-revision") or labels.get("version") or "latest",
        "ISTIO_INBOUND_PORTS": values.capture,
        "ISTIO_LOCAL_EXCLUDE_PORTS": ",".join(map(str, EXCLUDED_PORTS)),
        "ISTIO_METAJSON_LABELS": json.dumps(labels, sort_keys=True, separators=(",", ":")),
        "ISTIO_META_CLUSTER_ID": values.cluster,
        "ISTIO_META_DNS_CAPTURE": "true" if values.capture_dns else "false",
        "ISTIO_META_MESH_ID": values.mesh_id,
        "ISTIO_META_NETWORK": network,
        "ISTIO_META_WORKLOAD_NAME": group.name,
        "ISTIO_NAMESPACE": group.namespace,
        "ISTIO_SERVICE": f"{group.name}.{group.namespace}",
        "ISTIO_SERVICE_CIDR": "*",
        "POD_NAMESPACE": group.namespace,
        "SERVICE_ACCOUNT": group.service_account,
        "TRUST_DOMAIN": values.trust_domain,
        **({"ISTIO_META_AUTO_REGISTER_GROUP": group.name} if values.auto_register else {}),
        **({"ISTIO_SVC_IP": values.internal_ip} if values.internal_ip else {}),
        **values.extra,
    }
    for name, value in found.items():
        if "'" in value or "\n" in value:
            raise UsageError(f"{name} would be {value!r}, which an environment file cannot hold", "Change the group")
    return found


def mesh_config(values: MachineValues, group: Group) -> Manifest:
    """mesh.yaml: where the control plane is, and the group's probe."""
    config: Manifest = {
        "discoveryAddress": f"{values.control_plane}:{XDS_PORT}",
        "meshId": values.mesh_id,
        "proxyMetadata": {"CLUSTER_DOMAIN": values.domain},
    }
    if group.probe:
        config["readinessProbe"] = group.probe
    return {"defaultConfig": config}


def workload_group(  # noqa: PLR0913 - the fields of the object
    name: str,
    namespace: str,
    *,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    ports: Mapping[str, int],
    service_account: str,
    network: str = "",
    locality: str = "",
    weight: int = 0,
) -> Manifest:
    """A WorkloadGroup."""
    template: dict[str, Any] = {
        **({"ports": dict(ports)} if ports else {}),
        "serviceAccount": service_account,
        **({"network": network} if network else {}),
        **({"locality": locality} if locality else {}),
        **({"weight": weight} if weight else {}),
    }
    given = {key: dict(value) for key, value in (("labels", labels), ("annotations", annotations)) if value}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**({"metadata": given} if given else {}), "template": template},
    }


def token_request(seconds: int) -> Manifest:
    """The body of a TokenRequest for a machine's first connection."""
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [TOKEN_AUDIENCE], "expirationSeconds": seconds},
    }


def service_addresses(service: Mapping[str, Any]) -> Sequence[str]:
    """Where a Service is reached from outside of its cluster: its load balancer's addresses, its external IPs."""
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    found = [str(one.get("ip") or "") for one in balancer.get("ingress") or ()]
    return [address for address in (*found, *((service.get("spec") or {}).get("externalIPs") or ())) if address]
