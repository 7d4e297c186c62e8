"""A small lab without a mesh, driven by the commands of a user."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from isthmus_lab.kubelet.client import ApiClient
from isthmus_lab.supervisor.state import StateDirectory, connectable

URL = "http://helloworld.sample:5000/hello"

LAB: dict[str, Any] = {
    "name": "tiny",
    "controlPlanes": "none",
    "networks": [{"name": "a", "podCIDR": "10.10.0.0/16"}, {"name": "b", "podCIDR": "10.10.0.0/16"}],
    "clusters": [
        {"name": "east", "network": "a", "nodes": [{"name": "n1", "region": "eu", "zone": "eu-a"}, {"name": "n2"}]},
        {"name": "west", "network": "b", "nodes": [{"name": "n1"}]},
    ],
    "verify": {"client": "east/sleep", "url": URL, "count": 4},
}


def deployment(name: str, replicas: int, **container: Any) -> dict[str, Any]:
    env = [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    spec = {"containers": [{"name": name, "env": env, **container}], "terminationGracePeriodSeconds": 1}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "sample"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    }


PROBE = {"httpGet": {"path": "/readyz", "port": 5000}, "periodSeconds": 1}
OBJECTS = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "sample"}},
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "helloworld", "namespace": "sample"},
        "spec": {"selector": {"app": "helloworld"}, "ports": [{"name": "http", "port": 5000}]},
    },
    deployment("helloworld", 2, image="isthmus/helloworld", readinessProbe=PROBE),
    deployment("sleep", 1, image="isthmus/sleep"),
]


def eventually(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


class Driver:
    """Runs commands against one lab."""

    def __init__(self, directory: Path) -> None:
        self.example = directory / "example"
        self.state = directory.joinpath("a-state-directory-with-a-long-name" * 3, "state")
        (self.example / "all").mkdir(parents=True)
        (self.example / "lab.yaml").write_text(yaml.safe_dump(LAB))
        (self.example / "all" / "app.yaml").write_text(yaml.safe_dump_all(OBJECTS))

    def run(self, *words: str, code: int = 0) -> str:
        environment = os.environ | {"ISTHMUS_LAB_STATE": str(self.state), "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-m", "isthmus_lab.cli", *words],
            capture_output=True, text=True, timeout=90, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run("status", "-o", "json"))
        return document

    def pods(self, cluster: str, prefix: str) -> list[dict[str, Any]]:
        return [p for p in self.status()["clusters"][cluster]["pods"] if p["name"].startswith(prefix)]

    def ready(self, cluster: str, prefix: str) -> bool:
        pods = self.pods(cluster, prefix)
        return bool(pods) and all(p["ready"] for p in pods)

    def api(self, cluster: str, method: str, path: str, body: dict[str, Any] | None = None, **options: Any) -> Any:
        """A request to a cluster's API server."""
        state = StateDirectory(self.state)
        client = ApiClient(connectable(state.api_socket(cluster)), state.system_token(cluster))
        return asyncio.run(client.request(method, path, body=body, **options))
