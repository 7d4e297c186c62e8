"""Running things in pods: a command, the load client."""

import io
import json
import sys
from typing import Any

from isthmus_lab.commands import talk
from isthmus_lab.commands.find import Workload, find_workload, world_of
from isthmus_lab.commands.hops import Hop, follow_calls, mark_logs
from isthmus_lab.commands.talk import LabError
from isthmus_lab.supervisor.state import StateDirectory


def run_in(state: StateDirectory, workload: Workload, command: list[str], container: str = "") -> tuple[int, str, str]:
    """Run a command in a pod without input: exit code, stdout, stderr."""
    out, err = io.BytesIO(), io.BytesIO()
    request = {"namespace": workload.namespace, "pod": workload.pod, "container": container, "command": command}
    with talk.kubelet(state, workload.cluster, workload.node) as sock:
        code = talk.execute(sock, request, stdin=False, out=out, err=err)
    return code, out.getvalue().decode(errors="replace"), err.getvalue().decode(errors="replace")


def python(module: str, *arguments: str) -> list[str]:
    """The command line of one of the lab's programs, by this installation's interpreter."""
    return [sys.executable, "-m", module, *arguments]


def call(state: StateDirectory, target: str, url: str, arguments: list[str]) -> dict[str, Any]:
    """The load client's report. LabError: it could not run."""
    workload = find_workload(state, target)
    command = python("isthmus_lab.apps.call", url, "-o", "json", *arguments)
    code, out, err = run_in(state, workload, command)
    try:
        report: dict[str, Any] = json.loads(out)
    except ValueError:
        raise LabError(f"the load client in {target} ended with {code}: {err.strip() or out.strip()}", "", 1) from None
    return report


def traced_call(state: StateDirectory, target: str, url: str, arguments: list[str]) -> tuple[dict[str, Any], list[Hop]]:
    """The load client's report, and by which way and as whom the servers' proxies saw the calls come."""
    marks = mark_logs(state, world_of(state))
    report = call(state, target, url, arguments)
    return report, follow_calls(state, marks, report)


def identities(report: dict[str, Any]) -> dict[str, int]:
    """How often each client identity was shown to the servers."""
    seen: dict[str, int] = {}
    for item in report["calls"]:
        if item["body"]:
            name = item["body"].get("identity") or "none"
            seen[name] = seen.get(name, 0) + 1
    return seen
