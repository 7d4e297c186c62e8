"""`isthmus install`: make a cluster a primary, a remote, the home of an external control plane, or add a gateway."""

from dataclasses import dataclass
from typing import Annotated

import typer

from isthmus.base.labels import DATAPLANE_MODE_LABEL
from isthmus.base.names import DEFAULT_DOMAIN
from isthmus.cli.install_profiles import Gateway, Profile, Wanted, checked_name, images, manifests_of
from isthmus.cli.reach import Context, Kubeconfig, SystemNamespace, connect, run
from isthmus.edge.manifest_applier import ManifestApplier
from isthmus.install.manifests import render
from isthmus.install.values import SYSTEM_NAMESPACE, Manifest, MeshValues, Scaling

app = typer.Typer(add_completion=False)

_RESTART = "Restart pods that are to get a sidecar: kubectl rollout restart …"
_LABEL = f"Make pods ambient, without a restart: kubectl label namespace … {DATAPLANE_MODE_LABEL}=ambient"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to apply, and how long to wait in seconds."""

    kubeconfig: str
    context: str
    timeout: float
    wait: bool
    next_step: str


@app.command()
def install(  # noqa: PLR0913, PLR0917 - the options of the command
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    namespace: SystemNamespace = SYSTEM_NAMESPACE,
    profile: Annotated[Profile, typer.Option(help="What the cluster is to the mesh.")] = Profile.PRIMARY,
    cluster: Annotated[str, typer.Option(help="Name of the cluster; default: the context's.")] = "",
    network: Annotated[str, typer.Option(help="Network of the cluster's pods.")] = "",
    mesh_id: Annotated[str, typer.Option(help="Name of the mesh.")] = "mesh1",
    trust_domain: Annotated[str, typer.Option(help="Trust domain of all identities.")] = DEFAULT_DOMAIN,
    revision: Annotated[str, typer.Option(help="Revision of the control plane.")] = "default",
    name: Annotated[str, typer.Option(help="Name of the control plane: it answers as istiod-<name>, too.")] = "",
    served_by: Annotated[
        list[str] | None,
        typer.Option(
            help="Control plane elsewhere, <its cluster>=<address>[,<address>]; may be repeated, best first. "
            "In a remote the first injects; in a primary all come after its own."
        ),
    ] = None,
    config: Annotated[
        bool, typer.Option("--config", help="remote: an external control plane reads its configuration here.")
    ] = False,
    config_cluster: Annotated[str, typer.Option(help="external: the cluster that configuration is read in.")] = "",
    injection_url: Annotated[str, typer.Option(help="remote: webhook's URL instead of the Service istiod.")] = "",
    custom_host: Annotated[list[str] | None, typer.Option(help="More names or addresses of the control plane.")] = None,
    gateway: Annotated[Gateway, typer.Option(help="Install this gateway as well.")] = Gateway.NONE,
    expose: Annotated[
        list[str] | None, typer.Option(help="Host, or *.<suffix>, that the gateway lets others reach; default: all.")
    ] = None,
    expose_control_plane: Annotated[
        bool, typer.Option("--expose-control-plane", help="The gateway lets remote clusters reach istiod.")
    ] = False,
    replicas: Annotated[int, typer.Option(help="Of the control plane.", min=1)] = 1,
    gateway_replicas: Annotated[int, typer.Option(help="Of the gateway.", min=1)] = 1,
    autoscale_to: Annotated[int, typer.Option(help="Scale both by CPU up to this many replicas; 0: do not.")] = 0,
    disruption_budget: Annotated[bool, typer.Option(help="Keep one replica of each during drains.")] = False,
    pod_annotation: Annotated[
        list[str] | None, typer.Option(help="key=value for the pods that are reached from outside.")
    ] = None,
    service_annotation: Annotated[list[str] | None, typer.Option(help="key=value for their Service.")] = None,
    global_names: Annotated[
        bool, typer.Option("--global-names", help="The gateway carries <name>.<namespace>.global in and out.")
    ] = False,
    cni_bin_dir: Annotated[
        str, typer.Option(help="ambient: where the nodes' container runtime finds CNI plugins; default: /opt/cni/bin.")
    ] = "",
    cni_net_dir: Annotated[
        str, typer.Option(help="ambient: where it finds CNI configuration; default: /etc/cni/net.d.")
    ] = "",
    ztunnel: Annotated[
        bool,
        typer.Option("--ztunnel", help="ambient: hand the pods of each node to its ztunnel; run no Envoy for them."),
    ] = False,
    hub: Annotated[str, typer.Option(help="Registry and path of the images.")] = "isthmus",
    tag: Annotated[str, typer.Option(help="Tag of the images.")] = "",
    dns_capture: Annotated[bool, typer.Option(help="Let sidecars resolve names of other clusters.")] = True,
    hbone: Annotated[
        bool, typer.Option("--hbone", help="Let sidecars and ambient workloads reach each other.")
    ] = False,
    crds: Annotated[bool, typer.Option(help="Install the definitions of Istio's resources.")] = True,
    gateway_api: Annotated[bool, typer.Option(help="Also reduced definitions of the Gateway API.")] = False,
    generate: Annotated[bool, typer.Option("--generate", help="Print manifests; touch no cluster.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until everything runs.")] = True,
    timeout: Annotated[float, typer.Option(help="How long to wait, in seconds.", min=1)] = 120.0,
) -> None:
    """Install the mesh into a cluster.

    A control plane of its own: isthmus install --context east --network east-net --gateway eastwest

    One that serves others, too: … --gateway eastwest --expose-control-plane, and then, with the gateway's address,
    isthmus install --context west --profile remote --served-by east=203.0.113.7 --network west-net --gateway eastwest

    Then, for pods without sidecars, a proxy on each node: isthmus install --context east --network east-net --profile
    ambient
    """
    mesh = MeshValues(
        cluster=checked_name(cluster or context or "Kubernetes", "--cluster"),
        network=checked_name(network, "--network") if network else "",
        mesh_id=mesh_id,
        trust_domain=trust_domain,
        namespace=namespace,
        revision=revision,
        dns_capture=dns_capture,
        hbone=hbone,
        images=images(hub, tag),
    )
    wanted = Wanted(
        profile=profile,
        mesh=mesh,
        name=checked_name(name, "--name") if name else "",
        served_by=served_by or (),
        config=config,
        config_cluster=checked_name(config_cluster, "--config-cluster") if config_cluster else "",
        injection_url=injection_url,
        custom_hosts=custom_host or (),
        crds=crds,
        gateway_api=gateway_api,
        scaling=Scaling(replicas=replicas, maximum=autoscale_to, budget=disruption_budget),
        gateway=gateway,
        gateway_scaling=Scaling(replicas=gateway_replicas, maximum=autoscale_to, budget=disruption_budget),
        expose=expose or (),
        expose_control_plane=expose_control_plane,
        global_names=global_names,
        pod_annotations=pod_annotation or (),
        service_annotations=service_annotation or (),
        cni_bin_dir=cni_bin_dir,
        cni_net_dir=cni_net_dir,
        ztunnel=ztunnel,
    )
    manifests = manifests_of(wanted)
    if generate:
        print(render(manifests), end="")
    else:
        target = Target(
            kubeconfig=kubeconfig,
            context=context,
            timeout=timeout,
            wait=wait,
            next_step=_LABEL if profile is Profile.AMBIENT else _RESTART,
        )
        run(_apply(target, manifests))


async def _apply(target: Target, manifests: list[Manifest]) -> None:
    async with await connect(target.kubeconfig, target.context) as client:
        applier = ManifestApplier(client, report=lambda line: print(f"applied {line}"))
        await applier.apply(manifests, within=target.timeout)
        if target.wait:
            await applier.wait_available(manifests, within=target.timeout)
            print(f"Everything runs. {target.next_step}")
