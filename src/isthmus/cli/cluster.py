"""`isthmus cluster`: list clusters as they stand; drain, cordon and take them back."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from isthmus.base.errors import ExitCode, IsthmusError
from isthmus.cli import drain as draining
from isthmus.cli.drain import DrainStoppedError, Progress, preview, print_preview
from isthmus.cli.output import Cell, Colour, Format, json, table
from isthmus.cli.places import Place, Seen, ask, declare, declared_states, places, split_contexts, standings
from isthmus.cli.reach import Kubeconfig, SystemNamespace, run
from isthmus.ingest.place import SYSTEM_NAMESPACE

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The clusters of the mesh: list, drain, cordon.")

Contexts = Annotated[
    list[str] | None,
    typer.Option("--contexts", "--context", help="Clusters with control planes: east,west. Default: the current one."),
]
Name = Annotated[str, typer.Argument(help="The cluster's name in the mesh, as isthmus cluster list shows it.")]
Output = Annotated[Format, typer.Option("-o", "--output", help="How to print.")]

HEADERS = ("CLUSTER", "STATE", "REQUIRED", "SEEN BY", "STANDING", "API SERVER", "GATEWAY", "DATA PLANE", "REASON")
_HEALTH = {"good": Colour.GOOD, "bad": Colour.BAD}


class RefusedError(IsthmusError):
    """Draining would leave services without another home."""


@app.callback()
def _group() -> None:
    """The clusters of the mesh: list, drain, cordon."""


@app.command("list")
def list_clusters(
    kubeconfig: Kubeconfig = "",
    contexts: Contexts = None,
    namespace: SystemNamespace = SYSTEM_NAMESPACE,
    output: Output = Format.TABLE,
) -> None:
    """List clusters: what is declared of them, and how each control plane says that they stand, and why.

      isthmus cluster list --contexts east,west

    Exit code 1: a required cluster was never reached.
    """

    async def work() -> list[Seen]:
        async with places(kubeconfig, split_contexts(contexts or ()), namespace) as found:
            return await ask(found, "/debug/liveness")

    entries = [(one, entry) for one in run(work()) for entry in one.body["clusters"]]
    if output is Format.JSON:
        json([{"context": one.context, "istiod": one.istiod, **entry} for one, entry in entries])
    else:
        rows = [_row(one, entry) for one, entry in entries]
        table(HEADERS, sorted(rows, key=lambda row: (row[0], row[3])))
    if any(entry["required"] and not entry["reached"] for _, entry in entries):
        raise typer.Exit(ExitCode.PROBLEMS)


def _row(one: Seen, entry: Mapping[str, Any]) -> tuple[str, ...]:
    signals = [entry["signals"][name]["health"] for name in ("apiServer", "gateway", "dataPlane")]
    standing = entry["standing"]
    return (
        entry["cluster"],
        entry["state"] if entry["declared"] else "-",
        "yes" if entry["required"] else "no",
        one.by,
        Cell(standing, Colour.GOOD if standing == "active" else Colour.UNSURE),
        *(Cell(health, _HEALTH.get(health)) for health in signals),
        "" if standing == "active" else entry["reason"],
    )


@app.command()
def drain(  # noqa: PLR0913, PLR0917  (each is a flag)
    name: Name,
    kubeconfig: Kubeconfig = "",
    contexts: Contexts = None,
    namespace: SystemNamespace = SYSTEM_NAMESPACE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would move, and change nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also if services have no other home: they stay.")] = False,
    over: Annotated[str, typer.Option(help="How long the steps take, such as 20s; default: as declared.")] = "",
    steps: Annotated[int, typer.Option(help="How many steps; 0: as declared.", min=0, max=100)] = 0,
    max_failing: Annotated[
        int, typer.Option(help="Percent of proxies that may have trouble elsewhere; -1: as declared.", min=-1, max=100)
    ] = -1,
    timeout: Annotated[float, typer.Option(help="How long to wait, in seconds.", min=1)] = 300.0,
    output: Output = Format.TABLE,
) -> None:
    """Move the traffic of a cluster to the others, in steps, without a failed request; then it can be taken down.

    Tells first what moves where. Refuses if a service runs nowhere else, unless --force: such a service is served by
    the cluster on. Stops and undoes everything if callers have trouble with the other clusters, or those die.

      isthmus cluster drain west --contexts east,west --dry-run

      isthmus cluster drain west --contexts east,west --over 1m --steps 10

    Name all clusters with control planes: each decides for its own proxies. Exit code 1: refused, or stopped.
    """
    plan = {"over": over, "steps": steps, "maxFailingPercent": max_failing if max_failing >= 0 else None}
    chosen = {key: value for key, value in plan.items() if value not in ("", 0, None) or (key, value) == _NONE_MAY}
    spec = {"drain": chosen} if chosen else {}
    quiet = output is Format.JSON

    async def work() -> None:
        async with places(kubeconfig, split_contexts(contexts or ()), namespace) as found:
            standings(await ask(found, "/debug/liveness"), name)
            told = await preview(found, name)
            if quiet:
                json([{"callersIn": one.callers, "moves": one.moves} for one in told])
            else:
                print_preview(told)
            homeless = sorted({service for one in told for service in one.homeless})
            if homeless and not force:
                raise RefusedError(
                    f"{len(homeless)} services have no other home: {', '.join(homeless)}",
                    "Run them elsewhere, too, or use --force: they are then served from there on",
                )
            if not dry_run:
                await _drain(found, name, spec, quiet=quiet, settle=not homeless, patience=timeout)

    run(work())


_NONE_MAY = ("maxFailingPercent", 0)


async def _drain(
    found: Sequence[Place], name: str, spec: Mapping[str, Any], *, quiet: bool, settle: bool, patience: float
) -> None:
    before = await declared_states(found, name)
    await draining.drain(found, name, spec, before=before)
    progress = Progress(found, name, quiet)
    try:
        await progress.until(drained=True, wait_for_connections=settle, patience=patience)
    except DrainStoppedError:
        await draining.restore(found, name, before)
        raise
    if not quiet:
        print(f"cluster {name} is drained; isthmus cluster undrain {name} takes it back")


@app.command()
def undrain(
    name: Name,
    kubeconfig: Kubeconfig = "",
    contexts: Contexts = None,
    namespace: SystemNamespace = SYSTEM_NAMESPACE,
    wait: Annotated[bool, typer.Option(help="Wait until it has all of its traffic.")] = True,
    timeout: Annotated[float, typer.Option(help="How long to wait, in seconds.", min=1)] = 300.0,
) -> None:
    """Give a drained or cordoned cluster its traffic back, in the steps in which it was taken away.

    isthmus cluster undrain west --contexts east,west
    """

    async def work() -> None:
        async with places(kubeconfig, split_contexts(contexts or ()), namespace) as found:
            await _declare_all(found, name, "active")
            if wait:
                await Progress(found, name, quiet=False).until(
                    drained=False, wait_for_connections=False, patience=timeout
                )
            print(f"cluster {name} is active")

    run(work())


@app.command()
def cordon(
    name: Name, kubeconfig: Kubeconfig = "", contexts: Contexts = None, namespace: SystemNamespace = SYSTEM_NAMESPACE
) -> None:
    """Let a cluster keep what it serves, but let nothing fail over to it while another cluster is left.

    isthmus cluster cordon west --contexts east,west
    """
    run(_set(kubeconfig, contexts, namespace, name, "cordoned"))


@app.command()
def uncordon(
    name: Name, kubeconfig: Kubeconfig = "", contexts: Contexts = None, namespace: SystemNamespace = SYSTEM_NAMESPACE
) -> None:
    """Undo cordon.

    isthmus cluster uncordon west --contexts east,west
    """
    run(_set(kubeconfig, contexts, namespace, name, "active"))


async def _set(kubeconfig: str, contexts: list[str] | None, namespace: str, name: str, state: str) -> None:
    async with places(kubeconfig, split_contexts(contexts or ()), namespace) as found:
        await _declare_all(found, name, state)
    print(f"cluster {name} is declared {state}")


async def _declare_all(found: Sequence[Place], name: str, state: str) -> None:
    standings(await ask(found, "/debug/liveness"), name)
    for place in found:
        await declare(place, name, {"state": state})
