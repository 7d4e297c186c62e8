"""The example `ambient` as its scenarios see it: who calls whom by which names, and how clusters become one mesh."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.lab.harness import Lab

CLUSTERS = ("east", "west", "north")
HELLO = "http://hello-world.app:5000/hello"
GLOBAL = "http://hello-world.app.mesh.internal:5000/hello"
SLEEP, BATCH, OUTSIDER = "app/sleep", "app/batch", "plain/sleep-plain"
GATEWAYS, GATEWAY = "istio-gateways", "istio-eastwest"
"""The namespace of the gateways, and their name."""
MODE = "istio.io/dataplane-mode"
SCOPE = "solo.io/service-scope"
REDIRECTION = "ambient.istio.io/redirection"


def identity(cluster: str, account: str, namespace: str = "app") -> str:
    """A SPIFFE ID in the trust domain of a cluster."""
    return f"spiffe://{cluster}.example/ns/{namespace}/sa/{account}"


def pods(lab: Lab, cluster: str, namespace: str, app: str) -> list[dict[str, Any]]:
    """The pods of an application."""
    found: list[dict[str, Any]] = lab.get(cluster, "pods", "-n", namespace, "-l", f"app={app}")["items"]
    return found


def mark(pod: dict[str, Any]) -> str:
    """What the agent of its node says of a pod."""
    return str((pod["metadata"].get("annotations") or {}).get(REDIRECTION, ""))


def restarts(pod: dict[str, Any]) -> int:
    """How often its containers were started again."""
    return sum(int(status["restartCount"]) for status in pod["status"]["containerStatuses"])


@contextmanager
def nobody_at_home(lab: Lab, cluster: str) -> Iterator[None]:
    """The service has no endpoint in a cluster while the body runs."""
    lab.kubectl(cluster, "scale", "-n", "app", "deployment/hello-world", "--replicas=0")
    try:
        yield
    finally:
        lab.kubectl(cluster, "scale", "-n", "app", "deployment/hello-world", "--replicas=2")
        lab.kubectl(cluster, "rollout", "status", "-n", "app", "deployment/hello-world", "--timeout=30s")


def between(clusters: Sequence[str]) -> tuple[str, ...]:
    """The flags of `isthmus multicluster link` and `unlink` that mean all pairs of these clusters."""
    return ("--contexts", ",".join(clusters), "--namespace", GATEWAYS)


EVERY = between(CLUSTERS)


@contextmanager
def joined(lab: Lab, clusters: Sequence[str] = CLUSTERS) -> Iterator[Lab]:
    """These clusters are exposed and linked, and the service is global in each of them; afterwards neither is so."""
    for cluster in clusters:
        lab.run("multicluster", "expose", "--context", cluster, "--namespace", GATEWAYS)
    lab.run("multicluster", "link", *between(clusters))
    for cluster in clusters:
        lab.kubectl(cluster, "label", "service", "hello-world", "-n", "app", f"{SCOPE}=global")
    yield lab
    for cluster in clusters:
        lab.kubectl(cluster, "label", "service", "hello-world", "-n", "app", f"{SCOPE}-")
    lab.run("multicluster", "unlink", *between(clusters), check=False)
