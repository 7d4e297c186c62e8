"""`isthmus multicluster expose`: make a cluster reachable for the others of its mesh."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from isthmus.base.errors import UnreachableError, UsageError
from isthmus.base.labels import NETWORK_LABEL
from isthmus.cli.reach import Context, Kubeconfig, SystemNamespace, connect, run
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.manifest_applier import MANAGER
from isthmus.ingest.place import SYSTEM_NAMESPACE
from isthmus.install.expose import NAME, exposing_gateway, gateway_namespace
from isthmus.install.manifests import render
from isthmus.kube.requests import NAMESPACES, Resource

GATEWAY_NAMESPACE = "istio-gateways"
GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways")
DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)

LOOK_AGAIN = 0.2
"""Seconds between looks whether the gateway can be called."""

EXPOSE_EXAMPLES = """Examples:

  isthmus multicluster expose --context east --namespace istio-gateways

  isthmus multicluster expose --context east --generate | kubectl --context east apply -f -
"""


def expose(  # noqa: PLR0917  (each is a flag)
    context: Context = "",
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="Where the gateway is to be; made if it is not there.")
    ] = GATEWAY_NAMESPACE,
    generate: Annotated[bool, typer.Option("--generate", help="Print the manifests; change nothing.")] = False,
    network: Annotated[
        str, typer.Option(help="Name of the cluster's network; default: what its system namespace says.")
    ] = "",
    kubeconfig: Kubeconfig = "",
    system_namespace: SystemNamespace = SYSTEM_NAMESPACE,
    wait: Annotated[bool, typer.Option(help="Wait until the gateway can be called, and print its addresses.")] = True,
    timeout: Annotated[float, typer.Option(help="How long to wait, in seconds.", min=1)] = 120.0,
) -> None:
    """Make a cluster reachable for the others of its mesh: an east-west gateway for HBONE.

    Other networks reach the cluster's global services by it, and nothing else; linked control planes reach this one's.
    The gateway is a Gateway of class istio-eastwest, which the control plane runs: deleting it takes everything back.
    """

    async def work() -> str:
        async with await connect(kubeconfig, context) as client:
            name = network or await _network(client, system_namespace)
            manifests = [gateway_namespace(namespace), exposing_gateway(name, namespace)]
            if generate:
                return render(manifests)
            await _has_gateway_api(client)
            if await client.find(NAMESPACES, "", namespace) is None:
                await client.apply(NAMESPACES, manifests[0], manager=MANAGER)
            await client.apply(GATEWAYS, manifests[1], manager=MANAGER)
            if not wait:
                return f"Gateway {namespace}/{NAME} applied\n"
            addresses = await _programmed(client, namespace, timeout)
            return f"Gateway {namespace}/{NAME}: network {name} is entered at {', '.join(addresses)}\n"

    print(run(work()), end="")


async def _network(client: KubeClient, system_namespace: str) -> str:
    found = await client.find(NAMESPACES, "", system_namespace)
    if found is None:
        raise UsageError(
            f"there is no namespace {system_namespace} in {client.server}", "Install the mesh first: isthmus install"
        )
    network = str((found["metadata"].get("labels") or {}).get(NETWORK_LABEL, ""))
    if not network:
        raise UsageError(
            f"the cluster's network has no name: namespace {system_namespace} has no label {NETWORK_LABEL}",
            f"Give it one: kubectl label namespace {system_namespace} {NETWORK_LABEL}=<name>",
        )
    return network


async def _has_gateway_api(client: KubeClient) -> None:
    if await client.find(DEFINITIONS, "", f"{GATEWAYS.plural}.{GATEWAYS.group}") is None:
        raise UsageError(
            f"{client.server} does not know Gateways of {GATEWAYS.group}",
            "Install the Gateway API, or reduced definitions of it: isthmus install --gateway-api",
        )


async def _programmed(client: KubeClient, namespace: str, within: float) -> list[str]:
    """The gateway's addresses, once it can be called. Raises UnreachableError with what it waits for."""
    found: Mapping[str, Any] = {}
    try:
        async with asyncio.timeout(within):
            while True:
                found = await client.get(GATEWAYS, namespace, NAME)
                condition = _condition(found)
                if condition.get("status") == "True":
                    return [str(one.get("value")) for one in found["status"].get("addresses") or []]
                await asyncio.sleep(LOOK_AGAIN)
    except TimeoutError:
        said = _condition(found).get("message") or "no control plane has looked at it"
        raise UnreachableError(
            f"Gateway {namespace}/{NAME} cannot be called after {within:g} s: {said}",
            f"See kubectl describe gateway -n {namespace} {NAME}, and the pods of that name",
        ) from None


def _condition(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The condition Programmed, if it is about the object as it is now."""
    generation = (found.get("metadata") or {}).get("generation")
    for one in (found.get("status") or {}).get("conditions") or []:
        if one.get("type") == "Programmed" and one.get("observedGeneration") == generation:
            return dict(one)
    return {}
