"""One kubeconfig for all clusters of a lab: a context per cluster, servers on the host's loopback."""

import os
from pathlib import Path
from typing import Any

import yaml

from isthmus.base.errors import UnreachableError
from isthmus_lab.commands.find import clusters_of
from isthmus_lab.supervisor.state import StateDirectory

Document = dict[str, Any]
_LISTS = ("clusters", "users", "contexts")


def combined(state: StateDirectory) -> Document:
    """All clusters' administrators; contexts, clusters and users bear the clusters' names."""
    document: Document = {"apiVersion": "v1", "kind": "Config", "preferences": {}}
    document |= {key: [] for key in _LISTS}
    for cluster in clusters_of(state):
        path = state.kubeconfig(cluster)
        try:
            source = yaml.safe_load(path.read_text())
        except FileNotFoundError as error:
            raise UnreachableError(f"the API server of {cluster} never started", f"See {state.log}.") from error
        server = {**source["clusters"][0]["cluster"]}
        if port := state.ports().get(cluster):
            server["server"] = f"https://127.0.0.1:{port}"
        document["clusters"].append({"name": cluster, "cluster": server})
        document["users"].append({"name": f"{cluster}-admin", "user": source["users"][0]["user"]})
        context = {"cluster": cluster, "user": f"{cluster}-admin"}
        document["contexts"].append({"name": cluster, "context": context})
    document["current-context"] = clusters_of(state)[0]
    return document


def merge(into: Document, ours: Document) -> Document:
    """Ours put into another kubeconfig: entries of the same name are replaced, everything else stays. Pure."""
    merged: Document = {"apiVersion": "v1", "kind": "Config", **into}
    for key in _LISTS:
        names = {entry["name"] for entry in ours[key]}
        merged[key] = [e for e in into.get(key) or [] if e["name"] not in names] + ours[key]
    merged["current-context"] = into.get("current-context") or ours["current-context"]
    return merged


def merge_file(path: Path, ours: Document) -> None:
    """Write ours into the user's kubeconfig, whole or not at all, readable by the user only."""
    existing = yaml.safe_load(path.read_text()) if path.exists() else {}
    temporary = path.with_name(path.name + ".new")
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        yaml.safe_dump(merge(existing or {}, ours), file, sort_keys=False)
    temporary.replace(path)


def user_file() -> Path:
    """The file kubectl would change: the first of $KUBECONFIG, or ~/.kube/config."""
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(first) if first else Path.home() / ".kube" / "config"
