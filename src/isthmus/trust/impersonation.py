"""A node's proxy asks for the certificates of the pods on its node: whose it may have (TR11).

Beyond Istio, the identity must be of the caller's own cluster and in that cluster's trust domain, and a token that
says which node its pod is on is held against the node where the pod was seen.
"""

from collections.abc import Collection, Iterable
from typing import Protocol

from isthmus.base.names import CONTROL_PLANE_ACCOUNT, SpiffeId, spiffe_id
from isthmus.model.rows import Workload
from isthmus.trust.caller import Caller
from isthmus.trust.errors import TrustError

Account = tuple[str, str]
"""(namespace, name) of a service account."""

SETTING = "CA_TRUSTED_NODE_ACCOUNTS"


class ImpersonationError(TrustError):
    """The caller may not have that identity."""


class UnseenError(ImpersonationError):
    """What would allow it was not observed, or not yet: asking again a moment later may succeed."""


class Pods(Protocol):
    """The pods that were observed in the clusters."""

    def pod(self, cluster: str, namespace: str, name: str) -> Workload | None:
        """The pod of that name."""

    def pods_on(self, cluster: str, node: str) -> Iterable[Workload]:
        """The pods that were bound to a node and have not finished."""


def impersonated(
    caller: Caller, wanted: str, trust_domain: str, *, trusted: Collection[Account], pods: Pods
) -> SpiffeId:
    """The wanted identity, if the caller may have it; `trust_domain` is that of the caller's cluster.

    Raises ImpersonationError, naming what is missing.
    """
    account = (caller.namespace, caller.service_account)
    if account not in trusted:
        raise ImpersonationError(
            f"{caller} may not ask for a certificate of {wanted}: it is no trusted node account",
            f"Is the agent of the node meant? Then name its account in {SETTING}",
        )
    namespace, name = _account_of(wanted, trust_domain, caller.cluster)
    if (namespace, name) == (caller.namespace, CONTROL_PLANE_ACCOUNT):
        message = f"{wanted} is the control plane, by which peers know it"
        raise ImpersonationError(message, "It is never ambient: nobody needs its certificate on a node")
    node = _node_of(caller, pods)
    for pod in pods.pods_on(caller.cluster, node):
        if (pod.namespace, pod.service_account) == (namespace, name) and not pod.entry:
            return spiffe_id(trust_domain, namespace, name)
    raise UnseenError(
        f"no pod on node {node} of cluster {caller.cluster} has the identity {wanted}",
        "Ask for those of pods that are bound to the node",
    )


def check_node_proxy(caller: Caller, node: str, *, trusted: Collection[Account], pods: Pods) -> None:
    """Refuse whoever follows as the proxy of a node and is none, or is that of another: it is told of all namespaces,
    or of the pods of its node. `node` is what it claims. Raises ImpersonationError.
    """
    if (caller.namespace, caller.service_account) not in trusted:
        raise ImpersonationError(
            f"{caller} is no trusted node account, so it is no proxy of a node",
            f"Is the agent of the node meant? Then name its account in {SETTING}",
        )
    seen = pods.pod(caller.cluster, caller.namespace, caller.pod)
    proved = caller.node or (seen.node if seen is not None and seen.uid == caller.pod_uid else "")
    if node and not proved:
        raise UnseenError(f"on which node {caller} is was not seen yet, but it claims {node}", "Ask again")
    if node and node != proved:
        raise ImpersonationError(f"{caller} is on node {proved}, but claims {node}", "Set NODE_NAME from spec.nodeName")


def _account_of(wanted: str, trust_domain: str, cluster: str) -> Account:
    """The service account of a SPIFFE ID (TR13) in this trust domain."""
    match wanted.removeprefix("spiffe://").split("/"):
        case [domain, "ns", namespace, "sa", name] if namespace and name and wanted.startswith("spiffe://"):
            if domain == trust_domain:
                return namespace, name
            message = f"{wanted} is not in trust domain {trust_domain} of cluster {cluster}"
            raise ImpersonationError(message, "A node's proxy speaks for workloads of its own cluster")
    message = f"{wanted!r} is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>"
    raise ImpersonationError(message, "Ask for the identity of a pod")


def _node_of(caller: Caller, pods: Pods) -> str:
    """The node of the pod that the token is bound to, as it was observed."""
    if not (caller.pod and caller.pod_uid):
        raise ImpersonationError(
            f"the token of {caller} is not bound to a pod", "Use the token that is projected into the agent's pod"
        )
    name = f"{caller.namespace}/{caller.pod}"
    seen = pods.pod(caller.cluster, caller.namespace, caller.pod)
    if seen is None or seen.uid != caller.pod_uid or not seen.node:
        raise UnseenError(
            f"pod {name} ({caller.pod_uid}) was not seen on a node of cluster {caller.cluster}", "Ask again"
        )
    if seen.service_account != caller.service_account:
        raise ImpersonationError(f"pod {name} runs as {seen.service_account}", "Use the token of the pod itself")
    if caller.node and caller.node != seen.node:
        raise ImpersonationError(
            f"the token was issued for node {caller.node}, but pod {name} is on {seen.node}", "Read the token again"
        )
    return seen.node
