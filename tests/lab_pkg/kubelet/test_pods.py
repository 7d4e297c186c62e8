"""What a kubelet makes of pods, in a running lab: order, probes, restarts, volumes, reasons."""

import json
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.commands import talk
from isthmus_lab.kubelet.client import MERGE, ApiError
from isthmus_lab.supervisor.state import StateDirectory
from tests.lab_pkg.tiny import Driver, eventually

pytestmark = pytest.mark.lab
PODS = "/api/v1/namespaces/sample/pods"
CONFIG_MAPS = "/api/v1/namespaces/sample/configmaps"


class Pods:
    """Makes pods in east and removes them after the test."""

    def __init__(self, lab: Driver) -> None:
        self.lab = lab
        self.made: list[str] = []

    def create(self, name: str, **spec: Any) -> None:
        metadata = {"name": name, "namespace": "sample", "labels": {"app": name}}
        defaults = {"nodeName": "n1", "terminationGracePeriodSeconds": 1}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**defaults, **spec}}
        self.lab.api("east", "POST", PODS, body)
        self.made.append(name)

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.lab.api("east", "GET", f"{PODS}/{name}").get("status") or {}
        return found

    def container(self, name: str, container: str) -> dict[str, Any]:
        status = self.status(name)
        every = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
        return next((c for c in every if c["name"] == container), {})

    def waiting(self, name: str, reason: str) -> dict[str, Any] | None:
        """The waiting state of the pod's container `c`, if that is the reason."""
        state = self.container(name, "c").get("state", {}).get("waiting") or {}
        return state if state.get("reason") == reason else None

    def event_reasons(self) -> set[str]:
        items = self.lab.api("east", "GET", "/api/v1/namespaces/sample/events")["items"]
        return {str(event["reason"]) for event in items}

    def wait(self, name: str, phase: str) -> None:
        eventually(lambda: self.status(name).get("phase") == phase, f"{name} is {phase}")

    def sh(self, name: str, script: str) -> str:
        return self.lab.run("exec", f"east/{name}", "--", "sh", "-c", script)


@pytest.fixture
def pods(lab: Driver) -> Iterator[Pods]:
    """Pods of one test."""
    made = Pods(lab)
    yield made
    for name in made.made:
        with suppress(ApiError):
            lab.api("east", "DELETE", f"{PODS}/{name}")
    eventually(lambda: not any(lab.pods("east", name) for name in made.made), "the pods are gone")


def shell(name: str, script: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "isthmus/sleep", "command": ["sh", "-c", script], **fields}


def test_init_containers_and_sidecars_come_one_after_the_other(pods: Pods) -> None:
    shared = {"volumes": [{"name": "v", "emptyDir": {}}]}
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/var/run/shared"}]}
    say = "echo {} $(cat /var/run/shared/log | wc -l) >> /var/run/shared/log"
    sidecar = shell("side", "sleep 0.3; " + say.format("side") + "; exec sleep 60", restartPolicy="Always", **mount)
    sidecar["startupProbe"] = {"exec": {"command": ["grep", "-q", "side", "/var/run/shared/log"]}, "periodSeconds": 1}
    pods.create(
        "ordered",
        initContainers=[shell("first", say.format("first"), **mount), sidecar],
        containers=[shell("main", say.format("main") + "; exec sleep 60", **mount)],
        **shared,
    )
    pods.wait("ordered", "Running")
    eventually(lambda: "main" in pods.sh("ordered", "cat /var/run/shared/log"), "the container spoke")
    assert pods.sh("ordered", "cat /var/run/shared/log").split("\n")[:3] == ["first 0", "side 1", "main 2"]
    assert pods.container("ordered", "first")["state"]["terminated"]["reason"] == "Completed"
    assert pods.container("ordered", "side")["started"]


def test_a_pod_that_is_to_end_succeeds_and_its_sidecar_ends_too(pods: Pods) -> None:
    pods.create(
        "job",
        restartPolicy="Never",
        initContainers=[{"name": "side", "image": "isthmus/sleep", "restartPolicy": "Always"}],
        containers=[shell("work", "exit 0")],
    )
    pods.wait("job", "Succeeded")
    eventually(lambda: "terminated" in pods.container("job", "side")["state"], "the sidecar ended")


def test_a_pod_that_fails_stays_failed_if_it_never_restarts(pods: Pods) -> None:
    pods.create("failing", restartPolicy="Never", containers=[shell("work", "echo broken >&2; exit 3")])
    pods.wait("failing", "Failed")
    assert pods.container("failing", "work")["state"]["terminated"]["exitCode"] == 3
    assert pods.lab.run("logs", "east/failing") == "broken\n"


def test_a_crashing_container_backs_off_and_keeps_its_last_words(pods: Pods) -> None:
    pods.create("crashing", containers=[shell("c", "echo attempt; exit 5")])
    waiting = eventually(lambda: pods.waiting("crashing", "CrashLoopBackOff"), "it waits for the next attempt")
    assert waiting["message"].endswith("after exit code 5: attempt")
    assert pods.container("crashing", "c")["restartCount"] >= 1
    assert pods.lab.run("logs", "east/crashing", "--previous") == "attempt\n"


def test_a_failed_liveness_probe_restarts_and_a_failed_readiness_probe_does_not(pods: Pods) -> None:
    probe = {"exec": {"command": ["test", "-e", "/run/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    pods.create(
        "probed",
        containers=[
            shell(
                "live",
                "touch /run/alive; exec sleep 60",
                livenessProbe=probe,
                startupProbe={**probe, "failureThreshold": 10},
            ),
            shell("ready", "touch /run/alive; exec sleep 60", readinessProbe=probe),
        ],
    )
    eventually(lambda: pods.container("probed", "ready").get("ready"), "it is ready")
    pods.lab.run("exec", "east/probed", "-c", "ready", "--", "rm", "/run/alive")
    eventually(lambda: not pods.container("probed", "ready")["ready"], "it is not ready any more")
    eventually(lambda: pods.container("probed", "live").get("started"), "it started")
    pods.lab.run("exec", "east/probed", "-c", "live", "--", "rm", "/run/alive")
    eventually(lambda: pods.container("probed", "live")["restartCount"] == 1, "it was started again")
    assert pods.container("probed", "ready")["restartCount"] == 0


def test_an_unknown_image_says_which_there_are(pods: Pods) -> None:
    pods.create("unknown", containers=[{"name": "c", "image": "nginx:1"}])
    waiting = eventually(lambda: pods.waiting("unknown", "ErrImagePull"), "it says why it waits")
    assert "Use one of: isthmus/helloworld" in waiting["message"]


def test_volumes_follow_their_sources_and_missing_ones_are_waited_for(pods: Pods) -> None:
    pods.create(
        "volumes",
        containers=[
            {
                "name": "c",
                "image": "isthmus/sleep",
                "volumeMounts": [
                    {"name": "cm", "mountPath": "/var/run/config"},
                    {"name": "info", "mountPath": "/var/run/info"},
                ],
            }
        ],
        volumes=[
            {"name": "cm", "configMap": {"name": "late"}},
            {"name": "info", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        ],
    )
    eventually(lambda: "FailedMount" in pods.event_reasons(), "the missing ConfigMap is reported")
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late", "namespace": "sample"}}
    pods.lab.api("east", "POST", CONFIG_MAPS, {**config, "data": {"color": "red"}})
    try:
        pods.wait("volumes", "Running")
        assert pods.sh("volumes", "cat /var/run/config/color") == "red"
        pods.lab.api("east", "PATCH", f"{CONFIG_MAPS}/late", {"data": {"color": "blue"}}, kind=MERGE)
        eventually(lambda: pods.sh("volumes", "cat /var/run/config/color") == "blue", "the change arrived")
        pods.lab.api("east", "PATCH", f"{PODS}/volumes", {"metadata": {"labels": {"new": "1"}}}, kind=MERGE)
        eventually(lambda: 'new="1"' in pods.sh("volumes", "cat /var/run/info/l"), "the label arrived")
    finally:
        pods.lab.api("east", "DELETE", f"{CONFIG_MAPS}/late")


def test_a_pod_knows_its_account_and_its_api_server(pods: Pods) -> None:
    pods.create("account", containers=[{"name": "c", "image": "isthmus/sleep"}])
    pods.wait("account", "Running")
    script = (
        "import os, ssl, urllib.request as u; d = '/var/run/secrets/kubernetes.io/serviceaccount/'; "
        "r = u.Request(f\"https://{os.environ['KUBERNETES_SERVICE_HOST']}:443/version\", "
        "headers={'Authorization': 'Bearer ' + open(d + 'token').read()}); "
        "answer = u.urlopen(r, context=ssl.create_default_context(cafile=d + 'ca.crt')); "
        "print(answer.status, open(d + 'namespace').read())"
    )
    assert pods.lab.run("exec", "east/account", "--", "python3", "-c", script) == "200 sample\n"


def test_ending_takes_the_grace_period_at_most(pods: Pods) -> None:
    pods.create("stubborn", containers=[shell("c", "trap '' TERM; while true; do sleep 0.1; done")])
    pods.wait("stubborn", "Running")
    begun = time.monotonic()
    pods.lab.api("east", "DELETE", f"{PODS}/stubborn")
    eventually(lambda: not pods.lab.pods("east", "stubborn"), "it is gone")
    assert 0.8 < time.monotonic() - begun < 6


def test_port_forwarding(lab: Driver) -> None:
    pod = lab.pods("east", "helloworld")[0]
    state = StateDirectory(lab.state)

    def forward(port: int) -> bytes:
        request = {"portForward": {"namespace": "sample", "pod": pod["name"], "port": port}}
        with talk.kubelet(state, "east", pod["node"]) as sock:
            sock.settimeout(5)
            sock.sendall(json.dumps(request).encode() + b"\n")
            first = sock.recv(1)
            if first != b"\0":
                return first + sock.recv(1000)
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return sock.makefile("rb").read()

    assert forward(5000).endswith(b"ok\n")
    assert forward(5001).startswith(b"error: cannot reach port 5001")


def test_a_request_for_what_is_not_there(lab: Driver) -> None:
    state = StateDirectory(lab.state)
    request = {"exec": {"namespace": "sample", "pod": "nobody", "container": "", "command": ["true"], "stdin": False}}
    with talk.kubelet(state, "east", "n1") as sock:
        sock.sendall(json.dumps(request).encode() + b"\n")
        data = sock.makefile("rb").read()
    channel, length = struct.unpack(">BI", data[:5])
    assert channel == 3
    assert json.loads(data[5 : 5 + length]) == {"error": "pod sample/nobody does not run on this node"}


PLUGIN = """#!/bin/sh
read config
echo "$CNI_COMMAND $CNI_ARGS" >> {log}
case "$CNI_COMMAND $CNI_ARGS" in
  "ADD "*K8S_POD_NAME=refused*)
    [ -e {log}.open ] || {{ echo '{{"cniVersion": "1.0.0", "code": 11, "msg": "not yet"}}'; exit 1; }};;
esac
[ "$CNI_COMMAND" = ADD ] && echo '{{"cniVersion": "1.0.0"}}'
exit 0
"""


def test_a_cni_plugin_keeps_a_pod_from_starting_until_it_agrees(pods: Pods, tmp_path: Path) -> None:
    node = StateDirectory(pods.lab.state).node("east", "n1") / "host"
    plugin, conflist = node / "opt/cni/bin/tester", node / "etc/cni/net.d/10-lab.conflist"
    own, log = conflist.read_text(), tmp_path / "calls"
    plugin.parent.mkdir(parents=True, exist_ok=True)
    plugin.write_text(PLUGIN.format(log=log))
    plugin.chmod(0o755)
    chained = json.loads(own)
    chained["plugins"].append({"type": "tester"})
    conflist.write_text(json.dumps(chained))
    try:
        pods.create("refused", containers=[shell("c", "exec sleep 60")])
        pods.create("hosted", hostNetwork=True, containers=[shell("c", "exec sleep 60")])
        waiting = eventually(lambda: pods.waiting("refused", "ContainerCreating") or None, "it waits")
        words = 'plugin type="tester" failed (add): not yet'
        eventually(
            lambda: words in ((pods.waiting("refused", "ContainerCreating") or waiting).get("message") or ""),
            "it says why",
        )
        assert "FailedCreatePodSandBox" in pods.event_reasons()
        assert "podIP" not in pods.status("refused")
        log.with_name("calls.open").touch()
        pods.wait("refused", "Running")
        pods.wait("hosted", "Running")
    finally:
        conflist.write_text(own)
    pods.lab.api("east", "DELETE", f"{PODS}/refused")
    eventually(lambda: not pods.lab.pods("east", "refused"), "it is gone")
    calls = [line for line in log.read_text().splitlines() if "K8S_POD_NAME=refused;" in line]
    assert [line.split()[0] for line in calls][-2:] == ["ADD", "DEL"]
    assert "hosted" not in log.read_text()


def test_a_pod_of_the_nodes_network_has_the_nodes_address_and_paths(pods: Pods) -> None:
    volume = {"name": "v", "hostPath": {"path": "/opt/tools", "type": "DirectoryOrCreate"}}
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/host/opt/tools"}]}
    pods.create(
        "hostly", hostNetwork=True, volumes=[volume],
        containers=[shell("c", "echo kept > /host/opt/tools/file; exec sleep 60", **mount)],
    )  # fmt: skip
    pods.wait("hostly", "Running")
    status = pods.status("hostly")
    assert status["podIP"] == status["hostIP"]
    kept = StateDirectory(pods.lab.state).node("east", "n1") / "host/opt/tools/file"
    eventually(kept.exists, "the node keeps what was written")
    assert kept.read_text() == "kept\n"
