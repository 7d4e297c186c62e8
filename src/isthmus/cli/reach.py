"""How commands reach clusters, control planes and proxies: the API server, and exec in pods."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from isthmus.base.errors import IsthmusError, UnreachableError
from isthmus.edge.kube_access import from_kubeconfig
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.kube_exec import Target, execute
from isthmus.kube.requests import PODS, Scope

T = TypeVar("T")

Context = Annotated[str, typer.Option("--context", help="Context of the kubeconfig to use.")]
Kubeconfig = Annotated[str, typer.Option("-c", "--kubeconfig", help="Kubeconfig file.")]
SystemNamespace = Annotated[str, typer.Option("-i", "--istioNamespace", help="Namespace of the control plane.")]

ISTIOD_SELECTOR = "app=istiod"
ISTIOD_CONTAINER = "discovery"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one control plane answered; `error` if it did not."""

    istiod: str
    body: Any = None
    error: IsthmusError | None = None


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end."""
    return asyncio.run(work)


async def connect(kubeconfig: str, context: str) -> KubeClient:
    """The client of a person. Raises UsageError if the kubeconfig has no such context."""
    return await KubeClient.connect(await asyncio.to_thread(from_kubeconfig, kubeconfig, context))


async def ask_all_istiods(client: KubeClient, namespace: str, path: str) -> list[Answer]:
    """Every running control plane's answer to a GET of its admin port, by pod name. Raises if none runs."""
    pods = await client.list(PODS, Scope(namespace, label_selector=ISTIOD_SELECTOR))
    names = sorted(
        str(pod["metadata"]["name"])
        for pod in pods
        if (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    )
    if not names:
        message = f"no control plane runs in namespace {namespace} of {client.server}"
        raise UnreachableError(message, "Check --context, or give --istioNamespace; isthmus install makes one")
    return list(await asyncio.gather(*(_ask(client, namespace, name, path) for name in names)))


async def ask_istiod(client: KubeClient, namespace: str, pod: str, path: str) -> bytes:
    """One control plane's answer to a GET of its admin port. Raises UnreachableError."""
    command = ["isthmus", "debug", "request", "GET", path]
    done = await execute(client, Target(namespace, pod, ISTIOD_CONTAINER), command, within=20.0)
    if done.exit_code != 0:
        words = done.stderr.decode("utf-8", "replace").strip().removeprefix("Error: ") or f"exit code {done.exit_code}"
        raise UnreachableError(f"{pod} did not answer {path}: {words}", f"See kubectl logs -n {namespace} {pod}")
    return done.stdout


async def _ask(client: KubeClient, namespace: str, pod: str, path: str) -> Answer:
    try:
        return Answer(pod, msgspec.json.decode(await ask_istiod(client, namespace, pod, path)))
    except msgspec.MsgspecError as error:
        return Answer(pod, error=UnreachableError(f"{pod} answered {path} with something that is no JSON: {error}"))
    except IsthmusError as error:
        return Answer(pod, error=error)
