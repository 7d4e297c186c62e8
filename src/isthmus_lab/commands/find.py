"""Which lab, and which pod in it, a command means."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.base.errors import UnreachableError, UsageError
from isthmus_lab.commands import talk
from isthmus_lab.labfile.load import load
from isthmus_lab.supervisor.launch import supervisor_pid
from isthmus_lab.supervisor.state import StateDirectory, default_root
from isthmus_lab.world import MACHINES, World

STATE_VARIABLE = "ISTHMUS_LAB_STATE"
_POD_SUFFIX = r"-[a-z0-9]{1,10}(-[a-z0-9]{5})?"


def state_of(world: World, state_dir: Path | None) -> StateDirectory:
    """Where this world's state is: the option, the variable, or a directory named after the lab."""
    given = state_dir or (Path(os.environ[STATE_VARIABLE]) if os.environ.get(STATE_VARIABLE) else None)
    return StateDirectory((given or default_root() / world.name).absolute())


def known_labs(root: Path | None = None) -> list[StateDirectory]:
    """All labs of this user that have state, running or not."""
    base = root or default_root()
    return [StateDirectory(path.parent) for path in sorted(base.glob("*/lab.json"))]


def find_state(example: Path | None, state_dir: Path | None) -> StateDirectory:
    """The lab a command means: by option, by example, or the only one there is. UsageError: none or several."""
    if example is not None:
        return state_of(load(example), state_dir)
    if state_dir is not None or os.environ.get(STATE_VARIABLE):
        return StateDirectory((state_dir or Path(os.environ[STATE_VARIABLE])).absolute())
    labs = known_labs()
    running = [lab for lab in labs if supervisor_pid(lab)]
    for candidates in (running, labs):
        if len(candidates) == 1:
            return candidates[0]
    if not labs:
        raise UsageError("there is no lab", "Start one: isthmus lab up examples/two-networks")
    names = ", ".join(lab.path.name for lab in running or labs)
    raise UsageError(f"there are several labs: {names}", "Name one with --state-dir.")


def running_state(example: Path | None, state_dir: Path | None) -> StateDirectory:
    """Like `find_state`, for commands that need it to run. UnreachableError: it does not."""
    state = find_state(example, state_dir)
    if supervisor_pid(state) is None:
        raise UnreachableError(f"no lab runs with its state in {state.path}", "Start it: isthmus lab up <directory>")
    return state


def world_of(state: StateDirectory) -> World:
    """The lab.yaml that this state was started from."""
    try:
        return load(Path(json.loads(state.lab_file.read_text())["file"]))
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise UsageError(f"{state.path} holds no lab", "Start one: isthmus lab up <directory>") from error


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod that a target names."""

    cluster: str
    node: str
    namespace: str
    pod: str


def clusters_of(state: StateDirectory) -> list[str]:
    """Names of the lab's clusters, in the order of its lab.yaml. UsageError: there is no lab."""
    try:
        return [str(name) for name in json.loads(state.lab_file.read_text())["clusters"]]
    except FileNotFoundError as error:
        raise UsageError(f"{state.path} holds no lab", "Start one: isthmus lab up <directory>") from error


def find_workload(state: StateDirectory, target: str) -> Workload:
    """The pod behind `<cluster>/[<namespace>/]<pod, Deployment or app label>`; ready ones first. UsageError: none."""
    cluster, _, rest = target.partition("/")
    if cluster == MACHINES:
        return _find_machine(state, rest)
    known = clusters_of(state)
    if cluster not in known or not rest:
        raise UsageError(
            f"{target!r} names no workload", f"Write <cluster>/<pod or Deployment>; clusters are {', '.join(known)}."
        )
    namespace, _, name = rest.removeprefix("deploy/").rpartition("/")
    pods = talk.pods_of(state, cluster)
    found = [p for p in pods if namespace in ("", p["namespace"]) and matches(p, name)]
    if not found:
        names = sorted({f"{p['namespace']}/{p['name']}" for p in pods})
        raise UsageError(f"no pod of {rest!r} in cluster {cluster}", f"There are: {', '.join(names) or 'none'}.")
    spaces = sorted({p["namespace"] for p in found})
    if len(spaces) > 1:
        raise UsageError(f"{name!r} is in namespaces {', '.join(spaces)}", f"Write {cluster}/<namespace>/{name}.")
    best = min(found, key=lambda p: (p["name"] != name, not p["ready"], p["name"]))
    return Workload(cluster, best["node"], best["namespace"], best["name"])


def _find_machine(state: StateDirectory, name: str) -> Workload:
    known = talk.nodes_of(state, MACHINES)
    if name not in known:
        raise UsageError(f"there is no machine {name!r}", f"There are: {', '.join(known) or 'none'}.")
    return Workload(MACHINES, name, "", name)


def matches(pod: dict[str, Any], name: str) -> bool:
    """True if `name` is the pod's, its Deployment's or its app label."""
    labels = pod.get("labels") or {}
    if name in (pod["name"], labels.get("app"), labels.get("app.kubernetes.io/name")):
        return True
    return re.fullmatch(re.escape(name) + _POD_SUFFIX, pod["name"]) is not None
