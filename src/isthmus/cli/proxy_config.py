"""`isthmus proxy-config`: what a proxy really has, out of its own dump."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.base.errors import UsageError
from isthmus.cli import config_dump
from isthmus.cli.config_dump import ClusterFilter, Json
from isthmus.cli.output import Cell, Colour, Format, json, table
from isthmus.cli.proxies import Namespace, ProxyName, ask_proxy, resolve
from isthmus.cli.reach import Context, Kubeconfig, connect, run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Show what a proxy has: clusters, endpoints, listeners, routes, secrets.",
)

Output = Annotated[Format, typer.Option("-o", "--output", help="How to print.")]
DumpFile = Annotated[
    Path | None, typer.Option("-f", "--file", help="A config dump in a file instead of asking a proxy; - is stdin.")
]
PROXY = ""
_BAD = {"UNHEALTHY", "FAILED", "DRAINING", "TIMEOUT", "false"}

DUMP = "/config_dump"
DUMP_WITH_ENDPOINTS = "/config_dump?include_eds"
STATUSES = "/clusters?format=json"


@app.command("cluster", no_args_is_help=True)
@app.command("clusters", hidden=True)
@app.command("c", hidden=True)
def cluster(  # noqa: PLR0913, PLR0917  (each is a flag)
    proxy: ProxyName = PROXY,
    namespace: Namespace = "",
    fqdn: Annotated[str, typer.Option(help="Part of the service's host name.")] = "",
    port: Annotated[int, typer.Option(help="Service port.")] = 0,
    subset: Annotated[str, typer.Option(help="Subset of a DestinationRule.")] = "",
    direction: Annotated[str, typer.Option(help="inbound or outbound.")] = "",
    file: DumpFile = None,
    output: Output = Format.TABLE,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Destinations that the proxy knows."""
    dump = _get(DUMP, _Source(proxy, namespace, file, kubeconfig, context))
    chosen = ClusterFilter(fqdn, port, subset, direction)
    if output is Format.JSON:
        names = (one for one in config_dump.clusters(dump))
        json([one for one in names if chosen.matches(config_dump.cluster_name(one["name"]))])
    else:
        _print(config_dump.CLUSTER_HEADERS, config_dump.cluster_rows(dump, chosen))


@app.command("endpoint", no_args_is_help=True)
@app.command("endpoints", hidden=True)
@app.command("ep", hidden=True)
def endpoint(  # noqa: PLR0913, PLR0917
    proxy: ProxyName = PROXY,
    namespace: Namespace = "",
    address: Annotated[str, typer.Option(help="IP address of the endpoint.")] = "",
    port: Annotated[int, typer.Option(help="Port of the endpoint.")] = 0,
    cluster: Annotated[str, typer.Option(help="Name of the cluster, or a part of it.")] = "",
    status: Annotated[str, typer.Option(help="healthy, unhealthy, ….")] = "",
    file: DumpFile = None,
    output: Output = Format.TABLE,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Endpoints that the proxy sends to, with their health as the proxy sees it."""
    statuses = _get(STATUSES, _Source(proxy, namespace, file, kubeconfig, context))

    def keep(row: tuple[str, ...]) -> bool:
        host, _, number = row[0].rpartition(":")
        return (
            (not address or host.strip("[]") == address)
            and (not port or number == str(port))
            and cluster in row[3]
            and (not status or row[1].lower() == status.lower())
        )

    if output is Format.JSON:
        names = {row[3] for row in config_dump.endpoint_rows(statuses, keep)}
        json([one for one in statuses.get("cluster_statuses", ()) if one["name"] in names])
    else:
        _print(config_dump.ENDPOINT_HEADERS, config_dump.endpoint_rows(statuses, keep))


@app.command("listener", no_args_is_help=True)
@app.command("listeners", hidden=True)
@app.command("l", hidden=True)
def listener(  # noqa: PLR0917
    proxy: ProxyName = PROXY,
    namespace: Namespace = "",
    address: Annotated[str, typer.Option(help="Address that is listened on.")] = "",
    port: Annotated[int, typer.Option(help="Port that is listened on.")] = 0,
    file: DumpFile = None,
    output: Output = Format.TABLE,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Addresses on which the proxy takes connections, and where they lead to.

    Of the listeners that the proxy of a node has in pods, those of the ambient pod that is named; all if it is itself.
    """
    source = _Source(proxy, namespace, file, kubeconfig, context)
    dump, speaks_for = _asked(DUMP, source)
    if output is Format.JSON:
        json([one for one in config_dump.listeners(dump) if config_dump.is_of_pod(one, speaks_for)])
    else:
        rows = config_dump.listener_rows(dump, address=address, port=port, pod=speaks_for)
        _print(config_dump.LISTENER_HEADERS, rows)


@app.command("route", no_args_is_help=True)
@app.command("routes", hidden=True)
@app.command("r", hidden=True)
def route(  # noqa: PLR0917
    proxy: ProxyName = PROXY,
    namespace: Namespace = "",
    name: Annotated[str, typer.Option(help="Name of the route configuration.")] = "",
    file: DumpFile = None,
    output: Output = Format.TABLE,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Routes of HTTP requests."""
    dump = _get(DUMP, _Source(proxy, namespace, file, kubeconfig, context))
    if output is Format.JSON:
        json([one for one in config_dump.routes(dump) if not name or one.get("name") == name])
    else:
        _print(config_dump.ROUTE_HEADERS, config_dump.route_rows(dump, name=name))


@app.command("secret", no_args_is_help=True)
@app.command("secrets", hidden=True)
@app.command("s", hidden=True)
def secret(
    proxy: ProxyName = PROXY,
    namespace: Namespace = "",
    file: DumpFile = None,
    output: Output = Format.TABLE,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Certificates that the proxy uses and trusts."""
    dump = _get(DUMP, _Source(proxy, namespace, file, kubeconfig, context))
    if output is Format.JSON:
        json(dict(config_dump.section(dump, "SecretsConfigDump")))
    else:
        _print(config_dump.SECRET_HEADERS, config_dump.secret_rows(dump, time.time()))


@app.command("all", no_args_is_help=True)
def everything(
    proxy: ProxyName = PROXY,
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """The whole dump as JSON, with endpoints."""
    json(dict(_get(DUMP_WITH_ENDPOINTS, _Source(proxy, namespace, None, kubeconfig, context))))


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a dump comes from: a file, else a proxy."""

    proxy: str
    namespace: str
    file: Path | None
    kubeconfig: str
    context: str


def _get(path: str, source: _Source) -> Json:
    return _asked(path, source)[0]


def _asked(path: str, source: _Source) -> tuple[Json, str]:
    """A dump, and the uid of the ambient pod for which the proxy that was asked speaks, if one was named."""
    if source.file is not None:
        data = sys.stdin.buffer.read() if str(source.file) == "-" else _read(source.file)
        return config_dump.parse(data, str(source.file)), ""
    if not source.proxy:
        raise UsageError("no proxy is named", "Give <pod>.<namespace>, or a dump with --file")
    answer, speaks_for = run(_ask(path, source))
    return config_dump.parse(answer, f"the answer of {source.proxy}"), speaks_for


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file} ({error.strerror})", "Give the file of a config dump") from error


async def _ask(path: str, source: _Source) -> tuple[bytes, str]:
    async with await connect(source.kubeconfig, source.context) as client:
        pod = await resolve(client, source.proxy, source.namespace)
        return await ask_proxy(client, pod, path), pod.speaks_for


def _print(headers: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    table(headers, [[_coloured(cell) for cell in row] for row in rows])


def _coloured(cell: str) -> Any:
    return Cell(cell, Colour.BAD) if cell in _BAD else cell
