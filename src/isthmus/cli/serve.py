"""`isthmus serve`: run the control plane of one cluster."""

from pathlib import Path
from typing import Annotated

import typer

from isthmus.base.names import DEFAULT_DOMAIN

app = typer.Typer(add_completion=False)

Text = Annotated[str, typer.Option()]


@app.command()
def serve(  # noqa: PLR0913, PLR0917  (each is a flag)
    cluster: Annotated[str, typer.Option(envvar="CLUSTER_ID", help="Name of the cluster we run in.")] = "Kubernetes",
    network: Annotated[str, typer.Option(envvar="NETWORK", help="Network given to injected pods.")] = "",
    mesh_id: Annotated[str, typer.Option(envvar="MESH_ID", help="Mesh id given to injected pods.")] = "mesh1",
    dns_capture: Annotated[bool, typer.Option(envvar="DNS_CAPTURE", help="Injected pods use the agent's DNS.")] = True,
    hbone: Annotated[bool, typer.Option(envvar="ENABLE_HBONE", help="Injected sidecars take HBONE, too.")] = False,
    proxy_image: Annotated[
        str, typer.Option(envvar="PROXY_IMAGE", help="Image of injected sidecars.")
    ] = "isthmus/proxy",
    init_image: Annotated[str, typer.Option(envvar="INIT_IMAGE", help="Image that sets up capture.")] = "isthmus/init",
    trust_domain: Annotated[str, typer.Option(envvar="TRUST_DOMAIN")] = DEFAULT_DOMAIN,
    trust_domain_alias: Annotated[
        list[str] | None, typer.Option(envvar="TRUST_DOMAIN_ALIASES", help="Accepted besides; may be repeated.")
    ] = None,
    domain: Annotated[str, typer.Option(envvar="DOMAIN_SUFFIX", help="DNS suffix of services.")] = DEFAULT_DOMAIN,
    namespace: Annotated[str, typer.Option(envvar="POD_NAMESPACE", help="The system namespace.")] = "istio-system",
    revision: Annotated[str, typer.Option(envvar="REVISION")] = "default",
    instance: Annotated[str, typer.Option(envvar="POD_NAME", help="Name of this replica.")] = "istiod",
    kubeconfig: Annotated[str, typer.Option(help="Instead of the pod's own service account.")] = "",
    context: Annotated[str, typer.Option(help="Context of the kubeconfig.")] = "",
    custom_host: Annotated[
        list[str] | None,
        typer.Option(envvar="ISTIOD_CUSTOM_HOST", help="More names or addresses of this server; may be repeated."),
    ] = None,
    discovery: Annotated[
        str, typer.Option(envvar="PILOT_ADDRESS", help="Control planes of injected proxies, host:port, best first.")
    ] = "",
    external: Annotated[
        bool,
        typer.Option(envvar="EXTERNAL_ISTIOD", help="Look after remote clusters whose system namespace asks for it."),
    ] = False,
    local_secrets: Annotated[
        bool,
        typer.Option(
            envvar="LOCAL_CLUSTER_SECRET_WATCHER",
            help="Keep secrets in the cluster we run in, read configuration from that of the kubeconfig.",
        ),
    ] = False,
    kubeconfig_dir: Annotated[
        str,
        typer.Option(envvar="PILOT_MULTICLUSTER_KUBECONFIG_PATH", help="Kubeconfigs of other clusters, as files."),
    ] = "",
    listen: Annotated[str, typer.Option(help="Address of the TLS ports.")] = "0.0.0.0",
    tls_port: Annotated[int, typer.Option(help="xDS and certificates over TLS.")] = 15012,
    plain_port: Annotated[int, typer.Option(help="xDS in plaintext, on loopback.")] = 15010,
    webhook_port: Annotated[int, typer.Option(help="Admission webhook.")] = 15017,
    admin_port: Annotated[int, typer.Option(help="Readiness, metrics and debug, on loopback.")] = 15014,
    checkpoint_dir: Annotated[
        str, typer.Option(envvar="CHECKPOINT_DIR", help="Where to keep what was observed, for a restart.")
    ] = "",
    ca_directory: Annotated[
        Path, typer.Option(envvar="CA_DIRECTORY", help="Where the secret cacerts may be mounted.")
    ] = Path("/etc/cacerts"),
    max_workload_cert_ttl: Annotated[
        float, typer.Option(envvar="MAX_WORKLOAD_CERT_TTL_SECONDS", help="Longest certificate, in seconds.")
    ] = 90 * 86_400.0,
    serving_cert_ttl: Annotated[
        float, typer.Option(envvar="SERVING_CERT_TTL_SECONDS", help="Our own certificate, in seconds.")
    ] = 86_400.0,
    proxy_mark: Annotated[
        int, typer.Option(envvar="PROXY_MARK", help="SO_MARK of proxies that may set one; 0: capture goes by user.")
    ] = 0,
    trusted_node_accounts: Annotated[
        str,
        typer.Option(
            envvar="CA_TRUSTED_NODE_ACCOUNTS",
            help="Service accounts of node proxies, namespace/name with commas between; they may ask for certificates "
            "of the pods on their node. Default: isthmus-node and ztunnel of the system namespace.",
        ),
    ] = "",
    log_level: Annotated[str, typer.Option(envvar="LOG_LEVEL", help="debug, info, warning or error.")] = "info",
    log_format: Annotated[str, typer.Option(envvar="LOG_FORMAT", help="text or json.")] = "text",
) -> None:
    """Run the control plane: watch clusters, serve proxies, sign identities, inject sidecars."""
    from isthmus.app.settings import Listen, ServeSettings
    from isthmus.cli.serving import configure_logs, run_until_signal
    from isthmus.edge.kube_access import from_kubeconfig, in_cluster
    from isthmus.install.values import Images

    configure_logs(log_level, log_format)
    settings = ServeSettings(
        cluster=cluster,
        access=from_kubeconfig(kubeconfig, context) if kubeconfig or context else in_cluster(),
        network=network,
        mesh_id=mesh_id,
        proxy_mark=proxy_mark,
        dns_capture=dns_capture,
        hbone=hbone,
        images=Images(proxy=proxy_image, init=init_image),
        instance=instance,
        revision=revision,
        trust_domain=trust_domain,
        trust_domain_aliases=tuple(trust_domain_alias or ()),
        domain=domain,
        system_namespace=namespace,
        custom_hosts=tuple(host for text in custom_host or () for host in text.split(",") if host),
        discovery=tuple(filter(None, discovery.split(","))),
        external=external,
        local=in_cluster() if local_secrets else None,
        kubeconfig_dir=kubeconfig_dir,
        listen=Listen(host=listen, tls=tls_port, plain=plain_port, webhook=webhook_port, admin=admin_port),
        checkpoint_dir=checkpoint_dir,
        ca_directory=ca_directory,
        max_certificate_lifetime=max_workload_cert_ttl,
        serving_lifetime=serving_cert_ttl,
        node_accounts=tuple(name.strip() for name in trusted_node_accounts.split(",") if name.strip()),
    )
    run_until_signal(settings)
