"""`isthmus remote-clusters`: what each control plane knows of each cluster, now."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from isthmus.base.errors import ExitCode
from isthmus.cli.output import Cell, Colour, Format, age, json, table, warn
from isthmus.cli.reach import Answer, Context, Kubeconfig, SystemNamespace, ask_all_istiods, connect, run
from isthmus.ingest.place import SYSTEM_NAMESPACE

app = typer.Typer(add_completion=False)

HEADERS = ("NAME", "SECRET", "STATUS", "ISTIOD", "REVISION", "STANDING", "GATEWAY", "DATA PLANE", "LAST CONTACT",
           "LAST ERROR")  # fmt: skip
SETTLE_SECONDS = 1.0
"""How long replicas have to see the same."""
_COLOURS = {"synced": Colour.GOOD, "syncing": Colour.UNSURE}


@app.command()
def remote_clusters(
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    namespace: SystemNamespace = SYSTEM_NAMESPACE,
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print.")] = Format.TABLE,
) -> None:
    """List the clusters that each control plane reads: contact, how they stand, and errors, as they are now.

    Replicas that see a cluster differently for longer than a moment are told of, and the exit code is 1.

    STANDING is what proxies are told; isthmus events says why. GATEWAY and DATA PLANE are what probes of its gateways
    and the calls of other clusters' proxies say of it.
    """
    answers, differences = run(_ask_twice(kubeconfig, context, namespace))
    found = [answer for answer in answers if answer.error is None]
    for answer in answers:
        if answer.error is not None and found:
            warn(str(answer.error))
    if not found:
        raise next(answer.error for answer in answers if answer.error is not None)
    if output is Format.JSON:
        json([entry for answer in found for entry in as_json(answer)])
    else:
        now = time.time()
        table(HEADERS, (as_row(answer, entry, now) for answer in found for entry in entries(answer)))
    for text in differences:
        warn(text)
    raise typer.Exit(ExitCode.PROBLEMS if differences else ExitCode.GOOD)


async def _ask_twice(kubeconfig: str, context: str, namespace: str) -> tuple[list[Answer], list[str]]:
    """The answers, and where replicas differ in both of two rounds: a change takes a moment to reach all of them."""
    async with await connect(kubeconfig, context) as client:
        answers = await ask_all_istiods(client, namespace, "/debug/clusterz")
        differences = disagreements(answers)
        if differences:
            await asyncio.sleep(SETTLE_SECONDS)
            answers = await ask_all_istiods(client, namespace, "/debug/clusterz")
            differences = [text for text in disagreements(answers) if text in differences]
    return answers, differences


def disagreements(answers: Sequence[Answer]) -> list[str]:
    """Where replicas of a control plane see a cluster differently, or do not know it all: one line a cluster."""
    seen: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
    for answer in answers:
        if answer.error is None:
            known = {entry["id"]: entry["digests"] for entry in entries(answer)}
            seen.setdefault(answer.body["revision"], {})[answer.istiod] = known
    found = []
    for replicas in seen.values():
        for cluster in sorted({name for known in replicas.values() for name in known}):
            missing = sorted(istiod for istiod, known in replicas.items() if cluster not in known)
            there = [known[cluster] for known in replicas.values() if cluster in known]
            kinds = sorted(k for k in there[0] if len({digests.get(k) for digests in there}) > 1)
            if missing:
                found.append(f"cluster {cluster} is not known to {', '.join(missing)}; others of its replicas know it")
            if kinds:
                who = ", ".join(sorted(istiod for istiod, known in replicas.items() if cluster in known))
                found.append(f"{who} do not agree about cluster {cluster}: {', '.join(kinds)} differ")
    return found


def entries(answer: Answer) -> list[dict[str, Any]]:
    """The clusters in one answer."""
    return list(answer.body["clusters"])


def as_row(answer: Answer, entry: dict[str, Any], now: float) -> tuple[str, ...]:
    """One line of the table. Restored rows are told apart: they were not seen again yet."""
    status = entry["status"]
    shown = f"{status} (stale)" if entry["stale"] else status
    contact = entry["last_contact"]
    liveness = entry.get("liveness") or {}
    standing = liveness.get("standing", "unknown")
    since = age(None if contact is None else now - contact)
    return (
        entry["id"],
        entry["secret"],
        Cell(shown, _COLOURS.get(status, Colour.BAD)),
        answer.istiod,
        answer.body["revision"],
        Cell(standing, Colour.GOOD if standing == "active" else Colour.UNSURE),
        _signal(liveness, "gateway"),
        _signal(liveness, "dataPlane"),
        since if contact is None else f"{since} ago",
        entry["last_error"],
    )


def _signal(liveness: dict[str, Any], name: str) -> Cell:
    health = liveness.get("signals", {}).get(name, {}).get("health", "unknown")
    return Cell(health, {"good": Colour.GOOD, "bad": Colour.BAD}.get(health))


def as_json(answer: Answer) -> list[dict[str, Any]]:
    """The clusters of one control plane with the names that istioctl's JSON has, and what it does not tell."""
    return [
        {
            "id": entry["id"],
            "secretName": entry["secret"],
            "syncStatus": entry["status"],
            "istiod": answer.istiod,
            "revision": answer.body["revision"],
            "server": entry["server"],
            "config": entry["config"],
            "stale": entry["stale"],
            "rows": entry["rows"],
            "digests": entry["digests"],
            "lastContact": _timestamp(entry["last_contact"]),
            "lastError": entry["last_error"],
            "liveness": entry.get("liveness"),
        }
        for entry in entries(answer)
    ]


def _timestamp(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
