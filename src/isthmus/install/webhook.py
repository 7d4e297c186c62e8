"""The MutatingWebhookConfiguration that asks the control plane to inject sidecars; rules as in Istio."""

import re
from collections.abc import Sequence

from isthmus.base.errors import UsageError
from isthmus.install.values import REVISION_LABEL, XDS_PORT, Manifest, MeshValues

NAME = "istio-sidecar-injector"
_INJECTION = "istio-injection"
_INJECT = "sidecar.istio.io/inject"
SLASH = "--slash--"
"""What stands for `/` in a value of the path (PR2)."""
COLON = "--colon--"
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def _expression(key: str, operator: str, *values: str) -> Manifest:
    made: Manifest = {"key": key, "operator": operator}
    return {**made, "values": list(values)} if values else made


def parameters(mesh: MeshValues) -> str:
    """What a webhook's path says of the pods that it is called for (PR2): `/cluster/<c>/net/<n>/discovery/<host>…`.

    Kubernetes wants each part to be a DNS subdomain name. Raises UsageError for a name that is not.
    """
    said = [("cluster", mesh.cluster), ("net", mesh.network)]
    said += [("discovery", address.removesuffix(f":{XDS_PORT}")) for address in mesh.discovery]
    return "".join(f"/{key}/{_part(key, value)}" for key, value in said if value)


def _part(key: str, value: str) -> str:
    made = value.replace("/", SLASH).replace(":", COLON)
    if not _SUBDOMAIN.fullmatch(made):
        raise UsageError(
            f"{key} {value!r} cannot be in the path of a webhook", "Use lower case letters, digits, '-' and '.'"
        )
    return made


def in_cluster(mesh: MeshValues, path: str = "/inject") -> Manifest:
    """The webhook behind the Service istiod of the cluster."""
    return {"service": {"name": "istiod", "namespace": mesh.namespace, "path": path, "port": 443}}


def configuration(mesh: MeshValues, labels: dict[str, str], *, client: Manifest | None = None) -> Manifest:
    """A pod is sent to `/inject` if its namespace or the pod itself asks for it, and the pod does not refuse.

    The control plane writes its root certificate into `caBundle`. `client` is where the webhook is, default the
    Service istiod.
    """
    client = client or in_cluster(mesh)
    revision = mesh.revision
    asks_not = _expression(_INJECT, "NotIn", "false")
    unlabelled = (_expression(_INJECTION, "DoesNotExist"), _expression(REVISION_LABEL, "DoesNotExist"))
    hooks = [
        _hook(client, f"rev.namespace.{revision}.sidecar-injector.istio.io",
              namespace=[_expression(REVISION_LABEL, "In", revision), _expression(_INJECTION, "DoesNotExist")],
              pod=[asks_not]),
        _hook(client, f"rev.object.{revision}.sidecar-injector.istio.io", namespace=unlabelled,
              pod=[asks_not, _expression(REVISION_LABEL, "In", revision)]),
    ]  # fmt: skip
    if revision == "default":
        hooks += [
            _hook(client, "namespace.sidecar-injector.istio.io",
                  namespace=[_expression(_INJECTION, "In", "enabled")], pod=[asks_not]),
            _hook(client, "object.sidecar-injector.istio.io", namespace=unlabelled,
                  pod=[_expression(_INJECT, "In", "true"), _expression(REVISION_LABEL, "DoesNotExist")]),
        ]  # fmt: skip
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME, "labels": {**labels, "app": "sidecar-injector"}},
        "webhooks": hooks,
    }


def _hook(client: Manifest, name: str, *, namespace: Sequence[Manifest], pod: Sequence[Manifest]) -> Manifest:
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": client,
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "sideEffects": "None",
        "timeoutSeconds": 10,
        "namespaceSelector": {"matchExpressions": list(namespace)},
        "objectSelector": {"matchExpressions": list(pod)},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    }
