"""How commands name a proxy and ask it: `<pod>[.<namespace>]`, `deploy/<name>`, `ds/<name>`, over exec.

An ambient pod has no proxy of its own: the proxy of its node is asked instead, and people are told so.
"""

from dataclasses import dataclass
from typing import Annotated

import typer

from isthmus.base.errors import UnreachableError, UsageError
from isthmus.base.labels import REDIRECTION_ANNOTATION
from isthmus.cli.output import warn
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.kube_exec import Target, execute
from isthmus.install.node import CONTAINER as NODE_CONTAINER
from isthmus.install.node import NODE_NAME
from isthmus.kube.requests import PODS, Resource, Scope

ProxyName = Annotated[str, typer.Argument(help="<pod>[.<namespace>], deploy/<name>[.<namespace>] or ds/….")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Namespace of the pod.")]

CONTAINER = "istio-proxy"
OWNERS = {"deploy": Resource("apps", "v1", "deployments"), "ds": Resource("apps", "v1", "daemonsets")}
KINDS = {"pod": "pod", "pods": "pod", "po": "pod", "deploy": "deploy", "deployment": "deploy", "deployments": "deploy"}
KINDS |= {"ds": "ds", "daemonset": "ds", "daemonsets": "ds"}


@dataclass(frozen=True, slots=True)
class PodName:
    """A pod that has a proxy. `speaks_for` is the uid of the ambient pod that was meant, if it is its node's."""

    name: str
    namespace: str
    speaks_for: str = ""

    def __str__(self) -> str:
        return f"{self.name}.{self.namespace}"


def split_name(text: str, namespace: str) -> tuple[str, PodName]:
    """Kind, and name with namespace. A dot in the name means the namespace only if none was given."""
    kind, slash, rest = text.rpartition("/")
    word = KINDS.get(kind.lower()) if slash else "pod"
    if word is None or not rest:
        raise UsageError(f"{text!r} names no proxy", "Write <pod>.<namespace> or deploy/<name>.<namespace>")
    if namespace:
        return word, PodName(rest.removesuffix(f".{namespace}"), namespace)
    name, dot, found = rest.rpartition(".")
    return word, PodName(name, found) if dot else PodName(rest, "default")


async def resolve(client: KubeClient, text: str, namespace: str) -> PodName:
    """The pod that is meant; of a Deployment or DaemonSet the first that runs. Raises UnreachableError for none."""
    kind, wanted = split_name(text, namespace)
    if kind == "pod":
        return await _speaker(client, wanted)
    owner = await client.get(OWNERS[kind], wanted.namespace, wanted.name)
    labels = ((owner.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    pods = await client.list(PODS, Scope(wanted.namespace, label_selector=selector))
    running = sorted(pod["metadata"]["name"] for pod in pods if (pod.get("status") or {}).get("phase") == "Running")
    if not running:
        raise UnreachableError(f"no pod of {text} runs", f"See kubectl get pods -n {wanted.namespace}")
    return await _speaker(client, PodName(running[0], wanted.namespace))


async def _speaker(client: KubeClient, pod: PodName) -> PodName:
    """The pod itself; of an ambient one the proxy of its node. Raises UnreachableError if that is not there."""
    found = await client.find(PODS, pod.namespace, pod.name) or {}
    meta = found.get("metadata") or {}
    if not (meta.get("annotations") or {}).get(REDIRECTION_ANNOTATION):
        return pod
    node = str(found["spec"].get("nodeName", ""))
    scope = Scope(label_selector=f"app={NODE_NAME}", field_selector=f"spec.nodeName={node}")
    proxies = [one["metadata"] for one in await client.list(PODS, scope)]
    if not proxies:
        raise UnreachableError(f"{pod} is ambient, and node {node} has no proxy", "See kubectl get pods -A -o wide")
    speaker = PodName(proxies[0]["name"], proxies[0]["namespace"], str(meta["uid"]))
    warn(f"{pod} is ambient: this is the proxy of its node {node}, {speaker}")
    return speaker


async def ask_proxy(client: KubeClient, pod: PodName, path: str) -> bytes:
    """The answer of a pod's Envoy to a GET of its admin port. Raises UnreachableError."""
    command = ["isthmus", "agent", "request", "GET", path]
    container = await _container(client, pod)
    done = await execute(client, Target(pod.namespace, pod.name, container), command, within=30.0)
    if done.exit_code != 0:
        words = done.stderr.decode("utf-8", "replace").strip().removeprefix("Error: ") or f"exit code {done.exit_code}"
        raise UnreachableError(f"the proxy of {pod} did not answer: {words}", "Does the pod have a sidecar that runs?")
    return done.stdout


async def _container(client: KubeClient, pod: PodName) -> str:
    """Where the proxy of a pod runs: beside its application, or as the proxy of the node."""
    found = await client.find(PODS, pod.namespace, pod.name) or {}
    names = {container["name"] for container in (found.get("spec") or {}).get("containers") or []}
    return NODE_CONTAINER if NODE_CONTAINER in names else CONTAINER
