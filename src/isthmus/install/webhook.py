"""The MutatingWebhookConfiguration that asks the control plane to inject sidecars; rules as in Istio."""

from collections.abc import Sequence

from isthmus.install.values import REVISION_LABEL, Manifest, MeshValues

NAME = "istio-sidecar-injector"
_INJECTION = "istio-injection"
_INJECT = "sidecar.istio.io/inject"


def _expression(key: str, operator: str, *values: str) -> Manifest:
    made: Manifest = {"key": key, "operator": operator}
    return {**made, "values": list(values)} if values else made


def configuration(mesh: MeshValues, labels: dict[str, str], *, path: str = "/inject") -> Manifest:
    """A pod is sent to `/inject` if its namespace or the pod itself asks for it, and the pod does not refuse.

    The control plane writes its root certificate into `caBundle`. `path` may carry parameters (PR2).
    """
    revision = mesh.revision
    asks_not = _expression(_INJECT, "NotIn", "false")
    unlabelled = (_expression(_INJECTION, "DoesNotExist"), _expression(REVISION_LABEL, "DoesNotExist"))
    hooks = [
        _hook(mesh, path, f"rev.namespace.{revision}.sidecar-injector.istio.io",
              namespace=[_expression(REVISION_LABEL, "In", revision), _expression(_INJECTION, "DoesNotExist")],
              pod=[asks_not]),
        _hook(mesh, path, f"rev.object.{revision}.sidecar-injector.istio.io", namespace=unlabelled,
              pod=[asks_not, _expression(REVISION_LABEL, "In", revision)]),
    ]  # fmt: skip
    if revision == "default":
        hooks += [
            _hook(mesh, path, "namespace.sidecar-injector.istio.io",
                  namespace=[_expression(_INJECTION, "In", "enabled")], pod=[asks_not]),
            _hook(mesh, path, "object.sidecar-injector.istio.io", namespace=unlabelled,
                  pod=[_expression(_INJECT, "In", "true"), _expression(REVISION_LABEL, "DoesNotExist")]),
        ]  # fmt: skip
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME, "labels": {**labels, "app": "sidecar-injector"}},
        "webhooks": hooks,
    }


def _hook(
    mesh: MeshValues, path: str, name: str, *, namespace: Sequence[Manifest], pod: Sequence[Manifest]
) -> Manifest:
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "istiod", "namespace": mesh.namespace, "path": path, "port": 443}},
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "sideEffects": "None",
        "timeoutSeconds": 10,
        "namespaceSelector": {"matchExpressions": list(namespace)},
        "objectSelector": {"matchExpressions": list(pod)},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    }
