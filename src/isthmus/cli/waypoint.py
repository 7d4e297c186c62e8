"""`isthmus waypoint`: make, list and remove the waypoints of namespaces."""

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from isthmus.base.errors import IsthmusError, UnreachableError, UsageError
from isthmus.base.labels import USE_WAYPOINT_LABEL, USE_WAYPOINT_NAMESPACE_LABEL, WAYPOINT_FOR_LABEL
from isthmus.cli.output import Cell, Colour, table
from isthmus.cli.reach import Context, Kubeconfig, connect, run
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.install.manifests import render
from isthmus.install.values import REVISION_LABEL, Manifest
from isthmus.install.waypoint import DEFAULT_NAME, waypoint
from isthmus.kube.requests import NAMESPACES, Resource, Scope
from isthmus.model.managed import WAYPOINT_CLASS

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Waypoints: HTTP routing and policy for ambient services."
)

GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways")
MANAGER = "isthmus-waypoint"
POLL_SECONDS = 0.5

LIST = ("NAME", "REVISION", "TRAFFIC TYPE", "PROGRAMMED")
STATUS = ("NAME", "STATUS", "TYPE", "REASON", "MESSAGE")


class For(StrEnum):
    """Values of `--for`."""

    SERVICE = "service"
    WORKLOAD = "workload"
    ALL = "all"
    NONE = "none"


Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Namespace of the waypoint.")]
Name = Annotated[str, typer.Option("--name", help="Name of the waypoint.")]
Serves = Annotated[For | None, typer.Option("--for", help="Whose calls it takes; default: those of services.")]
Revision = Annotated[str, typer.Option("-r", "--revision", help="Revision of the control plane that makes it.")]
Every = Annotated[bool, typer.Option("-A", "--all-namespaces", help="Those of every namespace.")]


class NotProgrammedError(IsthmusError):
    """A waypoint is not ready, which is what `status` was asked."""


@app.callback()
def _group() -> None:
    """Waypoints: HTTP routing and policy for ambient services."""


@app.command()
def generate(
    namespace: Namespace = "default",
    name: Name = DEFAULT_NAME,
    serves: Serves = None,
    revision: Revision = "",
) -> None:
    """Print the Gateway of a waypoint; touch no cluster.

    isthmus waypoint generate -n shop --for all | kubectl apply -f -
    """
    print(render([waypoint(name, namespace, serves=serves.value if serves else "", revision=revision)]), end="")


@app.command()
def apply(  # noqa: PLR0913, PLR0917 - the options of the command
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    namespace: Namespace = "default",
    name: Name = DEFAULT_NAME,
    serves: Serves = None,
    revision: Revision = "",
    enroll_namespace: Annotated[
        bool, typer.Option("--enroll-namespace", help="Send the calls of all its services through the waypoint.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Even if the namespace goes through another waypoint now.")
    ] = False,
    wait: Annotated[bool, typer.Option("-w", "--wait", help="Wait until it is programmed.")] = False,
    waypoint_timeout: Annotated[float, typer.Option(help="How long to wait, in seconds.", min=1)] = 90.0,
) -> None:
    """Make a waypoint.

    isthmus waypoint apply -n shop --enroll-namespace --wait
    """
    made = waypoint(name, namespace, serves=serves.value if serves else "", revision=revision)

    async def work() -> None:
        async with await connect(kubeconfig, context) as client:
            if enroll_namespace:
                await _may_enroll(client, namespace, name, overwrite=overwrite)
            await _write(client, made)
            print(f"waypoint {namespace}/{name} applied")
            if wait:
                await _programmed(client, namespace, name, within=waypoint_timeout)
            if enroll_namespace:
                labels = {USE_WAYPOINT_LABEL: name, USE_WAYPOINT_NAMESPACE_LABEL: None}
                await client.patch(NAMESPACES, {"metadata": {"labels": labels}}, namespace="", name=namespace)
                print(f"namespace {namespace} labeled with {USE_WAYPOINT_LABEL}: {name}")

    run(work())


async def _may_enroll(client: KubeClient, namespace: str, name: str, *, overwrite: bool) -> None:
    """Raises UsageError where there is no such namespace, or it goes through another waypoint."""
    found = await client.find(NAMESPACES, "", namespace)
    if found is None:
        raise _no_namespace(namespace)
    before = (found["metadata"].get("labels") or {}).get(USE_WAYPOINT_LABEL, name)
    if before != name and not overwrite:
        raise UsageError(f"namespace {namespace} goes through waypoint {before} now", "Add --overwrite to change that")


async def _write(client: KubeClient, made: Manifest) -> None:
    """Write the Gateway. Raises UsageError where there is no such namespace."""
    namespace = made["metadata"]["namespace"]
    try:
        await client.apply(GATEWAYS, made, manager=MANAGER)
    except KubeError as error:
        if error.status == 404 and await client.find(NAMESPACES, "", namespace) is None:
            raise _no_namespace(namespace) from error
        raise


def _no_namespace(name: str) -> UsageError:
    return UsageError(f"there is no namespace {name}", f"Make it first: kubectl create namespace {name}")


async def _programmed(client: KubeClient, namespace: str, name: str, *, within: float) -> None:
    """Wait until the waypoint serves. Raises UnreachableError with what is said of it."""
    found: Mapping[str, Any] = {}
    try:
        async with asyncio.timeout(within):
            while True:
                found = _condition(await client.get(GATEWAYS, namespace, name), "Programmed")
                if found.get("status") == "True":
                    print(f"waypoint {namespace}/{name} is ready")
                    return
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        why = found.get("message") or "the control plane said nothing of it"
        raise UnreachableError(
            f"waypoint {namespace}/{name} is not ready after {within:g} s: {why}",
            f"See isthmus waypoint status -n {namespace}",
        ) from None


@app.command()
def delete(
    names: Annotated[list[str] | None, typer.Argument(help="Names of waypoints.")] = None,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    namespace: Namespace = "default",
    everything: Annotated[bool, typer.Option("--all", help="All of the namespace.")] = False,
) -> None:
    """Remove waypoints. What is labelled to go through them is called directly then.

    isthmus waypoint delete waypoint -n shop
    """
    if bool(names) == everything:
        raise UsageError("say which waypoints to delete", "Name them, or give --all")

    async def work() -> None:
        async with await connect(kubeconfig, context) as client:
            known = {str(one["metadata"]["name"]) for one in await _waypoints(client, namespace)}
            wanted = sorted(known) if everything else names or []
            missing = [name for name in wanted if name not in known]
            if missing:
                raise UsageError(
                    f"{', '.join(missing)}: no waypoint in namespace {namespace}",
                    f"See isthmus waypoint list -n {namespace}",
                )
            for name in wanted:
                await client.delete(GATEWAYS, namespace, name)
                print(f"waypoint {namespace}/{name} deleted")

    run(work())


@app.command("list")
def list_waypoints(
    kubeconfig: Kubeconfig = "", context: Context = "", namespace: Namespace = "default", every: Every = False
) -> None:
    """List waypoints.

    isthmus waypoint list -A
    """
    found = run(_found(kubeconfig, context, "" if every else namespace))
    if not found:
        print("No waypoints found.")
        return
    _table(every, LIST, ((one, _listed(one)) for one in found))


@app.command()
def status(
    kubeconfig: Kubeconfig = "", context: Context = "", namespace: Namespace = "default", every: Every = False
) -> None:
    """Say of each waypoint whether it serves, and why not.

      isthmus waypoint status -n shop

    Exit code 1: one does not.
    """
    found = run(_found(kubeconfig, context, "" if every else namespace))
    if not found:
        print("No waypoints found.")
        return
    _table(every, STATUS, ((one, row) for one in found for row in _conditions(one)))
    late = [str(one["metadata"]["name"]) for one in found if _condition(one, "Programmed").get("status") != "True"]
    if late:
        raise NotProgrammedError(f"not programmed: {', '.join(late)}", "The column MESSAGE says why")


async def _found(kubeconfig: str, context: str, namespace: str) -> list[dict[str, Any]]:
    async with await connect(kubeconfig, context) as client:
        return await _waypoints(client, namespace)


async def _waypoints(client: KubeClient, namespace: str) -> list[dict[str, Any]]:
    found = await client.list(GATEWAYS, Scope(namespace))
    mine = [one for one in found if (one.get("spec") or {}).get("gatewayClassName") == WAYPOINT_CLASS]
    return sorted(mine, key=lambda one: (one["metadata"].get("namespace", ""), one["metadata"]["name"]))


def _table(every: bool, headers: Sequence[str], rows: Any) -> None:
    lines = [((str(one["metadata"].get("namespace", "")),) if every else ()) + tuple(row) for one, row in rows]
    table(("NAMESPACE", *headers) if every else headers, lines)


def _listed(one: Mapping[str, Any]) -> Sequence[str]:
    labels = one["metadata"].get("labels") or {}
    state = str(_condition(one, "Programmed").get("status", "Unknown"))
    colour = Colour.GOOD if state == "True" else Colour.BAD
    return (
        str(one["metadata"]["name"]),
        str(labels.get(REVISION_LABEL, "default")),
        str(labels.get(WAYPOINT_FOR_LABEL, For.SERVICE)),
        Cell(state, colour),
    )


def _conditions(one: Mapping[str, Any]) -> list[Sequence[str]]:
    """A row for each condition; one without any was seen by nobody."""
    name = str(one["metadata"]["name"])
    found = (one.get("status") or {}).get("conditions") or []
    if not found:
        return [(name, Cell("Unknown", Colour.UNSURE), "Programmed", "Pending", "No control plane has seen it yet")]
    rows: list[Sequence[str]] = []
    for condition in found:
        state = str(condition.get("status", "Unknown"))
        colour = Colour.GOOD if state == "True" else Colour.BAD
        words = [str(condition.get(key, "")) for key in ("type", "reason", "message")]
        rows.append((name, Cell(state, colour), *words))
    return rows


def _condition(one: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = (one.get("status") or {}).get("conditions") or []
    return next((condition for condition in found if condition.get("type") == kind), {})
