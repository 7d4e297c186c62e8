"""`isthmus install`: put the control plane and, if wanted, an east-west gateway into a cluster, or print manifests."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

import typer

from isthmus.base.errors import UsageError
from isthmus.base.names import DEFAULT_DOMAIN
from isthmus.cli.reach import Context, Kubeconfig, SystemNamespace, connect, run
from isthmus.edge.manifest_applier import ManifestApplier
from isthmus.ingest.finding import is_host
from isthmus.install.manifests import control_plane, east_west_gateway, render
from isthmus.install.values import (
    SYSTEM_NAMESPACE,
    ControlPlaneValues,
    GatewayValues,
    Images,
    Manifest,
    MeshValues,
    Scaling,
)

app = typer.Typer(add_completion=False)


class Gateway(StrEnum):
    """Values of `--gateway`."""

    NONE = "none"
    EAST_WEST = "eastwest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to apply, and how long to wait in seconds."""

    kubeconfig: str
    context: str
    timeout: float
    wait: bool


@app.command()
def install(  # noqa: PLR0913, PLR0917 - the options of the command
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    namespace: SystemNamespace = SYSTEM_NAMESPACE,
    cluster: Annotated[str, typer.Option(help="Name of the cluster; default: the context's.")] = "",
    network: Annotated[str, typer.Option(help="Network of the cluster's pods.")] = "",
    mesh_id: Annotated[str, typer.Option(help="Name of the mesh.")] = "mesh1",
    trust_domain: Annotated[str, typer.Option(help="Trust domain of all identities.")] = DEFAULT_DOMAIN,
    revision: Annotated[str, typer.Option(help="Revision of the control plane.")] = "default",
    gateway: Annotated[Gateway, typer.Option(help="Install this gateway as well.")] = Gateway.NONE,
    expose: Annotated[
        list[str] | None, typer.Option(help="Host, or *.<suffix>, that the gateway lets others reach; default: all.")
    ] = None,
    control_plane_: Annotated[
        bool, typer.Option("--control-plane/--no-control-plane", help="Without: only the gateway.")
    ] = True,
    replicas: Annotated[int, typer.Option(help="Of the control plane.", min=1)] = 1,
    gateway_replicas: Annotated[int, typer.Option(help="Of the gateway.", min=1)] = 1,
    autoscale_to: Annotated[int, typer.Option(help="Scale both by CPU up to this many replicas; 0: do not.")] = 0,
    disruption_budget: Annotated[bool, typer.Option(help="Keep one replica of each during drains.")] = False,
    pod_annotation: Annotated[list[str] | None, typer.Option(help="key=value for the gateway's pods.")] = None,
    service_annotation: Annotated[list[str] | None, typer.Option(help="key=value for its Service.")] = None,
    global_names: Annotated[
        bool, typer.Option("--global-names", help="The gateway carries <name>.<namespace>.global in and out.")
    ] = False,
    hub: Annotated[str, typer.Option(help="Registry and path of the images.")] = "isthmus",
    tag: Annotated[str, typer.Option(help="Tag of the images.")] = "",
    dns_capture: Annotated[bool, typer.Option(help="Let sidecars resolve names of other clusters.")] = True,
    crds: Annotated[bool, typer.Option(help="Install the definitions of Istio's resources.")] = True,
    gateway_api: Annotated[bool, typer.Option(help="Also reduced definitions of the Gateway API.")] = False,
    generate: Annotated[bool, typer.Option("--generate", help="Print manifests; touch no cluster.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until everything runs.")] = True,
    timeout: Annotated[float, typer.Option(help="How long to wait, in seconds.", min=1)] = 120.0,
) -> None:
    """Install the control plane of a cluster.

    isthmus install --context east --cluster east --network net-east --gateway eastwest
    """
    mesh = MeshValues(
        cluster=_name(cluster or context or "Kubernetes", "--cluster"),
        network=_name(network, "--network") if network else "",
        mesh_id=mesh_id,
        trust_domain=trust_domain,
        namespace=namespace,
        revision=revision,
        dns_capture=dns_capture,
        images=_images(hub, tag),
    )
    manifests: list[Manifest] = []
    if control_plane_:
        scaling = Scaling(replicas=replicas, maximum=autoscale_to, budget=disruption_budget)
        values = ControlPlaneValues(mesh=mesh, scaling=scaling, crds=crds, gateway_api_crds=gateway_api)
        manifests += control_plane(values)
    if gateway is Gateway.EAST_WEST:
        scaling = Scaling(replicas=gateway_replicas, maximum=autoscale_to, budget=disruption_budget)
        values_of_gateway = _east_west(mesh, scaling, pod_annotation or [], service_annotation or [])
        if expose:
            values_of_gateway = replace(values_of_gateway, hosts=_hosts(expose))
        manifests += east_west_gateway(replace(values_of_gateway, global_names=global_names))
    if not manifests:
        raise UsageError("there is nothing to install", "Leave --no-control-plane out, or add --gateway eastwest")
    if generate:
        print(render(manifests), end="")
    else:
        run(_apply(Target(kubeconfig=kubeconfig, context=context, timeout=timeout, wait=wait), manifests))


def _east_west(mesh: MeshValues, scaling: Scaling, pods: list[str], service: list[str]) -> GatewayValues:
    if not mesh.network:
        raise UsageError("an east-west gateway needs the name of its network", "Add --network <name>")
    return GatewayValues(
        mesh=mesh,
        scaling=scaling,
        pod_annotations=_pairs(pods, "--pod-annotation"),
        service_annotations=_pairs(service, "--service-annotation"),
    )


def _hosts(texts: list[str]) -> tuple[str, ...]:
    for text in texts:
        if not is_host(text):
            raise UsageError(
                f"--expose: {text!r} is no host", "Write one such as web.shop.svc.cluster.local or *.local"
            )
    return tuple(texts)


def _name(text: str, option: str) -> str:
    """Names go into labels and, for clusters, into URLs."""
    if not text.replace("-", "").replace(".", "").replace("_", "").isalnum() or len(text) > 63:
        raise UsageError(
            f"{option}: {text!r} is no name", "Use letters, digits, '-', '.' and '_', at most 63 characters"
        )
    return text


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise UsageError(f"{option}: {text!r} is not key=value", f"Write {option} key=value")
    return dict(text.split("=", 1) for text in texts)


def _images(hub: str, tag: str) -> Images:
    base, end = hub.rstrip("/"), f":{tag}" if tag else ""
    return Images(pilot=f"{base}/pilot{end}", proxy=f"{base}/proxy{end}", init=f"{base}/init{end}")


async def _apply(target: Target, manifests: list[Manifest]) -> None:
    async with await connect(target.kubeconfig, target.context) as client:
        applier = ManifestApplier(client, report=lambda line: print(f"applied {line}"))
        await applier.apply(manifests, within=target.timeout)
        if target.wait:
            await applier.wait_available(manifests, within=target.timeout)
            print("The control plane runs. Restart pods that are to get a sidecar: kubectl rollout restart …")
