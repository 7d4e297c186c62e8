"""`isthmus remote-clusters`: what each control plane knows of each cluster, now."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from isthmus.cli.output import Cell, Colour, Format, age, json, table, warn
from isthmus.cli.reach import Answer, Context, Kubeconfig, SystemNamespace, ask_all_istiods, connect, run
from isthmus.ingest.place import SYSTEM_NAMESPACE

app = typer.Typer(add_completion=False)

HEADERS = ("NAME", "SECRET", "STATUS", "ISTIOD", "STANDING", "GATEWAY", "DATA PLANE", "LAST CONTACT", "LAST ERROR")
_COLOURS = {"synced": Colour.GOOD, "syncing": Colour.UNSURE}


@app.command()
def remote_clusters(
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    namespace: SystemNamespace = SYSTEM_NAMESPACE,
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print.")] = Format.TABLE,
) -> None:
    """List the clusters that each control plane reads: contact, how they stand, and errors, as they are now.

    STANDING is what proxies are told; isthmus events says why. GATEWAY and DATA PLANE are what probes of its gateways
    and the calls of other clusters' proxies say of it.
    """
    answers = run(_ask(kubeconfig, context, namespace))
    found = [answer for answer in answers if answer.error is None]
    for answer in answers:
        if answer.error is not None and found:
            warn(str(answer.error))
    if not found:
        raise next(answer.error for answer in answers if answer.error is not None)
    if output is Format.JSON:
        json([entry for answer in found for entry in as_json(answer)])
    else:
        table(HEADERS, (as_row(answer.istiod, entry, time.time()) for answer in found for entry in entries(answer)))


async def _ask(kubeconfig: str, context: str, namespace: str) -> list[Answer]:
    async with await connect(kubeconfig, context) as client:
        return await ask_all_istiods(client, namespace, "/debug/clusterz")


def entries(answer: Answer) -> list[dict[str, Any]]:
    """The clusters in one answer."""
    return list(answer.body["clusters"])


def as_row(istiod: str, entry: dict[str, Any], now: float) -> tuple[str, ...]:
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
        istiod,
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
            "server": entry["server"],
            "config": entry["config"],
            "stale": entry["stale"],
            "rows": entry["rows"],
            "lastContact": _timestamp(entry["last_contact"]),
            "lastError": entry["last_error"],
            "liveness": entry.get("liveness"),
        }
        for entry in entries(answer)
    ]


def _timestamp(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
