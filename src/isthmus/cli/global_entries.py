"""`isthmus global-entries`: a cluster's services under their global names, for other clusters."""

import asyncio
import sys
from typing import Annotated, Any

import typer

from isthmus.base.errors import UsageError
from isthmus.base.names import DEFAULT_DOMAIN
from isthmus.cli.output import warn
from isthmus.cli.reach import Context, Kubeconfig, SystemNamespace, connect, run
from isthmus.ingest.mesh_config import CONFIG_MAP, DATA_KEY, trust_domain_in
from isthmus.ingest.place import SYSTEM_NAMESPACE
from isthmus.install.global_names import GLOBAL_LABEL, Home, global_entries, without_pods
from isthmus.install.manifests import render
from isthmus.kube.requests import CONFIG_MAPS, PODS, SERVICES

app = typer.Typer(add_completion=False)

EXAMPLES = """Examples:

  kubectl --context west -n shop label service api istio.io/global=true

  isthmus global-entries --context west | kubectl --context east apply -f -
"""


@app.command(epilog=EXAMPLES)
def entries(
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    namespace: SystemNamespace = SYSTEM_NAMESPACE,
    cluster: Annotated[str, typer.Option(help="Name of the cluster; default: the context's.")] = "",
) -> None:
    """Print ServiceEntries by which other clusters reach the services of this one, as <name>.<namespace>.global.

    Services with the label istio.io/global=true are meant. What is printed holds for every cluster, also for this one;
    no cluster needs access to another's API server.
    """
    name = cluster or context
    if not name:
        raise UsageError("the cluster has no name", "Give --cluster, or --context")
    services, pods, mesh = run(_read(kubeconfig, context, namespace))
    found = global_entries(Home(name, trust_domain_in(mesh) or DEFAULT_DOMAIN), services, pods)
    for service in without_pods(services, pods):
        warn(f"{service} has no pods: its entry names no identity, callers accept any of their own trust domain")
    if not found:
        what = "no service has the label" if services else "nothing is there"
        chosen = any((one["metadata"].get("labels") or {}).get(GLOBAL_LABEL) == "true" for one in services)
        message = "no gateway has an address" if chosen else f"{what} {GLOBAL_LABEL}=true"
        raise UsageError(f"{name}: {message}", "isthmus install --gateway eastwest --global-names; label the services")
    sys.stdout.write(render(found))


async def _read(kubeconfig: str, context: str, namespace: str) -> tuple[list[Any], list[Any], str]:
    """All Services and Pods of a cluster, and its mesh configuration."""
    client = await connect(kubeconfig, context)
    try:
        services, pods, config = await asyncio.gather(
            client.list(SERVICES), client.list(PODS), client.find(CONFIG_MAPS, namespace, CONFIG_MAP)
        )
    finally:
        await client.aclose()
    return services, pods, str(((config or {}).get("data") or {}).get(DATA_KEY, ""))
