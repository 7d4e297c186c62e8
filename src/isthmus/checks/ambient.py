"""Are the pods that are to be ambient captured, each by the proxy of its node?"""

from collections.abc import Iterator, Sequence

from isthmus.base.labels import DATAPLANE_MODE_LABEL, REDIRECTION_ANNOTATION
from isthmus.checks.finding import Category, Finding
from isthmus.checks.snapshot import Object, Snapshot, labels_of, name_of, namespace_of, spec_of, status_of

AMBIENT = Category("ambient")

NODE_PROXIES = ("isthmus-node", "ztunnel")
"""Label `app` of the pods that speak for others on their node."""

_SIDECAR = "istio-proxy"
_SHOWN = 3


def captured(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """Every pod that runs and is to be ambient is captured; clusters without such pods are passed over."""
    for one in snapshots:
        spaces = {name_of(space): labels_of(space).get(DATAPLANE_MODE_LABEL, "") for space in one.all("namespaces")}
        wanted = [pod for pod in one.all("pods") if _wants(pod, spaces.get(namespace_of(pod), ""))]
        proxied = {_node(pod) for pod in one.all("pods") if labels_of(pod).get("app") in NODE_PROXIES and _runs(pod)}
        alone = [pod for pod in wanted if _node(pod) not in proxied]
        waiting = [pod for pod in wanted if pod not in alone and not _is_captured(pod)]
        if alone:
            nodes = ", ".join(sorted({_node(pod) for pod in alone}))
            yield AMBIENT.error(
                f"no proxy runs for the ambient pods of {nodes}: {_some(alone)}",
                one.name,
                effect="these pods have no identity, or call and answer nobody while they are captured",
                remedy="isthmus install --profile ambient, or see why its pods do not run: kubectl get ds -A",
            )
        if waiting:
            yield AMBIENT.warning(
                f"{len(waiting)} of {len(wanted)} pods that are to be ambient are not captured: {_some(waiting)}",
                one.name,
                effect="their traffic goes by itself: STRICT workloads refuse them, and they are called without HBONE",
                remedy="See the agent of their node: kubectl logs -n istio-system ds/isthmus-node",
            )
        if wanted and not alone and not waiting:
            yield AMBIENT.good(f"{len(wanted)} ambient pods are captured", one.name)


def _wants(pod: Object, of_namespace: str) -> bool:
    """True if a pod that runs is to be ambient: by its own label, else its namespace's."""
    mode = labels_of(pod).get(DATAPLANE_MODE_LABEL) or of_namespace
    spec = spec_of(pod)
    names = {part["name"] for part in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))}
    return mode == "ambient" and _runs(pod) and not spec.get("hostNetwork") and _SIDECAR not in names


def _runs(pod: Object) -> bool:
    return status_of(pod).get("phase") == "Running"


def _node(pod: Object) -> str:
    return str(spec_of(pod).get("nodeName", ""))


def _is_captured(pod: Object) -> bool:
    return (pod["metadata"].get("annotations") or {}).get(REDIRECTION_ANNOTATION) == "enabled"


def _some(pods: Sequence[Object]) -> str:
    names = [f"{namespace_of(pod)}/{name_of(pod)}" for pod in pods]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more
