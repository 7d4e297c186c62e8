"""`isthmus create-remote-secret`: credentials of one cluster, as a secret for the control plane of another."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from isthmus.base.errors import UnreachableError, UsageError
from isthmus.cli.output import warn
from isthmus.cli.reach import Context, Kubeconfig, SystemNamespace, connect, run
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.ingest.place import SYSTEM_NAMESPACE
from isthmus.install.access import reader
from isthmus.install.values import READER_ACCOUNT
from isthmus.kube import remote_secret as build
from isthmus.kube.kubeconfig import server_host
from isthmus.kube.requests import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    NAMESPACES,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    Resource,
)

app = typer.Typer(add_completion=False)

TOKEN_WAIT = 10.0
"""Seconds that the cluster gets to fill in a token."""

_RESOURCES = {
    "ServiceAccount": SERVICE_ACCOUNTS,
    "ClusterRole": CLUSTER_ROLES,
    "ClusterRoleBinding": CLUSTER_ROLE_BINDINGS,
    "Role": ROLES,
    "RoleBinding": ROLE_BINDINGS,
}


class SecretType(StrEnum):
    """Values of `--type`."""

    REMOTE = "remote"
    CONFIG = "config"


class AuthType(StrEnum):
    """Values of `--auth-type`."""

    TOKEN = "bearer-token"
    PLUGIN = "plugin"


class Switch(StrEnum):
    """A flag that is written with its value, as istioctl's are: `--create-service-account=false`."""

    TRUE = "true"
    FALSE = "false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for on the command line."""

    name: str = ""
    type: SecretType = SecretType.REMOTE
    account: str = ""
    create_account: bool = True
    secret_name: str = ""
    server: str = ""
    tls_server_name: str = ""
    auth_type: AuthType = AuthType.TOKEN
    plugin: str = "oidc"
    plugin_config: tuple[str, ...] = ()
    namespace: str = SYSTEM_NAMESPACE

    def __post_init__(self) -> None:
        if self.name and not build.is_cluster_name(self.name):
            message = f"{self.name!r} is no cluster name"
            raise UsageError(message, "Use lower case letters, digits and -, at most 63 characters")
        if self.server and not server_host(self.server):
            raise UsageError(f"{self.server!r} is no URL", "Write --server https://<host>:<port>")
        if any("=" not in pair for pair in self.plugin_config):
            raise UsageError("--auth-plugin-config is not key=value", "Write --auth-plugin-config id-token=<token>")

    @property
    def service_account(self) -> str:
        """The account whose token goes into the secret."""
        default = "istiod" if self.type is SecretType.CONFIG else READER_ACCOUNT
        return self.account or default


@app.command()
def create_remote_secret(  # noqa: PLR0913, PLR0917 - the options of the command
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    namespace: SystemNamespace = SYSTEM_NAMESPACE,
    name: Annotated[str, typer.Option(help="Name of the cluster; default: the UID of its kube-system.")] = "",
    type_: Annotated[SecretType, typer.Option("--type", help="What the secret is for.")] = SecretType.REMOTE,
    service_account: Annotated[str, typer.Option(help="Account whose token is used.")] = "",
    create_service_account: Annotated[Switch, typer.Option(help="Make account and rights if missing.")] = Switch.TRUE,
    secret_name: Annotated[str, typer.Option(help="Existing token secret of the account.")] = "",
    server: Annotated[str, typer.Option(help="Address of the API server as others reach it.")] = "",
    tls_server_name: Annotated[str, typer.Option(help="Name that the server's certificate must have.")] = "",
    auth_type: Annotated[AuthType, typer.Option(help="How the other control plane proves itself.")] = AuthType.TOKEN,
    auth_plugin_name: Annotated[str, typer.Option(help="Auth provider, for --auth-type plugin.")] = "oidc",
    auth_plugin_config: Annotated[list[str] | None, typer.Option(help="key=value for the auth provider.")] = None,
    manifests: Annotated[str, typer.Option("-d", "--manifests", hidden=True)] = "",
) -> None:
    """Print a secret with which the control plane of another cluster reads this one.

    isthmus create-remote-secret --context west --name west | kubectl --context east apply -f -
    """
    wanted = Wanted(
        name=name,
        type=type_,
        account=service_account,
        create_account=create_service_account is Switch.TRUE,
        secret_name=secret_name,
        server=server,
        tls_server_name=tls_server_name,
        auth_type=auth_type,
        plugin=auth_plugin_name,
        plugin_config=tuple(auth_plugin_config or ()),
        namespace=namespace,
    )
    if manifests:
        warn("--manifests has no effect: the account and its rights are built in")
    print(run(_create(kubeconfig, context, wanted)), end="")


async def _create(kubeconfig: str, context: str, wanted: Wanted) -> str:
    async with await connect(kubeconfig, context) as client:
        return build.to_yaml(await make(client, wanted))


async def make(client: KubeClient, wanted: Wanted) -> dict[str, Any]:
    """The remote secret of the client's cluster. Raises UsageError, UnreachableError or KubeError."""
    server = await _server(client, wanted)
    cluster = wanted.name or await _cluster_uid(client)
    if wanted.create_account:
        await _ensure_account(client, wanted)
    token, authority = await _token(client, wanted)
    user = build.User(token=token)
    if wanted.auth_type is AuthType.PLUGIN:
        pairs = dict(pair.split("=", 1) for pair in wanted.plugin_config)
        user = build.User(provider=wanted.plugin, provider_config=pairs)
    document = build.kubeconfig_document(cluster, server, authority, user)
    return build.remote_secret(cluster, document, namespace=wanted.namespace, kind=wanted.type.value)


async def _server(client: KubeClient, wanted: Wanted) -> build.Server:
    """`--server`, else the context's address, else what the cluster publishes where that one is only for this host."""
    if wanted.server:
        if build.is_loopback(wanted.server):
            warn(f"{wanted.server} is this machine only: the other control plane will not reach it there")
        return build.Server(wanted.server, wanted.tls_server_name)
    if not build.is_loopback(client.server):
        return build.Server(client.server, wanted.tls_server_name or client.access.tls_server_name)
    info = await client.find(CONFIG_MAPS, "kube-public", "cluster-info")
    published = build.published_server(info or {})
    if not published or build.is_loopback(published):
        message = f"the context's server {client.server} is this machine only, and the cluster publishes no other"
        raise UsageError(message, "Give --server https://<host>:<port> as the other cluster reaches it")
    return build.Server(published, wanted.tls_server_name)


async def _cluster_uid(client: KubeClient) -> str:
    return str((await client.get(NAMESPACES, "", "kube-system"))["metadata"]["uid"])


async def _ensure_account(client: KubeClient, wanted: Wanted) -> None:
    """Make what is missing of the account and its rights; what exists stays as it is."""
    if await client.find(SERVICE_ACCOUNTS, wanted.namespace, wanted.service_account):
        if wanted.service_account != READER_ACCOUNT:
            return
    elif wanted.service_account != READER_ACCOUNT:
        message = f"there is no service account {wanted.namespace}/{wanted.service_account}"
        raise UsageError(message, "Create it with the rights that it needs, or leave --service-account out")
    if await client.find(NAMESPACES, "", wanted.namespace) is None:
        await _create_missing(client, NAMESPACES, {"metadata": {"name": wanted.namespace}} | _kind("v1", "Namespace"))
    for manifest in reader(wanted.namespace, {"app.kubernetes.io/name": "isthmus"}):
        await _create_missing(client, _RESOURCES[manifest["kind"]], manifest)


def _kind(version: str, kind: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind}


async def _create_missing(client: KubeClient, resource: Resource, manifest: dict[str, Any]) -> None:
    namespace, name = manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]
    if await client.find(resource, namespace, name) is not None:
        return
    try:
        await client.create(resource, manifest, namespace=namespace)
    except KubeError as error:
        if error.reason != "AlreadyExists":
            raise


async def _token(client: KubeClient, wanted: Wanted) -> tuple[str, bytes]:
    """The account's token and the cluster's certificate authority, from the account's token secret."""
    name = wanted.secret_name or build.token_secret_name(wanted.service_account)
    if not wanted.secret_name:
        await _create_missing(client, SECRETS, build.token_secret(wanted.service_account, wanted.namespace))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TOKEN_WAIT
    while True:
        secret = await client.find(SECRETS, wanted.namespace, name)
        if secret is None:
            raise UsageError(f"there is no secret {wanted.namespace}/{name}", "Check --secret-name")
        found = build.token_and_ca(secret)
        if found is not None:
            return found
        if loop.time() >= deadline:
            message = f"secret {wanted.namespace}/{name} got no token"
            raise UnreachableError(message, "Check that its service account exists and the token controller runs")
        await asyncio.sleep(0.1)
