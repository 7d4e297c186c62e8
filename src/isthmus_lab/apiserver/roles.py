"""The roles every cluster starts with, and their bindings."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_lab.apiserver.objects import JsonObject

_GROUP = "rbac.authorization.k8s.io"
_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}

_VIEW_CORE = [
    "configmaps", "endpoints", "persistentvolumeclaims", "pods", "replicationcontrollers", "serviceaccounts",
    "services", "events", "pods/log", "pods/status", "namespaces", "namespaces/status", "limitranges", "resourcequotas",
]  # fmt: skip
_EDIT_CORE = [
    "configmaps", "endpoints", "events", "persistentvolumeclaims", "pods", "pods/exec", "pods/portforward",
    "pods/eviction",     "replicationcontrollers", "secrets", "serviceaccounts", "serviceaccounts/token", "services",
]  # fmt: skip
_APPS = ["deployments", "deployments/scale", "replicasets", "replicasets/scale", "statefulsets", "daemonsets"]


def _role(
    name: str, rules: list[JsonObject], *, kind: str = "ClusterRole", namespace: str = ""
) -> Callable[[], JsonObject]:
    def make() -> JsonObject:
        metadata: JsonObject = {"name": name, "labels": dict(_LABELS)}
        if namespace:
            metadata["namespace"] = namespace
        return {
            "apiVersion": f"{_GROUP}/v1",
            "kind": kind,
            "metadata": metadata,
            "rules": [dict(rule) for rule in rules],
        }

    return make


def _binding(name: str, role: str, groups: list[str]) -> Callable[[], JsonObject]:
    return lambda: {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": dict(_LABELS)},
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _GROUP, "kind": "Group", "name": group} for group in groups],
    }


def _rule(groups: list[str], resources: list[str], verbs: list[str]) -> JsonObject:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


_VIEW = [
    _rule([""], _VIEW_CORE, _READ),
    _rule(["apps"], _APPS, _READ),
    _rule(["autoscaling"], ["horizontalpodautoscalers"], _READ),
    _rule(["policy"], ["poddisruptionbudgets"], _READ),
    _rule(["discovery.k8s.io"], ["endpointslices"], _READ),
]
_EDIT = [
    *_VIEW,
    _rule([""], ["secrets", "pods/exec", "pods/portforward"], _READ),
    _rule([""], _EDIT_CORE, _WRITE),
    _rule(["apps"], _APPS, _WRITE),
    _rule(["autoscaling"], ["horizontalpodautoscalers"], _WRITE),
    _rule(["policy"], ["poddisruptionbudgets"], _WRITE),
    _rule(["coordination.k8s.io"], ["leases"], [*_READ, *_WRITE]),
]
_ADMIN = [
    *_EDIT,
    _rule([_GROUP], ["roles", "rolebindings"], [*_READ, *_WRITE]),
    _rule(["authorization.k8s.io"], ["localsubjectaccessreviews"], ["create"]),
]
_PUBLIC_PATHS = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_DISCOVERY_PATHS = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *_PUBLIC_PATHS]

DEFAULTS: tuple[Callable[[], JsonObject], ...] = (
    _role("cluster-admin", [_rule(["*"], ["*"], ["*"]), {"nonResourceURLs": ["*"], "verbs": ["*"]}]),
    _role("admin", _ADMIN),
    _role("edit", _EDIT),
    _role("view", _VIEW),
    _role("system:discovery", [{"nonResourceURLs": _DISCOVERY_PATHS, "verbs": ["get"]}]),
    _role("system:public-info-viewer", [{"nonResourceURLs": _PUBLIC_PATHS, "verbs": ["get"]}]),
    _role(
        "system:basic-user",
        [
            _rule(["authorization.k8s.io"], ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
            _rule(["authentication.k8s.io"], ["selfsubjectreviews"], ["create"]),
        ],
    ),
    _role(
        "system:auth-delegator",
        [
            _rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
            _rule(["authorization.k8s.io"], ["subjectaccessreviews"], ["create"]),
        ],
    ),
    _role(
        "system:service-account-issuer-discovery",
        [{"nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"], "verbs": ["get"]}],
    ),
    _binding("cluster-admin", "cluster-admin", ["system:masters"]),
    _binding("system:discovery", "system:discovery", ["system:authenticated"]),
    _binding("system:basic-user", "system:basic-user", ["system:authenticated"]),
    _binding(
        "system:public-info-viewer", "system:public-info-viewer", ["system:authenticated", "system:unauthenticated"]
    ),
    _binding(
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        ["system:serviceaccounts"],
    ),
    _role(
        "isthmus:cluster-info",
        [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["cluster-info"], "verbs": ["get"]}],
        kind="Role",
        namespace="kube-public",
    ),
    lambda: {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "isthmus:cluster-info", "namespace": "kube-public", "labels": dict(_LABELS)},
        "roleRef": {"apiGroup": _GROUP, "kind": "Role", "name": "isthmus:cluster-info"},
        "subjects": [
            {"apiGroup": _GROUP, "kind": "Group", "name": "system:unauthenticated"},
            {"apiGroup": _GROUP, "kind": "Group", "name": "system:authenticated"},
        ],
    },
)
