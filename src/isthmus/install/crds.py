"""The CustomResourceDefinitions of an installation, with the names, versions and columns that users know."""

from collections.abc import Callable
from dataclasses import dataclass, field

from isthmus.install import gateway_api, isthmus_kinds, istio_kinds
from isthmus.install.schema import STATUS
from isthmus.install.values import Manifest

_AGE = ("Age", "date", ".metadata.creationTimestamp")
Column = tuple[str, str, str]
"""(header, type, JSONPath)."""


@dataclass(frozen=True, slots=True)
class _Definition:
    """One kind. The first version is the one that is stored; all have the same schema."""

    group: str
    kind: str
    plural: str
    spec: Callable[[], Manifest]
    short: tuple[str, ...] = ()
    versions: tuple[str, ...] = ("v1", "v1beta1", "v1alpha3")
    columns: tuple[Column, ...] = (_AGE,)
    namespaced: bool = True
    annotations: dict[str, str] = field(default_factory=dict)


_NETWORKING = "networking.istio.io"
_SECURITY = "security.istio.io"
_OWN = "isthmus.dev"
_GATEWAY_API = "gateway.networking.k8s.io"
_SECURITY_VERSIONS = ("v1", "v1beta1")

_ISTIO = (
    _Definition(_NETWORKING, "Gateway", "gateways", istio_kinds.gateway, ("gw",)),
    _Definition(_NETWORKING, "VirtualService", "virtualservices", istio_kinds.virtual_service, ("vs",), columns=(
        ("Gateways", "string", ".spec.gateways"), ("Hosts", "string", ".spec.hosts"), _AGE)),
    _Definition(_NETWORKING, "DestinationRule", "destinationrules", istio_kinds.destination_rule, ("dr",), columns=(
        ("Host", "string", ".spec.host"), _AGE)),
    _Definition(_NETWORKING, "ServiceEntry", "serviceentries", istio_kinds.service_entry, ("se",), columns=(
        ("Hosts", "string", ".spec.hosts"), ("Location", "string", ".spec.location"),
        ("Resolution", "string", ".spec.resolution"), _AGE)),
    _Definition(_NETWORKING, "WorkloadEntry", "workloadentries", istio_kinds.workload_entry, ("we",), columns=(
        _AGE, ("Address", "string", ".spec.address"))),
    _Definition(_NETWORKING, "WorkloadGroup", "workloadgroups", istio_kinds.workload_group, ("wg",)),
    _Definition(_NETWORKING, "Sidecar", "sidecars", istio_kinds.sidecar),
    _Definition(_SECURITY, "PeerAuthentication", "peerauthentications", istio_kinds.peer_authentication, ("pa",),
                _SECURITY_VERSIONS, (("Mode", "string", ".spec.mtls.mode"), _AGE)),
    _Definition(_SECURITY, "AuthorizationPolicy", "authorizationpolicies", istio_kinds.authorization_policy, ("ap",),
                _SECURITY_VERSIONS, (("Action", "string", ".spec.action"), _AGE)),
    _Definition(_SECURITY, "RequestAuthentication", "requestauthentications", istio_kinds.request_authentication,
                ("ra",), _SECURITY_VERSIONS),
)  # fmt: skip

_ISTHMUS = (
    _Definition(_OWN, "MeshCluster", "meshclusters", isthmus_kinds.mesh_cluster, ("mc",), ("v1alpha1",), columns=(
        ("State", "string", ".spec.state"), ("Required", "boolean", ".spec.required"), _AGE)),
    _Definition(_OWN, "LivenessPolicy", "livenesspolicies", isthmus_kinds.liveness_policy, (), ("v1alpha1",)),
)  # fmt: skip
"""What exists nowhere else."""

READ = frozenset(
    {
        "AuthorizationPolicy",
        "DestinationRule",
        "Gateway",
        "PeerAuthentication",
        "ServiceEntry",
        "WorkloadEntry",
        "Sidecar",
        "VirtualService",
        "WorkloadGroup",
    }
)
"""The kinds of Istio that have an effect. Who applies another is warned: a policy must not seem to close anything."""

_HOSTS = ("Hostnames", "string", ".spec.hostnames")
_GATEWAY = (
    _Definition(_GATEWAY_API, "GatewayClass", "gatewayclasses", gateway_api.gateway_class, ("gc",), ("v1", "v1beta1"),
                (("Controller", "string", ".spec.controllerName"), ("Accepted", "string",
                 ".status.conditions[?(@.type=='Accepted')].status"), _AGE), False, gateway_api.BUNDLE),
    _Definition(_GATEWAY_API, "Gateway", "gateways", gateway_api.gateway, ("gtw",), ("v1", "v1beta1"),
                (("Class", "string", ".spec.gatewayClassName"), ("Address", "string", ".status.addresses[*].value"),
                 ("Programmed", "string", ".status.conditions[?(@.type=='Programmed')].status"), _AGE),
                annotations=gateway_api.BUNDLE),
    _Definition(_GATEWAY_API, "HTTPRoute", "httproutes", gateway_api.route, (), ("v1", "v1beta1"), (_HOSTS, _AGE),
                annotations=gateway_api.BUNDLE),
    _Definition(_GATEWAY_API, "GRPCRoute", "grpcroutes", gateway_api.route, (), ("v1",), (_HOSTS, _AGE),
                annotations=gateway_api.BUNDLE),
    _Definition(_GATEWAY_API, "TLSRoute", "tlsroutes", gateway_api.route, (), ("v1alpha2", "v1alpha3"), (_AGE,),
                annotations=gateway_api.BUNDLE),
    _Definition(_GATEWAY_API, "ReferenceGrant", "referencegrants", gateway_api.reference_grant, ("refgrant",),
                ("v1beta1",), annotations=gateway_api.BUNDLE),
)  # fmt: skip


def definitions(*, gateway_api: bool) -> list[Manifest]:
    """Those of Istio and our own; with `gateway_api` also reduced ones of the Gateway API."""
    return [_manifest(item) for item in (*_ISTIO, *_ISTHMUS, *(_GATEWAY if gateway_api else ()))]


def _manifest(item: _Definition) -> Manifest:
    names: Manifest = {
        "kind": item.kind,
        "listKind": f"{item.kind}List",
        "plural": item.plural,
        "singular": item.kind.lower(),
    }
    if item.short:
        names["shortNames"] = list(item.short)
    if item.group == _GATEWAY_API:
        names["categories"] = ["gateway-api"]
    elif item.group != _OWN:
        names["categories"] = ["istio-io", item.group.replace(".", "-")]
    meta: Manifest = {"name": f"{item.plural}.{item.group}", "labels": {"app.kubernetes.io/part-of": "istio"}}
    if item.annotations:
        meta["annotations"] = dict(item.annotations)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": meta,
        "spec": {
            "group": item.group,
            "names": names,
            "scope": "Namespaced" if item.namespaced else "Cluster",
            "versions": [_version(item, name, stored=name == item.versions[0]) for name in item.versions],
        },
    }


def _version(item: _Definition, name: str, *, stored: bool) -> Manifest:
    schema = {"type": "object", "properties": {"spec": item.spec(), "status": STATUS}}
    columns = [{"name": header, "type": kind, "jsonPath": path} for header, kind, path in item.columns]
    version: Manifest = {
        "name": name,
        "served": True,
        "storage": stored,
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    if item.group not in (_GATEWAY_API, _OWN) and item.kind not in READ:
        # The one way in which a definition can make the API server warn whoever applies an object.
        version |= {"deprecated": True, "deprecationWarning": f"Isthmus does not read {item.kind} yet: no effect"}
    return version
