"""`isthmus proxy-status`: which proxies are connected, and whether they have what they should."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import typer

from isthmus.base.errors import ExitCode, UnreachableError
from isthmus.cli import config_dump
from isthmus.cli.output import Cell, Colour, Format, age, json, table, warn
from isthmus.cli.proxies import Namespace, PodName, ask_proxy, resolve
from isthmus.cli.reach import Answer, Context, Kubeconfig, SystemNamespace, ask_all_istiods, ask_istiod, connect, run
from isthmus.ingest.place import SYSTEM_NAMESPACE

app = typer.Typer(add_completion=False)

TYPE_ORDER = ("CDS", "LDS", "EDS", "RDS", "ECDS", "SDS", "NDS", "PCDS")
"""Order in which istioctl names the types."""
ERROR = "ERROR"
_COLOURS = {"SYNCED": Colour.GOOD, "STALE": Colour.UNSURE, ERROR: Colour.BAD}


@dataclass(slots=True)
class ProxyLine:
    """One proxy at one control plane; an Envoy and its agent may have a stream each."""

    name: str
    cluster: str
    istiod: str
    version: str = ""
    types: dict[str, dict[str, Any]] = field(default_factory=dict)

    def subscribed(self) -> str:
        """`4 (CDS,LDS,EDS,RDS)`."""
        names = [name for name in TYPE_ORDER if name in self.types]
        names += sorted(set(self.types) - set(names))
        return f"{len(names)} ({','.join(names)})"

    def errors(self) -> list[tuple[str, str]]:
        """(type, why the proxy rejected it)."""
        return [(name, entry["error"]) for name, entry in sorted(self.types.items()) if entry["state"] == ERROR]


@app.command()
def proxy_status(  # noqa: PLR0917  (each is a flag)
    proxy: Annotated[str, typer.Argument(help="Compare one proxy with its control plane: <pod>[.<namespace>].")] = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    istio_namespace: SystemNamespace = SYSTEM_NAMESPACE,
    namespace: Namespace = "",
    verbosity: Annotated[int, typer.Option("-v", "--verbosity", help="1: a column for each type.", min=0, max=1)] = 0,
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print.")] = Format.TABLE,
) -> None:
    """List the connected proxies, or say where one differs from what its control plane wants it to have."""
    if proxy:
        code = run(_compare(kubeconfig, context, istio_namespace, proxy, namespace))
        raise typer.Exit(code)
    lines = proxy_lines(_usable(run(_ask(kubeconfig, context, istio_namespace))))
    if namespace:
        lines = [line for line in lines if line.name.endswith(f".{namespace}")]
    if output is Format.JSON:
        json([as_json(line) for line in lines])
    elif not lines:
        warn("no proxy is connected")
    elif verbosity:
        table(*by_type(lines))
    else:
        table(
            ("NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES"),
            [(line.name, line.cluster, line.istiod, line.version, line.subscribed()) for line in lines],
        )
    problems = [(line.name, kind, text) for line in lines for kind, text in line.errors()]
    for name, kind, text in problems:
        warn(f"{name} rejected {kind}: {text}")
    raise typer.Exit(ExitCode.PROBLEMS if problems else ExitCode.GOOD)


async def _ask(kubeconfig: str, context: str, namespace: str) -> list[Answer]:
    async with await connect(kubeconfig, context) as client:
        return await ask_all_istiods(client, namespace, "/debug/syncz")


def _usable(answers: Sequence[Answer]) -> list[Answer]:
    """The answers; those that failed are told, and raised if there is no other."""
    good = [answer for answer in answers if answer.error is None]
    for answer in answers:
        if answer.error is not None and good:
            warn(str(answer.error))
        elif answer.error is not None:
            raise answer.error
    return good


def proxy_lines(answers: Iterable[Answer]) -> list[ProxyLine]:
    """All proxies of all control planes, by name."""
    lines: dict[tuple[str, str, str], ProxyLine] = {}
    for answer in answers:
        for entry in answer.body["proxies"]:
            key = (entry["proxy"], entry["cluster"], answer.istiod)
            line = lines.setdefault(key, ProxyLine(*key))
            line.version = line.version or entry["version"]
            for status in entry["types"]:
                known = line.types.get(status["type"])
                if known is None or status["state"] == ERROR:
                    line.types[status["type"]] = status
    return [line for _, line in sorted(lines.items())]


def by_type(lines: Sequence[ProxyLine]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of `-v 1`: what is usual has a column even if nobody asked for it."""
    present = {name for line in lines for name in line.types}
    columns = [name for name in TYPE_ORDER if name in present or name in TYPE_ORDER[:4]]
    columns += sorted(present - set(columns))
    rows = [
        [line.name, line.cluster, *(_state(line.types.get(name)) for name in columns), line.istiod, line.version]
        for line in lines
    ]
    return ["NAME", "CLUSTER", *columns, "ISTIOD", "VERSION"], rows


def _state(status: dict[str, Any] | None) -> str:
    if status is None:
        return Cell("IGNORED")
    state = status["state"]
    shown = f"{state} ({age(status['age'])})" if status["age"] is not None else state
    return Cell(shown, _COLOURS.get(state))


def as_json(line: ProxyLine) -> dict[str, Any]:
    """One proxy for scripts."""
    return {
        "proxy": line.name,
        "cluster_id": line.cluster,
        "istiod": line.istiod,
        "version": line.version,
        "types": [line.types[name] for name in sorted(line.types)],
    }


async def _compare(kubeconfig: str, context: str, istio_namespace: str, proxy: str, namespace: str) -> int:
    """Versions in the proxy against those of its control plane; prints where they differ."""
    async with await connect(kubeconfig, context) as client:
        pod = await resolve(client, proxy, namespace)
        answers = _usable(await ask_all_istiods(client, istio_namespace, "/debug/syncz"))
        istiod = _control_plane_of(pod, answers)
        wanted = msgspec.json.decode(
            await ask_istiod(client, istio_namespace, istiod, f"/debug/config_dump?proxyID={pod}")
        )
        has = config_dump.versions(config_dump.parse(await ask_proxy(client, pod, "/config_dump"), f"{pod}'s dump"))
    differences = 0
    for kind, present in has.items():
        found = differing(
            present, {entry["name"]: entry["version"] for entry in wanted.get(kind, ())}, named=kind == "RDS"
        )
        differences += len(found)
        print(f"{kind}: {'in sync' if not found else 'differs'} ({len(present)} in {pod})")
        for name, what in found:
            print(f"  {name}: {what}")
    return ExitCode.PROBLEMS if differences else ExitCode.GOOD


def _control_plane_of(pod: PodName, answers: Iterable[Answer]) -> str:
    for answer in answers:
        if any(entry["proxy"] == str(pod) for entry in answer.body["proxies"]):
            return answer.istiod
    raise UnreachableError(f"{pod} is connected to no control plane of this cluster", "See the log of its istio-proxy")


def differing(has: dict[str, str], wanted: dict[str, str], *, named: bool) -> list[tuple[str, str]]:
    """(name, what is wrong). `named` types are asked for one by one, so what is not there was not asked for."""
    found = [(name, "is there and should not be") for name in has if name not in wanted]
    for name, version in wanted.items():
        if name not in has:
            found += [] if named else [(name, "is missing")]
        elif has[name] != version:
            found.append((name, f"has version {has[name]}, should have {version}"))
    return sorted(found)
