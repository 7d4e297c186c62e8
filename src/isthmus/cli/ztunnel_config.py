"""`isthmus ztunnel-config`: what a ztunnel is to have by the word of its control plane, or has by its own dump."""

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.base.errors import IsthmusError, UsageError
from isthmus.cli import config_dump, ztunnel_dump
from isthmus.cli.output import Format, json, table
from isthmus.cli.reach import Answer, Context, Kubeconfig, SystemNamespace, ask_all_istiods, connect, run
from isthmus.ingest.place import SYSTEM_NAMESPACE

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Show what a ztunnel has: services, workloads, policies, certificates.\n\n"
    "Without a dump in a file the control plane is asked what the ztunnel is to have.",
)

Ztunnel = Annotated[str, typer.Argument(help="<pod>.<namespace> of a ztunnel; default: any that is connected.")]
DumpFile = Annotated[
    Path | None, typer.Option("-f", "--file", help="What ztunnel's /config_dump answered, in a file; - is stdin.")
]
Output = Annotated[Format, typer.Option("-o", "--output", help="How to print.")]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a dump comes from: a file, else a control plane."""

    ztunnel: str
    file: Path | None
    kubeconfig: str
    context: str
    namespace: str


@app.command("service")
@app.command("services", hidden=True)
def service(  # noqa: PLR0917  (each is a flag)
    ztunnel: Ztunnel = "",
    service_namespace: Annotated[str, typer.Option(help="Only services of this namespace.")] = "",
    file: DumpFile = None,
    output: Output = Format.TABLE,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    istio_namespace: SystemNamespace = SYSTEM_NAMESPACE,
) -> None:
    """Services with their addresses, waypoints, and how many of their endpoints are healthy.

    isthmus ztunnel-config service --service-namespace sample
    """
    dump = _get(_Source(ztunnel, file, kubeconfig, context, istio_namespace))
    rows = ztunnel_dump.service_rows(dump, namespace=service_namespace)
    _print(dump, "services", output, ztunnel_dump.SERVICE_HEADERS, rows)


@app.command("workload")
@app.command("workloads", hidden=True)
def workload(  # noqa: PLR0913, PLR0917  (each is a flag)
    ztunnel: Ztunnel = "",
    workload_namespace: Annotated[str, typer.Option(help="Only workloads of this namespace.")] = "",
    workload_node: Annotated[str, typer.Option(help="Only workloads on this node.")] = "",
    address: Annotated[str, typer.Option(help="Only the workload with this address.")] = "",
    file: DumpFile = None,
    output: Output = Format.TABLE,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    istio_namespace: SystemNamespace = SYSTEM_NAMESPACE,
) -> None:
    """Workloads and how they are reached: HBONE, or TCP as they are.

    isthmus ztunnel-config workload --workload-node node-1
    """
    dump = _get(_Source(ztunnel, file, kubeconfig, context, istio_namespace))
    rows = ztunnel_dump.workload_rows(dump, namespace=workload_namespace, node=workload_node, address=address)
    _print(dump, "workloads", output, ztunnel_dump.WORKLOAD_HEADERS, rows)


@app.command("policy")
@app.command("policies", hidden=True)
def policy(  # noqa: PLR0917  (each is a flag)
    ztunnel: Ztunnel = "",
    policy_namespace: Annotated[str, typer.Option(help="Only policies of this namespace.")] = "",
    file: DumpFile = None,
    output: Output = Format.TABLE,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    istio_namespace: SystemNamespace = SYSTEM_NAMESPACE,
) -> None:
    """Policies as ztunnel knows them, those made of PeerAuthentication among them."""
    dump = _get(_Source(ztunnel, file, kubeconfig, context, istio_namespace))
    rows = ztunnel_dump.policy_rows(dump, namespace=policy_namespace)
    _print(dump, "policies", output, ztunnel_dump.POLICY_HEADERS, rows)


@app.command("certificate", no_args_is_help=True)
@app.command("certificates", hidden=True)
def certificate(file: DumpFile = None, output: Output = Format.TABLE) -> None:
    """Certificates that a ztunnel has. Only its own dump knows them.

    kubectl -n istio-system port-forward ztunnel-x 15000 & curl -s localhost:15000/config_dump |
    isthmus ztunnel-config certificate -f -
    """
    if file is None:
        raise UsageError("certificates are in ztunnel's own dump only", "Give it with --file")
    dump = _get(_Source("", file, "", "", ""))
    rows = ztunnel_dump.certificate_rows(dump, time.time())
    _print(dump, "certificates", output, ztunnel_dump.CERTIFICATE_HEADERS, rows)


def _print(
    dump: ztunnel_dump.Json, part: str, output: Format, headers: Sequence[str], rows: Iterable[tuple[str, ...]]
) -> None:
    if output is Format.JSON:
        json(list(dump.get(part, ())))
    else:
        table(headers, rows)


def _get(source: _Source) -> ztunnel_dump.Json:
    if source.file is None:
        return ztunnel_dump.from_control_plane(run(_ask(source)))
    try:
        data = sys.stdin.buffer.read() if str(source.file) == "-" else source.file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {source.file} ({error.strerror})", "Give the file of a dump") from error
    return config_dump.parse(data, str(source.file))


async def _ask(source: _Source) -> dict[str, Any]:
    async with await connect(source.kubeconfig, source.context) as client:
        name = source.ztunnel or connected(await ask_all_istiods(client, source.namespace, "/debug/syncz"))
        answers = await ask_all_istiods(client, source.namespace, f"/debug/config_dump?proxyID={name}")
    for answer in answers:
        if answer.error is None:
            return dict(answer.body)
    raise next(answer.error for answer in answers if answer.error is not None)


def connected(answers: Iterable[Answer]) -> str:
    """The first ztunnel that follows workloads. Raises IsthmusError."""
    for answer in answers:
        for proxy in answer.body["proxies"] if answer.error is None else ():
            if any(one["type"] == "WDS" for one in proxy["types"]):
                return str(proxy["proxy"])
    raise IsthmusError("no ztunnel is connected", "isthmus proxy-status shows who is; or give a dump with --file")
