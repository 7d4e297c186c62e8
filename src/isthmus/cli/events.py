"""`isthmus events`: what control planes decided about clusters, when, and why."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from isthmus.base.errors import IsthmusError, UsageError
from isthmus.cli.output import Cell, Colour, Format, json, table, warn
from isthmus.cli.reach import Answer, Context, Kubeconfig, SystemNamespace, ask_all_istiods, connect, run
from isthmus.ingest.finding import duration
from isthmus.ingest.place import SYSTEM_NAMESPACE

app = typer.Typer(add_completion=False)

HEADERS = ("TIME", "CLUSTER", "WHAT", "FROM", "TO", "REASON")
WATCH_SECONDS = 1.0
_COLOURS = {"good": Colour.GOOD, "active": Colour.GOOD, "bad": Colour.BAD, "dropped": Colour.BAD, "stopped": Colour.BAD}

Event = dict[str, Any]


@app.command()
def events(  # noqa: PLR0917  (each is a flag)
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    namespace: SystemNamespace = SYSTEM_NAMESPACE,
    since: Annotated[str, typer.Option(help="How far back, such as 10m or 2h; empty: everything kept.")] = "",
    cluster: Annotated[str, typer.Option(help="Only what is about this cluster.")] = "",
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Go on printing what is decided.")] = False,
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print.")] = Format.TABLE,
) -> None:
    """Show when and why clusters were demoted, drained, dropped and taken back.

    Each control plane decides by itself and has its own journal, the last 1000 entries, also over a restart.

      isthmus events --context east --since 10m

      isthmus events --context east --cluster west -w

      isthmus events -o json | jq 'select(.[].what == "standing")'
    """
    seconds = duration(since) if since else 0.0
    if seconds is None:
        raise UsageError(f"--since {since!r} is no duration", "Write a number with a unit, such as 10m or 2h")
    if watch and output is Format.JSON:
        raise UsageError("--watch prints a table only", "Leave out -o json, or ask again and again")
    earliest = time.time() - seconds if since else 0.0
    run(_show(_Query(kubeconfig, context, namespace, cluster, earliest), watch=watch, output=output))


class _Query:
    """Which events are wanted; remembers what was shown."""

    def __init__(self, kubeconfig: str, context: str, namespace: str, cluster: str, earliest: float) -> None:
        self.kubeconfig, self.context, self.namespace = kubeconfig, context, namespace
        self._cluster = cluster
        self._earliest = earliest
        self._shown: set[tuple[str, float, int]] = set()

    @property
    def path(self) -> str:
        """The page of a control plane."""
        return f"/debug/events?since={self._earliest:.3f}"

    def fresh(self, answers: Iterable[Answer]) -> list[Event]:
        """The wanted events that were not shown yet, oldest first."""
        found = [event for event in merged(answers) if not self._cluster or event["cluster"] == self._cluster]
        keys = {(event["istiod"], event["time"], event["number"]): event for event in found}
        fresh = [event for key, event in keys.items() if key not in self._shown]
        self._shown.update(keys)
        return fresh


async def _show(query: _Query, *, watch: bool, output: Format) -> None:
    async with await connect(query.kubeconfig, query.context) as client:
        answers = await ask_all_istiods(client, query.namespace, query.path)
        several = len(answers) > 1
        fresh = query.fresh(_answered(answers))
        if output is Format.JSON:
            json(fresh)
            return
        widths = _print(fresh, several=several, widths=())
        while watch:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                fresh = query.fresh(_answered(await ask_all_istiods(client, query.namespace, query.path), quiet=True))
            except IsthmusError as error:
                warn(str(error))
                continue
            if fresh:
                widths = _print(fresh, several=several, widths=widths)


def _answered(answers: list[Answer], *, quiet: bool = False) -> list[Answer]:
    """Those that answered, with a warning for the others. Raises if nobody did."""
    errors = [answer.error for answer in answers if answer.error is not None]
    if len(errors) == len(answers):
        raise errors[0]
    for error in () if quiet else errors:
        warn(str(error))
    return [answer for answer in answers if answer.error is None]


def merged(answers: Iterable[Answer]) -> list[Event]:
    """The events of several control planes by time, each with the name of who decided."""
    found = [{"istiod": answer.istiod, **event} for answer in answers for event in answer.body["events"]]
    return sorted(found, key=lambda event: (event["time"], event["istiod"], event["number"]))


def as_row(event: Mapping[str, Any], *, several: bool) -> tuple[str, ...]:
    """One line; who decided is told only where several might have."""
    after = str(event["after"])
    shown = (
        datetime.fromtimestamp(event["time"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        event["cluster"],
        event["what"],
        event["before"] or "-",
        Cell(after or "-", _COLOURS.get(after, Colour.UNSURE if after.startswith(("d", "r")) else None)),
        event["reason"],
    )
    return (*shown[:1], event["istiod"], *shown[1:]) if several else shown


def _print(events: list[Event], *, several: bool, widths: tuple[int, ...]) -> tuple[int, ...]:
    """Print lines under those printed before, whose columns go on; returns the widths of the columns."""
    headers = (*HEADERS[:1], "ISTIOD", *HEADERS[1:]) if several else HEADERS
    rows = [as_row(event, several=several) for event in events]
    return table(headers, rows, widths=widths, head=not widths)
