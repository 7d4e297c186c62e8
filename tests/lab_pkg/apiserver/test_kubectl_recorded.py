"""What a real kubectl sent, replayed without it: the exchanges in kubectl_exchanges.json.

Record them again (needs kubectl): ISTHMUS_RECORD_KUBECTL=1 pytest tests/lab_pkg/apiserver/test_kubectl_recorded.py
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.apiserver.front import Front
from isthmus_lab.apiserver.httpd import Answer, Request, Response
from isthmus_lab.apiserver.inprocess import InProcess, Loopback

FILE = Path(__file__).with_name("kubectl_exchanges.json")

DEPLOYMENT = json.dumps({
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 80}]}]},
        },
    },
})  # fmt: skip

# (command, standard input, exit code)
COMMANDS: list[tuple[str, str, int]] = [
    ("get namespaces", "", 0),
    ("apply -f -", DEPLOYMENT, 0),
    ("apply -f -", DEPLOYMENT.replace("web:1", "web:2"), 0),
    ("get deployments -o wide", "", 0),
    ("get pods --all-namespaces", "", 0),
    ("get deployment web -o yaml", "", 0),
    ("label deployment web tier=front", "", 0),
    ("scale deployment web --replicas=5", "", 0),
    ('patch deployment web -p {"spec":{"paused":true}}', "", 0),
    ('patch deployment web --type=merge -p {"spec":{"paused":null}}', "", 0),
    ('patch deployment web --type=json -p [{"op":"replace","path":"/spec/replicas","value":1}]', "", 0),
    ("apply --server-side --field-manager=one -f -", DEPLOYMENT.replace('"web"', '"ssa"', 1), 0),
    ("apply --server-side --field-manager=two -f -", DEPLOYMENT.replace('"web"', '"ssa"', 1).replace(": 2", ": 3"), 1),
    (
        "apply --server-side --field-manager=two --force-conflicts -f -",
        DEPLOYMENT.replace('"web"', '"ssa"', 1).replace(": 2", ": 3"),
        0,
    ),
    ("create configmap cm --from-literal=a=1", "", 0),
    ("create serviceaccount robot", "", 0),
    ("create token robot", "", 0),
    ("create role r --verb=get --resource=pods", "", 0),
    ("create rolebinding rb --role=r --serviceaccount=default:robot", "", 0),
    ("auth can-i get pods --as=system:serviceaccount:default:robot", "", 0),
    ("auth can-i delete pods --as=system:serviceaccount:default:robot", "", 1),
    ("auth whoami", "", 0),
    ("create deployment made --image=web:1 --replicas=2", "", 0),
    ("create service clusterip svc --tcp=80:8080", "", 0),
    ("get service svc -o wide", "", 0),
    ("explain deployment.spec.strategy", "", 0),
    ("get deployment missing", "", 1),
    ("delete configmap cm --wait=false", "", 0),
]


class Recorder:
    """Sits in front of the server and writes down what passes."""

    def __init__(self) -> None:
        self.exchanges: list[dict[str, Any]] = []
        self._real = Front.handle

    async def handle(self, front: Front, request: Request) -> Answer:
        answer = await self._real(front, request)
        if isinstance(answer, Response) and answer.status != 304:
            kept = ("accept", "content-type", "impersonate-user", "user-agent")
            self.exchanges.append({
                "method": request.method,
                "target": request.raw_target.decode(),
                "headers": {name: request.headers[name] for name in kept if name in request.headers},
                "body": base64.b64encode(request.body).decode(),
                "reply": summary(answer),
            })  # fmt: skip
        return answer


def summary(answer: Response) -> dict[str, Any]:
    """What must be the same again: not names, times or revisions that the server makes up."""
    found: dict[str, Any] = {"status": answer.status, "type": answer.content_type}
    if "json" not in answer.content_type:
        return found
    body = json.loads(answer.body)
    found |= {key: body[key] for key in ("kind", "apiVersion", "reason", "message") if key in body}
    if body.get("kind") == "Table":
        found["columns"] = [column["name"] for column in body["columnDefinitions"]]
        found["names"] = sorted(str(row["cells"][0]) for row in body["rows"])
    if "spec" in body and body.get("kind") in ("Deployment", "Scale"):
        found["spec"] = body["spec"]
    if body.get("kind") in ("SelfSubjectAccessReview", "SelfSubjectReview"):
        found["answer"] = body["status"]
    if "message" in found:
        found["message"] = found["message"].split(" at 20")[0]  # a conflict names the time
    return found


def record(directory: Path) -> None:
    recorder = Recorder()

    async def handle(front: Front, request: Request) -> Answer:
        return await recorder.handle(front, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Front, "handle", handle)
        with Loopback(directory) as loopback:
            environment = {**os.environ, "KUBECONFIG": str(loopback.kubeconfig), "HOME": str(directory)}
            groups = []
            for command, stdin, code in COMMANDS:
                recorder.exchanges = []
                words = ["kubectl", *command.split(" ")]
                done = subprocess.run(
                    words, input=stdin, env=environment, capture_output=True, text=True, timeout=60, check=False
                )
                assert done.returncode == code, done.stdout + done.stderr
                groups.append({"command": command, "exchanges": recorder.exchanges})
    FILE.write_text(json.dumps(groups, indent=1) + "\n")


async def test_kubectl_would_be_answered_as_it_was(api: InProcess, tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.environ.get("ISTHMUS_RECORD_KUBECTL"):
        record(tmp_path_factory.mktemp("recording"))
    seen = 0
    for group in json.loads(FILE.read_text()):
        for exchange in group["exchanges"]:
            headers = {name.replace("-", "_"): value for name, value in exchange["headers"].items()}
            body = base64.b64decode(exchange["body"])
            answer = await api.answer(exchange["method"], exchange["target"], body, **headers)
            assert isinstance(answer, Response)
            assert summary(answer) == exchange["reply"], (
                f"{group['command']}: {exchange['method']} {exchange['target']}"
            )
            seen += 1
    assert seen > len(COMMANDS)
