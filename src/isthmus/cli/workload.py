"""`isthmus workload`: machines outside of Kubernetes as parts of the mesh."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from isthmus.base.errors import UsageError
from isthmus.base.labels import NETWORK_LABEL
from isthmus.cli.reach import Context, Kubeconfig, SystemNamespace, connect, run
from isthmus.edge.kube_client import KubeClient
from isthmus.ingest.place import SYSTEM_NAMESPACE
from isthmus.install import machine
from isthmus.install.machine import Group, MachineValues, read_group
from isthmus.install.values import ROOT_CONFIG_MAP
from isthmus.kube.requests import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS, SERVICES, create_request

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Let machines outside of Kubernetes join the mesh.")
group_app = typer.Typer(no_args_is_help=True, help="What machines of one kind have in common.")
entry_app = typer.Typer(no_args_is_help=True, help="One machine.")
app.add_typer(group_app, name="group")
app.add_typer(entry_app, name="entry")

INGRESS_SERVICE = "istio-eastwestgateway"


def _pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in (part for text in given or () for part in text.split(",") if part):
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise UsageError(f"{option} holds {item!r}", f"Write {option} key=value,key=value")
        found[key] = value
    return found


@group_app.command("create")
def create_group(  # noqa: PLR0913, PLR0917 - the options of the command
    name: Annotated[str, typer.Option(help="Name of the group.")],
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Namespace of its services.")],
    labels: Annotated[list[str] | None, typer.Option("-l", "--labels", help="app=db,version=v1")] = None,
    annotations: Annotated[list[str] | None, typer.Option("-a", "--annotations", help="key=value")] = None,
    ports: Annotated[list[str] | None, typer.Option("-p", "--ports", help="http=8080,grpc=9090")] = None,
    service_account: Annotated[
        str, typer.Option("-s", "--serviceAccount", help="Identity of its machines.")
    ] = "default",
    network: Annotated[str, typer.Option(help="Network of its machines, if not their cluster's.")] = "",
    locality: Annotated[str, typer.Option(help="region/zone/subzone")] = "",
    weight: Annotated[int, typer.Option(help="Weight against other endpoints.")] = 0,
) -> None:
    """Print a WorkloadGroup.

    isthmus workload group create --name db -n shop -l app=db -p tcp=5432 -s db | kubectl apply -f -
    """
    numbers = _pairs(ports, "--ports")
    wrong = [f"{key}={text}" for key, text in numbers.items() if not text.isdecimal() or not 0 < int(text) < 65536]
    if wrong:
        raise UsageError(f"--ports holds {', '.join(wrong)}", "Write --ports http=8080,grpc=9090")
    made = machine.workload_group(
        name,
        namespace,
        labels=_pairs(labels, "--labels"),
        annotations=_pairs(annotations, "--annotations"),
        ports={key: int(text) for key, text in numbers.items()},
        service_account=service_account,
        network=network,
        locality=locality,
        weight=weight,
    )
    print(yaml.safe_dump(made, sort_keys=False), end="")


@entry_app.command("configure")
def configure(  # noqa: PLR0913, PLR0917 - the options of the command
    file: Annotated[Path, typer.Option("-f", "--file", help="The WorkloadGroup.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Directory for the files.")],
    cluster_id: Annotated[str, typer.Option("--clusterID", help="Cluster that the machine belongs to.")],
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    system_namespace: SystemNamespace = SYSTEM_NAMESPACE,
    ingress_ip: Annotated[
        list[str] | None, typer.Option("--ingressIP", help="Where the machine reaches the control plane.")
    ] = None,
    ingress_service: Annotated[
        str, typer.Option("--ingressService", help="Service whose address that is by default.")
    ] = INGRESS_SERVICE,
    autoregister: Annotated[bool, typer.Option(help="The machine registers itself when it connects.")] = True,
    capture_dns: Annotated[bool, typer.Option("--capture-dns/--no-capture-dns", help="Answer names.")] = True,
    token_duration: Annotated[int, typer.Option("--tokenDuration", help="Seconds to join within.")] = 3600,
    internal_ip: Annotated[str, typer.Option("--internalIP", help="The machine's own address.")] = "",
    revision: Annotated[str, typer.Option("-r", "--revision", help="Revision of the control plane.")] = "default",
) -> None:
    """Write the files that a machine joins the mesh with; copy them to it and run `isthmus agent vm`.

    isthmus workload entry configure -f group.yaml --clusterID east -o vm-files --context east
    """
    group = _read(file)
    values = MachineValues(
        cluster=cluster_id,
        group=group,
        addresses=tuple(ingress_ip or ()),
        namespace=system_namespace,
        revision=revision,
        auto_register=autoregister,
        capture_dns=capture_dns,
        internal_ip=internal_ip,
    )
    found = run(_gather(kubeconfig, context, values, ingress_service=ingress_service, seconds=token_duration))
    write(output, found)
    print(f"{', '.join(found)} are in {output}; istio-token is good for {token_duration} s")


def _read(file: Path) -> dict[str, Any]:
    try:
        documents = [one for one in yaml.safe_load_all(file.read_text()) if isinstance(one, dict)]
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {file}: {error}", "Give the WorkloadGroup as YAML") from None
    found = [one for one in documents if one.get("kind") == "WorkloadGroup"]
    if len(found) != 1:
        raise UsageError(f"{file} holds {len(found)} WorkloadGroups", "Give a file with one")
    read_group(found[0])
    return dict(found[0])


async def _gather(
    kubeconfig: str, context: str, values: MachineValues, *, ingress_service: str, seconds: int
) -> dict[str, str]:
    async with await connect(kubeconfig, context) as client:
        return await make(client, values, ingress_service=ingress_service, seconds=seconds)


async def make(client: KubeClient, values: MachineValues, *, ingress_service: str, seconds: int) -> dict[str, str]:
    """The files, with what only the cluster knows. Raises UsageError, KubeError or UnreachableError."""
    group = read_group(values.group)
    addresses = values.addresses or await _addresses(client, values.namespace, ingress_service)
    mesh, network, roots, token = await asyncio.gather(
        _mesh(client, values.namespace),
        _network(client, values.namespace, group),
        _roots(client, values.namespace),
        _token(client, group, seconds),
    )
    config = mesh.get("defaultConfig")
    mesh_id = str(config.get("meshId") or "") if isinstance(config, dict) else ""
    complete = MachineValues(
        cluster=values.cluster,
        group=values.group,
        addresses=tuple(addresses),
        network=network,
        mesh_id=mesh_id or values.mesh_id,
        trust_domain=str(mesh.get("trustDomain") or values.trust_domain),
        namespace=values.namespace,
        revision=values.revision,
        auto_register=values.auto_register,
        capture_dns=values.capture_dns,
        internal_ip=values.internal_ip,
    )
    return machine.files(complete, roots=roots, token=token)


async def _addresses(client: KubeClient, namespace: str, name: str) -> Sequence[str]:
    found = await client.find(SERVICES, namespace, name)
    addresses = machine.service_addresses(found or {})
    if not addresses:
        message = f"Service {namespace}/{name} {'has no address' if found else 'does not exist'}"
        raise UsageError(message, "Install a gateway that exposes the control plane, or give --ingressIP")
    return addresses


async def _mesh(client: KubeClient, namespace: str) -> dict[str, Any]:
    found = await client.find(CONFIG_MAPS, namespace, "istio")
    try:
        document = yaml.safe_load(((found or {}).get("data") or {}).get("mesh") or "{}")
    except yaml.YAMLError as error:
        raise UsageError(
            f"the mesh configuration in ConfigMap {namespace}/istio is not YAML ({error})", "Mend it"
        ) from None
    return document if isinstance(document, dict) else {}


async def _network(client: KubeClient, namespace: str, group: Group) -> str:
    """The group's network, else the cluster's."""
    if group.network:
        return group.network
    found = await client.find(NAMESPACES, "", namespace)
    return str((((found or {}).get("metadata") or {}).get("labels") or {}).get(NETWORK_LABEL, ""))


async def _roots(client: KubeClient, namespace: str) -> str:
    found = await client.find(CONFIG_MAPS, namespace, ROOT_CONFIG_MAP)
    roots = str(((found or {}).get("data") or {}).get("root-cert.pem", ""))
    if not roots:
        message = f"there are no roots in ConfigMap {namespace}/{ROOT_CONFIG_MAP}"
        raise UsageError(message, "Check --context: the control plane writes them")
    return roots


async def _token(client: KubeClient, group: Group, seconds: int) -> str:
    account = group.service_account
    if await client.find(SERVICE_ACCOUNTS, group.namespace, account) is None:
        message = f"there is no service account {group.namespace}/{account}"
        raise UsageError(message, f"Create it: kubectl create serviceaccount -n {group.namespace} {account}")
    request = create_request(
        SERVICE_ACCOUNTS,
        machine.token_request(seconds),
        namespace=group.namespace,
        name=account,
        subresource="token",
    )
    return str((await client.json(request))["status"]["token"])


def write(directory: Path, found: dict[str, str]) -> None:
    """Write the files; the token for its owner only."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in found.items():
        mode = 0o600 if name in machine.SECRET_FILES else 0o644
        target = directory / name
        target.unlink(missing_ok=True)
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
