"""`isthmus check`: is the mesh as it should be, over all clusters; with --precheck: may it be installed."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import groupby
from typing import Annotated

import typer

from isthmus.base.errors import ExitCode, UsageError
from isthmus.checks import every
from isthmus.checks.finding import Finding, Level
from isthmus.checks.networks import MTLS_PORT
from isthmus.checks.snapshot import Snapshot
from isthmus.cli.output import Cell, Colour, Format, json
from isthmus.cli.reach import Kubeconfig, SystemNamespace, connect, run
from isthmus.edge.look_around import look, look_before, probe
from isthmus.ingest.place import SYSTEM_NAMESPACE

app = typer.Typer(add_completion=False)

_MARKS = {Level.GOOD: ("√", Colour.GOOD), Level.WARNING: ("‼", Colour.UNSURE), Level.ERROR: ("×", Colour.BAD)}

EXAMPLES = """Examples:

  isthmus check --contexts east,west             the mesh of two clusters, as it is now

  isthmus check --precheck --contexts north      may a mesh be installed there

  isthmus check --contexts east,west -o json     for a pipeline: exit code 1 if something is wrong
"""


@app.command(epilog=EXAMPLES)
def check(
    contexts: Annotated[
        str, typer.Option(help="Contexts of the clusters, with commas; the current one if empty.")
    ] = "",
    kubeconfig: Kubeconfig = "",
    namespace: SystemNamespace = SYSTEM_NAMESPACE,
    precheck: Annotated[bool, typer.Option("--precheck", help="Check clusters before an installation.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show what is good one by one.")] = False,
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print.")] = Format.TABLE,
) -> None:
    """Look for what is wrong, or will be, over all clusters: access, clocks, trust, secrets, networks, services, …

    Every finding names its consequence and what to do. Exit code 1: something is wrong; 3: a cluster cannot be asked.
    """
    names = [name.strip() for name in contexts.split(",") if name.strip()] or [""]
    if len(set(names)) != len(names):
        raise UsageError(f"--contexts names one twice: {contexts}", "Name each context once")
    snapshots = run(_gather(kubeconfig, names, namespace, precheck=precheck))
    found = list(every.precheck(snapshots) if precheck else every.installed(snapshots, time.time()))
    if output is Format.JSON:
        json([asdict(finding) for finding in found])
    else:
        show(found, verbose=verbose)
    if any(one.errors and not one.objects for one in snapshots):
        raise typer.Exit(ExitCode.UNREACHABLE)
    if any(finding.level is Level.ERROR for finding in found):
        raise typer.Exit(ExitCode.PROBLEMS)


async def _gather(kubeconfig: str, contexts: Sequence[str], namespace: str, *, precheck: bool) -> list[Snapshot]:
    clients = [await connect(kubeconfig, context) for context in contexts]
    try:
        read = look_before if precheck else look
        labels = [context or "current context" for context in contexts]
        pairs = zip(clients, labels, strict=True)
        snapshots = list(await asyncio.gather(*(read(client, name, namespace=namespace) for client, name in pairs)))
        if precheck:
            return snapshots
        probes = await asyncio.gather(
            *(probe(client, one, snapshots, MTLS_PORT) for client, one in zip(clients, snapshots, strict=True))
        )
        return [replace(one, probes=found) for one, found in zip(snapshots, probes, strict=True)]
    finally:
        await asyncio.gather(*(client.aclose() for client in clients))


def show(found: Sequence[Finding], *, verbose: bool) -> None:
    """Print findings by category; what is good in one line each only if asked for, or if it is all there is to say."""
    for category, group in groupby(found, key=lambda finding: finding.category):
        findings = list(group)
        good = [finding for finding in findings if finding.level is Level.GOOD]
        print(category)
        if verbose or len(good) <= 2:
            shown = findings
        else:
            shown = [finding for finding in findings if finding.level is not Level.GOOD]
            _line(Level.GOOD, f"{len(good)} checks passed")
        for finding in shown:
            _line(finding.level, f"{', '.join(finding.clusters)}: {finding.message}")
            for name, text in (("effect", finding.effect), ("remedy", finding.remedy)):
                if text:
                    print(f"    {name}: {text}")
        print()
    counts = {level: sum(finding.level is level for finding in found) for level in Level}
    errors, warnings = counts[Level.ERROR], counts[Level.WARNING]
    print(
        f"{_counted(counts[Level.GOOD], 'check')} passed, {_counted(warnings, 'warning')}, {_counted(errors, 'error')}"
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _line(level: Level, text: str) -> None:
    mark, colour = _MARKS[level]
    cell = Cell(mark, colour)
    print(f"  {_painted(cell)} {text}")


def _painted(cell: Cell) -> str:
    return f"\x1b[{cell.colour}m{cell}\x1b[0m" if sys.stdout.isatty() else str(cell)
