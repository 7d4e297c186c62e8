"""`isthmus lab list`: the labs that could be started from a directory, and those that have state on this machine."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from isthmus.base.errors import UsageError
from isthmus_lab.commands.find import known_labs
from isthmus_lab.labfile.load import WorldError, load
from isthmus_lab.supervisor.launch import supervisor_pid
from isthmus_lab.supervisor.state import StateDirectory

Document = dict[str, Any]


def examples(directory: Path) -> list[Document]:
    """Each directory below `directory` with a lab.yaml: what it is, its clusters by role. UsageError: there is none."""
    found = [_example(path.parent) for path in sorted(directory.glob("*/lab.yaml"))]
    if not found:
        remedy = "Name a directory that holds examples: isthmus lab list <directory>"
        raise UsageError(f"no directory in {directory} has a lab.yaml", remedy)
    return found


def _example(directory: Path) -> Document:
    document: Document = {"directory": str(directory), "title": _title(directory)}
    try:
        world = load(directory)
    except WorldError as error:
        return {**document, "name": directory.name, "clusters": {}, "networks": [], "problems": error.problems}
    return {
        **document,
        "name": world.name,
        "clusters": {c.name: world.role(c.name) for c in world.clusters},
        "networks": [n.name for n in world.networks],
        "problems": [],
    }


def _title(directory: Path) -> str:
    """The first heading of its README.md, or else how the comment at the top of its lab.yaml begins."""
    for file in ("README.md", "lab.yaml"):
        with contextlib.suppress(OSError):
            lines = (directory / file).read_text().splitlines()
            if lines and lines[0].startswith("# "):
                return re.split(r"[.:] ", lines[0].removeprefix("# "))[0].strip(" .")
    return ""


def labs(root: Path | None = None) -> list[Document]:
    """The labs of this user that have state where labs keep it by default."""
    return [_lab(state) for state in known_labs(root)]


def _lab(state: StateDirectory) -> Document:
    known = json.loads(state.lab_file.read_text())
    return {"name": known["name"], "state": str(state.path), "running": supervisor_pid(state) is not None}
