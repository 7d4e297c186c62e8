"""`isthmus lab …`: a multicluster world on this machine."""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from isthmus.base.errors import ExitCode, IsthmusError, UsageError

app = typer.Typer(
    name="lab",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A whole multicluster world on this machine: clusters, networks, proxies, traffic. No root, no containers.",
)

Example = Annotated[Path | None, typer.Argument(help="Directory with a lab.yaml; only needed if there are several.")]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="Where the lab keeps everything (default: by its name).")
]
Output = Annotated[str, typer.Option("-o", "--output", help="table or json")]
Container = Annotated[str, typer.Option("-c", "--container", help="The container; the first by default.")]
TARGET = "<cluster>/[<namespace>/]<pod or Deployment>"


def _json(output: str) -> bool:
    if output not in ("table", "json"):
        raise UsageError(f"no output format {output!r}", "Use table or json.")
    return output == "json"


_UP_EXAMPLES = """Examples:

isthmus lab up examples/two-networks

isthmus lab up examples/flat-network/clash.yaml

isthmus lab up examples/two-networks --state-dir second
"""


@app.command(epilog=_UP_EXAMPLES)
def up(
    example: Annotated[Path, typer.Argument(help="Directory with a lab.yaml, or such a file; see `isthmus lab list`.")],
    state_dir: StateDir = None,
    wait: Annotated[bool, typer.Option(help="Wait until everything is ready.")] = True,
) -> None:
    """Start a lab and leave it running; one that runs already is only waited for."""
    from isthmus_lab.commands import talk
    from isthmus_lab.commands.find import state_of
    from isthmus_lab.labfile.load import load
    from isthmus_lab.supervisor import launch

    world = load(example)
    state = state_of(world, state_dir)
    begun = time.monotonic()
    with launch.locked(state):
        if launch.supervisor_pid(state) is None:
            launch.start(world, state)
        else:
            print(f"lab {world.name} runs already")
    if not wait:
        return
    answer: dict[str, Any] = {}
    for answer in talk.conversation(state, {"op": "follow"}):
        if step := answer.get("step"):
            print(f"  {step['seconds']:6.2f} s  {'PROBLEM: ' if step['failed'] else ''}{step['text']}", flush=True)
    if not answer.get("ok"):
        print(f"Not everything is ready. See `isthmus lab status`; logs are in {state.path}.", file=sys.stderr)
        raise typer.Exit(ExitCode.PROBLEMS)
    print(f"lab {world.name} is up after {time.monotonic() - begun:.1f} s; its state is in {state.path}")


@app.command()
def down(
    example: Example = None,
    state_dir: StateDir = None,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the objects and logs too.")] = False,
) -> None:
    """End a lab: no process, namespace or mount stays. Its objects are found again by the next `up`, unless purged."""
    from isthmus_lab.commands.find import find_state
    from isthmus_lab.supervisor import launch

    state = find_state(example, state_dir)
    if not state.lab_file.exists():
        print(f"no lab in {state.path}")
        return
    with launch.locked(state):
        ran = launch.stop(state)
    if purge:
        shutil.rmtree(state.path)
    print(f"lab in {state.path} {'ended' if ran else 'did not run'}{'; its state is removed' if purge else ''}")


@app.command(name="list")
def list_examples(
    directory: Annotated[Path | None, typer.Argument(help="Where to look; ./examples by default.")] = None,
    output: Output = "table",
) -> None:
    """Examples that can be started, and labs that run or have run here."""
    from isthmus_lab.commands import listing, show

    as_json = _json(output)
    document = {"examples": listing.examples(directory or Path("examples")), "labs": listing.labs()}
    if as_json:
        show.print_json(document)
        return
    out = show.console()
    for part in show.listing_tables(document):
        if part.row_count:
            out.print(part)
            out.print()
    out.print("Start one: isthmus lab up <directory>")


@app.command()
def status(example: Example = None, state_dir: StateDir = None, output: Output = "table") -> None:
    """Clusters, nodes and pods, with their addresses and process ids on this machine."""
    from isthmus_lab.commands import show
    from isthmus_lab.commands.find import running_state
    from isthmus_lab.commands.status import gather

    as_json = _json(output)
    document = gather(running_state(example, state_dir))
    if as_json:
        show.print_json(document)
        return
    out = show.console()
    for part in show.status_tables(document):
        out.print(part)
        out.print()
    for pair in document["cut"]:
        out.print(f"Cut: {' and '.join(pair)}. Mend: isthmus lab restore {' '.join(pair)}")
    for target in document["held"]:
        out.print(f"Killed: {target}. Mend: isthmus lab restore {target}")


@app.command(name="exec", context_settings={"ignore_unknown_options": True})
def execute(
    target: Annotated[str, typer.Argument(help=TARGET)],
    command: Annotated[list[str], typer.Argument(help="The command, after --.")],
    container: Container = "",
    stdin: Annotated[bool, typer.Option("-i", "--stdin", help="Pass standard input on.")] = False,
    state_dir: StateDir = None,
) -> None:
    """Run a command in a pod, with its network, files and environment; exits as the command does."""
    from isthmus_lab.commands import talk
    from isthmus_lab.commands.find import find_workload, running_state

    state = running_state(None, state_dir)
    pod = find_workload(state, target)
    request = {"namespace": pod.namespace, "pod": pod.pod, "container": container, "command": command}
    with talk.kubelet(state, pod.cluster, pod.node) as sock:
        code = talk.execute(sock, request, stdin=stdin, out=sys.stdout.buffer, err=sys.stderr.buffer)
    raise typer.Exit(code)


@app.command()
def call(  # noqa: PLR0913, PLR0917 - the options of the command
    target: Annotated[str, typer.Argument(help=TARGET)],
    url: Annotated[str, typer.Argument(help="http://<service>.<namespace>:<port>/<path>")],
    count: Annotated[int, typer.Option("-n", "--count", help="Requests to make.", min=1)] = 1,
    rate: Annotated[float, typer.Option(help="Requests per second; 0: as fast as it goes.")] = 0,
    concurrency: Annotated[int, typer.Option(help="Requests at a time.", min=1)] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds for a request.")] = 5,
    keep_alive: Annotated[bool, typer.Option("--keep-alive", help="Reuse connections.")] = False,
    header: Annotated[list[str] | None, typer.Option("-H", "--header", help="'name: value'")] = None,
    hops: Annotated[bool, typer.Option("--hops", help="Show the way that calls took, from the proxies' logs.")] = False,
    output: Output = "table",
    state_dir: StateDir = None,
) -> None:
    """Call a URL from inside a pod: which clusters answered, as whom the caller was seen, what failed."""
    from isthmus_lab.commands import run, show
    from isthmus_lab.commands.find import running_state

    as_json = _json(output)
    _check_request(url, header or [])
    arguments = [f"--count={count}", f"--rate={rate}", f"--concurrency={concurrency}", f"--timeout={timeout}"]
    arguments += ["--keep-alive"] * keep_alive + [f"--header={h}" for h in header or []]
    state = running_state(None, state_dir)
    ways: list[Any] = []
    if hops:
        report, ways = run.traced_call(state, target, url, arguments)
        report["hops"] = [way.document() for way in ways]
    else:
        report = run.call(state, target, url, arguments)
    summary = report["summary"]
    if as_json:
        show.print_json(report)
    else:
        out = show.console()
        for part in show.call_tables(report, run.identities(report)):
            out.print(part)
        if ways:
            out.print(show.hops_table(ways))
        times = f", p50 {summary['p50Ms']} ms, p99 {summary['p99Ms']} ms" if summary["good"] else ""
        out.print(f"{summary['good']} of {summary['count']} answered{times}")
    raise typer.Exit(ExitCode.PROBLEMS if summary["failed"] else ExitCode.GOOD)


def _check_request(url: str, headers: list[str]) -> None:
    """UsageError: the load client could not make such a request."""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"{url!r} is no http URL", "Write http://<service>.<namespace>:<port>/<path>.")
    for header in headers:
        if ":" not in header:
            raise UsageError(f"{header!r} is no header", "Write 'name: value'.")


@app.command()
def logs(
    target: Annotated[str, typer.Argument(help=TARGET)],
    container: Container = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as the log grows.")] = False,
    previous: Annotated[bool, typer.Option("-p", "--previous", help="Of the run before the last restart.")] = False,
    tail: Annotated[int, typer.Option(help="Only the last lines; -1: all.")] = -1,
    state_dir: StateDir = None,
) -> None:
    """Show what a container wrote."""
    from isthmus_lab.commands import talk
    from isthmus_lab.commands.find import find_workload, running_state

    state = running_state(None, state_dir)
    pod = find_workload(state, target)
    request: dict[str, Any] = {"namespace": pod.namespace, "pod": pod.pod, "container": container}
    request |= {"follow": follow, "previous": previous, "tailLines": None if tail < 0 else tail}
    with talk.kubelet(state, pod.cluster, pod.node) as sock:
        talk.logs(sock, request, sys.stdout.buffer)


@app.command()
def kill(
    target: Annotated[
        str,
        typer.Argument(
            help="<cluster>/…: apiserver, istiod, gateway, waypoint, node/<name>, node/<name>/proxy, <namespace>/<pod>"
        ),
    ],
    seconds: Annotated[
        str, typer.Option("--for", help="Start it again after this time, such as 20s; else it stays dead.")
    ] = "",
    state_dir: StateDir = None,
) -> None:
    """SIGKILL a part of the lab and keep it dead until `restore`."""
    from isthmus_lab.commands import talk
    from isthmus_lab.commands.find import running_state

    request = {"op": "kill", "target": target, "seconds": _duration(seconds)}
    answer = talk.ask(running_state(None, state_dir), request)
    for name in answer["killed"]:
        print(f"killed {name}")


@app.command()
def restore(
    targets: Annotated[
        list[str] | None, typer.Argument(help="What was killed or cut: `east/istiod`, or one or two networks.")
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Mend what `kill` and `partition` broke; without names, everything."""
    from isthmus_lab.commands import talk
    from isthmus_lab.commands.find import running_state

    answer = talk.ask(running_state(None, state_dir), {"op": "restore", "targets": targets or []})
    for name in answer["restored"]:
        print(f"restored {name}")


@app.command()
def partition(
    networks: Annotated[list[str], typer.Argument(help="Two networks (or clusters), or one to cut from all others.")],
    seconds: Annotated[str, typer.Option("--for", help="Mend it after this time, such as 20s.")] = "",
    state_dir: StateDir = None,
) -> None:
    """Cut the WAN between networks, silently, as when a cable is pulled."""
    from isthmus_lab.commands import talk
    from isthmus_lab.commands.find import running_state

    request = {"op": "partition", "networks": networks, "seconds": _duration(seconds)}
    answer = talk.ask(running_state(None, state_dir), request)
    for pair in answer["cut"]:
        print(f"cut {' - '.join(pair)}")


def _duration(text: str) -> float | None:
    """`20s`, `1m`, `500ms` or plain seconds; nothing: None."""
    if not text:
        return None
    for suffix, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
        number = text.removesuffix(suffix)
        if number != text and number.replace(".", "", 1).isdigit():
            return float(number) * factor
    if text.replace(".", "", 1).isdigit():
        return float(text)
    raise UsageError(f"{text!r} is no duration", "Write 20s, 500ms or 1m.")


@app.command()
def kubeconfig(
    example: Example = None,
    state_dir: StateDir = None,
    merge: Annotated[bool, typer.Option("--merge", help="Put it into your kubeconfig instead of printing it.")] = False,
) -> None:
    """Print a kubeconfig with a context for each cluster, reachable from this machine."""
    import yaml

    from isthmus_lab.commands import kubeconfig as made
    from isthmus_lab.commands.find import find_state

    document = made.combined(find_state(example, state_dir))
    if not merge:
        print(yaml.safe_dump(document, sort_keys=False), end="")
        return
    path = made.user_file()
    made.merge_file(path, document)
    print(f"contexts {', '.join(c['name'] for c in document['contexts'])} are in {path}")


@app.command()
def verify(example: Example = None, state_dir: StateDir = None, output: Output = "table") -> None:
    """Check who reaches whom without the mesh; show clusters, gateways, services and the path that calls take."""
    from isthmus_lab.commands import verify as checks
    from isthmus_lab.commands.find import running_state, world_of
    from isthmus_lab.commands.verify_tables import show_report

    as_json = _json(output)
    state = running_state(example, state_dir)
    report = checks.gather(state, world_of(state))
    if as_json:
        print(json.dumps(report.document(), indent=2))
    else:
        show_report(report)
    raise typer.Exit(ExitCode.PROBLEMS if report.problems else ExitCode.GOOD)


def main() -> None:
    """`python -m isthmus_lab.cli`: the same commands without the rest of Isthmus."""
    try:
        app()
    except IsthmusError as error:
        if os.environ.get("ISTHMUS_TRACEBACK"):
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
