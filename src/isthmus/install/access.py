"""Who may do what: the control plane exactly what it does, the reader of another cluster only to read."""

from collections.abc import Sequence

from isthmus.install.values import READER_ACCOUNT, ROOT_CONFIG_MAP, Manifest

_READ = ("get", "list", "watch")
_WRITE = ("create", "patch", "update")
_RBAC = "rbac.authorization.k8s.io"


def _rule(groups: Sequence[str], resources: Sequence[str], verbs: Sequence[str], names: Sequence[str] = ()) -> Manifest:
    rule: Manifest = {"apiGroups": list(groups), "resources": list(resources), "verbs": list(verbs)}
    return {**rule, "resourceNames": list(names)} if names else rule


_WORKLOADS = (
    _rule([""], ["namespaces", "nodes", "pods", "services"], _READ),
    _rule(["discovery.k8s.io"], ["endpointslices"], _READ),
    _rule(["networking.istio.io"], ["workloadentries"], _READ),
    _rule(["gateway.networking.k8s.io"], ["gateways"], _READ),
    _rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
)

READER_RULES: tuple[Manifest, ...] = _WORKLOADS
"""What the control plane of another cluster does here (RS10, AU2): it reads no Secrets and writes nothing."""

READER_SYSTEM_RULES: tuple[Manifest, ...] = (_rule([""], ["configmaps"], _READ, ["istio"]),)
"""And in the system namespace: the trust domain of this cluster (TR6)."""

ROOT_RULES: tuple[Manifest, ...] = (
    # Creating cannot be bound to a name; listing can, for the field selector metadata.name.
    _rule([""], ["configmaps"], ["create"]),
    _rule([""], ["configmaps"], ["get", "list", "patch", "update"], [ROOT_CONFIG_MAP]),
)
"""To put the roots into a ConfigMap of every namespace (TR3): of the own cluster, and of remotes it controls (RS12)."""

_GATEWAY_API = ["gateway.networking.k8s.io"]
GATEWAY_RULES: tuple[Manifest, ...] = (
    _rule(_GATEWAY_API, ["gatewayclasses"], ["get", "create", "patch"]),
    _rule(_GATEWAY_API, ["gatewayclasses/status", "gateways/status"], ["patch"]),
    _rule(["apps"], ["deployments"], ["get", "create", "patch"]),
    _rule(["autoscaling"], ["horizontalpodautoscalers"], ["get", "create", "patch"]),
    _rule(["policy"], ["poddisruptionbudgets"], ["get", "create", "patch"]),
    _rule([""], ["configmaps"], ["get"]),  # what users lay over that, wherever a Gateway is
    _rule([""], ["serviceaccounts"], ["get", "create", "patch"]),
    _rule([""], ["services"], ["create", "patch"]),
)
"""To run what Gateways ask for, beside them: the control plane deletes nothing, owners are followed by the cluster."""

ISTIOD_RULES: tuple[Manifest, ...] = (
    *_WORKLOADS,
    _rule(
        ["networking.istio.io"],
        ["destinationrules", "gateways", "serviceentries", "sidecars", "virtualservices", "workloadgroups"],
        _READ,
    ),
    _rule(_GATEWAY_API, ["grpcroutes", "httproutes"], _READ),
    _rule(["security.istio.io"], ["authorizationpolicies", "peerauthentications"], _READ),
    # Machines register themselves (VM1), and say how they are (VM6); hosts get addresses (DN9).
    _rule(["networking.istio.io"], ["workloadentries"], [*_WRITE, "delete"]),
    _rule(["networking.istio.io"], ["serviceentries/status", "workloadentries/status"], ["patch"]),
    *GATEWAY_RULES,
    *ROOT_RULES,
)
"""What the control plane does in the whole of its own cluster, beside its webhooks."""

SECRET_RULES: tuple[Manifest, ...] = (_rule([""], ["secrets"], [*_READ, *_WRITE]),)
"""What it does in the namespace it runs in: remote secrets, the authority's secrets."""

SYSTEM_RULES: tuple[Manifest, ...] = (
    *SECRET_RULES,
    _rule([""], ["configmaps"], _READ, ["istio"]),
    _rule(["isthmus.dev"], ["livenesspolicies", "meshclusters"], _READ),
    _rule([""], ["events"], ["create"]),
)
"""And in the system namespace of its config cluster: the mesh configuration, the declared clusters, events."""

NODE_RULES: tuple[Manifest, ...] = (
    _rule([""], ["namespaces", "pods"], _READ),
    _rule([""], ["pods"], ["patch"]),
)
"""What the agent of a node does: it looks who is ambient, and says of each of its pods whether it is captured."""

NODE_SYSTEM_RULES: tuple[Manifest, ...] = (_rule(["apps"], ["daemonsets"], ["get"], ["isthmus-node"]),)
"""And in the system namespace: it looks whether it is restarted, or gone for good and to clean up."""


def webhook_rules(name: str) -> tuple[Manifest, ...]:
    """It writes its root into this one MutatingWebhookConfiguration and sees no other."""
    group = ["admissionregistration.k8s.io"]
    return (_rule(group, ["mutatingwebhookconfigurations"], ["get", "patch", "update"], [name]),)


def service_account(name: str, namespace: str, labels: dict[str, str]) -> Manifest:
    """A ServiceAccount."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
    }


def granted(
    name: str, rules: Sequence[Manifest], account: tuple[str, str], labels: dict[str, str], *, namespaced: bool = False
) -> list[Manifest]:
    """A role and its binding to one ServiceAccount `(namespace, name)`: in its namespace, or in the whole cluster."""
    namespace, subject = account
    prefix = "" if namespaced else "Cluster"
    meta = {"name": name, "labels": labels, **({"namespace": namespace} if namespaced else {})}
    role = {"apiVersion": f"{_RBAC}/v1", "kind": f"{prefix}Role", "metadata": meta, "rules": list(rules)}
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{prefix}RoleBinding",
        "metadata": dict(meta),
        "roleRef": {"apiGroup": _RBAC, "kind": f"{prefix}Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": subject, "namespace": namespace}],
    }
    return [role, binding]


def reader(namespace: str, labels: dict[str, str], extra: Sequence[Manifest] = ()) -> list[Manifest]:
    """The account whose token a remote secret holds (RS13); `extra` are rights beside those to read."""
    name = f"istio-reader-clusterrole-{namespace}"
    account = service_account(READER_ACCOUNT, namespace, labels)
    owner = (namespace, READER_ACCOUNT)
    return [
        account,
        *granted(name, [*READER_RULES, *extra], owner, labels),
        *granted("istio-reader", READER_SYSTEM_RULES, owner, labels, namespaced=True),
    ]
