"""What changes in a living mesh, over the lab `two-networks`: services, policies, certificates, pods, nodes."""

import json
import os
import signal
import sys

import pytest

from tests.lab.harness import CLIENT, HELLO, LOAD, PLAIN, SLEEP, Lab, eventually

pytestmark = pytest.mark.lab


def test_service_deleted_and_created_again(lab: Lab) -> None:
    url = "http://only-west.sample:5000/hello"
    before = lab.get("west", "service", "-n", "sample", "only-west")
    assert lab.call(CLIENT, url, "--count", "3").clusters == {"west": 3}
    lab.kubectl("west", "delete", "service", "-n", "sample", "only-west")
    eventually(lambda: lab.call(CLIENT, url, "--count", "1").failures, within=15, what="the deleted service is gone")
    again = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "only-west", "namespace": "sample", "labels": before["metadata"]["labels"]},
        "spec": {"selector": before["spec"]["selector"], "ports": before["spec"]["ports"]},
    }
    lab.kubectl("west", "apply", "-f", "-", stdin=json.dumps(again))
    eventually(
        lambda: lab.call(CLIENT, url, "--count", "3").clusters == {"west": 3}, within=15, what="the new service answers"
    )


def policy(mode: str) -> str:
    """The PeerAuthentication of namespace sample with another mode."""
    spec = {"mtls": {"mode": mode}}
    meta = {"name": "default", "namespace": "sample"}
    return json.dumps(
        {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": meta, "spec": spec}
    )


@pytest.mark.parametrize(
    ("mode", "plain", "identity", "clusters"),
    [
        ("PERMISSIVE", True, SLEEP, {"east", "west"}),
        # What takes no mesh mTLS never crosses networks (SH12): the gateway passes only what it cannot read.
        ("DISABLE", True, "", {"east"}),
        ("STRICT", False, SLEEP, {"east", "west"}),
    ],
)
def test_peer_authentication(lab: Lab, mode: str, *, plain: bool, identity: str, clusters: set[str]) -> None:
    def settled() -> bool:
        calls = lab.call(CLIENT, HELLO, "--count", "40")
        return not calls.failures and calls.identities == {identity} and set(calls.clusters) == clusters

    try:
        for cluster in ("east", "west"):
            lab.kubectl(cluster, "apply", "-f", "-", stdin=policy(mode))
        eventually(settled, within=20, what=f"{mode}: shown {identity!r} and answered by {clusters}")
        answered = lab.probe(PLAIN, "tcp", "helloworld.sample", "5000") == "answered"
        assert answered is plain
    finally:
        for cluster in ("east", "west"):
            lab.kubectl(cluster, "apply", "-f", "-", stdin=policy("STRICT"))


def serial(lab: Lab, pod: str) -> str:
    """The serial number of the certificate that a proxy uses."""
    table = lab.run("proxy-config", "secret", pod, "--context", "east").stdout.splitlines()
    column = table[0].index("SERIAL NUMBER")
    return next(line[column:].split()[0] for line in table if line.startswith("default"))


def test_certificates_rotate_under_load(lab: Lab) -> None:
    """Lifetimes of 12 s on both sides of the calls: every connection outlives several certificates."""
    config = json.dumps({"proxyMetadata": {"SECRET_TTL": "12s"}})
    patch = json.dumps({"spec": {"template": {"metadata": {"annotations": {"proxy.istio.io/config": config}}}}})
    undo = json.dumps({"spec": {"template": {"metadata": {"annotations": {"proxy.istio.io/config": None}}}}})
    targets = (("east", "sleep"), ("east", "helloworld-v1"), ("west", "helloworld-v2"))
    for cluster, name in targets:
        lab.kubectl(cluster, "patch", "deployment", "-n", "sample", name, "-p", patch)
    for cluster, name in targets:
        lab.kubectl(cluster, "rollout", "status", "-n", "sample", f"deployment/{name}", "--timeout=60s")
    try:
        lab.steady()
        pod = f"{lab.get('east', 'pods', '-n', 'sample', '-l', 'app=sleep')['items'][0]['metadata']['name']}.sample"
        first = serial(lab, pod)
        with lab.calling(CLIENT, HELLO, *LOAD, "1750") as calls:
            second = eventually(
                lambda: found if (found := serial(lab, pod)) != first else None, within=20, what="a second certificate"
            )
            eventually(lambda: serial(lab, pod) not in (first, second), within=20, what="a third certificate")
        assert not calls.failures
        assert calls.identities == {SLEEP}
        assert set(calls.clusters) == {"east", "west"}
    finally:
        for cluster, name in targets:
            lab.kubectl(cluster, "patch", "deployment", "-n", "sample", name, "-p", undo)
        for cluster, name in targets:
            lab.kubectl(cluster, "rollout", "status", "-n", "sample", f"deployment/{name}", "--timeout=60s")


def test_rolling_restart_drops_no_request(lab: Lab) -> None:
    with lab.calling(CLIENT, HELLO, *LOAD, "750") as calls:
        for cluster, name in (("east", "helloworld-v1"), ("west", "helloworld-v2")):
            lab.kubectl(cluster, "rollout", "restart", "-n", "sample", f"deployment/{name}")
        for cluster, name in (("east", "helloworld-v1"), ("west", "helloworld-v2")):
            lab.kubectl(cluster, "rollout", "status", "-n", "sample", f"deployment/{name}", "--timeout=60s")
    assert not calls.failures


def test_killed_kubelet_and_agent_leave_traffic_alone(lab: Lab) -> None:
    """Killed by their pids; both come back by themselves and take up what still runs."""
    before = lab.programs("west-1/")
    assert {"kubelet", "agent"} <= set(before)
    with lab.calling(CLIENT, HELLO, *LOAD, "1000") as calls:
        for name in ("kubelet", "agent"):
            os.kill(before[name], signal.SIGKILL)
        after = eventually(
            lambda: now if {"kubelet", "agent"} <= set(now := lab.programs("west-1/")) else None,
            within=15,
            what="kubelet and agent run again",
        )
    assert after["kubelet"] != before["kubelet"]
    assert after["agent"] != before["agent"]
    assert not calls.failures
    assert calls.share("west") == pytest.approx(25, abs=7)


def test_lost_node_takes_only_its_own_endpoints(lab: Lab) -> None:
    """West's only node loses power: its gateway and its pods are gone at once, and come back."""
    with lab.calling(CLIENT, HELLO, *LOAD, "1250") as calls:
        lab.lab("kill", "west/node/west-1", "--for", "20s")
    failures = calls.failures
    assert len(failures) <= 0.02 * len(calls.calls)
    assert not failures or failures[-1].at - failures[0].at <= 3.0, "failures after the first three seconds"


def test_proxy_status_and_proxy_config(lab: Lab) -> None:
    table = lab.run("proxy-status", "--context", "east").stdout.splitlines()
    assert table[0].split() == ["NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED", "TYPES"]
    assert any(line.startswith("sleep-") and "CDS" in line for line in table)
    pod = next(line.split()[0] for line in table if line.startswith("sleep-"))
    host = "helloworld.sample.svc.cluster.local"
    clusters = lab.run("proxy-config", "cluster", pod, "--context", "east", "--fqdn", host).stdout
    assert clusters.splitlines()[0].split()[:4] == ["SERVICE", "FQDN", "PORT", "SUBSET"]
    assert host in clusters
    endpoints = lab.run(
        "proxy-config", "endpoint", pod, "--context", "east", "--cluster", f"outbound|5000||{host}"
    ).stdout.splitlines()
    assert endpoints[0].split()[:5] == ["ENDPOINT", "STATUS", "OUTLIER", "CHECK", "CLUSTER"]
    assert len(endpoints) == 1 + 3 + 1, "three endpoints in east and one gateway"
    for part in ("listener", "route", "secret"):
        assert len(lab.run("proxy-config", part, pod, "--context", "east").stdout.splitlines()) > 1


def test_objects_survive_down_and_up(lab: Lab) -> None:
    lab.kubectl("east", "create", "configmap", "-n", "sample", "keepsake", "--from-literal=a=b")
    uid = lab.get("east", "configmap", "-n", "sample", "keepsake")["metadata"]["uid"]
    pids = lab.pids()
    assert len(pids) > 10
    lab.lab("down", within=60)
    assert not (pids & lab.pids()), "processes that stayed behind"
    lab.up()
    assert lab.get("east", "configmap", "-n", "sample", "keepsake")["metadata"]["uid"] == uid
    lab.steady()
    script = "import os; print(sorted(os.listdir('/run')))"
    assert "netns" not in lab.exec(CLIENT, sys.executable, "-c", script).stdout, "pods do not see the lab's namespaces"


def findings(lab: Lab, *options: str) -> set[tuple[str, str]]:
    """(category, level) of what `isthmus check` finds, and its exit code is right."""
    done = lab.run("check", "--contexts", "east,west", "-o", "json", *options, check=False)
    found = {(item["category"], item["level"]) for item in json.loads(done.stdout)}
    assert done.returncode == any(level == "error" for _, level in found), done.stderr
    return found


def test_check_finds_what_is_wrong(lab: Lab) -> None:
    good = findings(lab)
    assert {category for category, level in good if level == "error"} == set()
    assert ("gateways", "good") in good
    lab.kubectl("west", "label", "namespace", "private", "istio-injection=enabled")
    echo = ("service", "-n", "sample", "tcp-echo", "--type=json", "-p")
    other, own = (json.dumps([{"op": "replace", "path": "/spec/ports/0/name", "value": v}]) for v in ("http", "tcp"))
    lab.kubectl("west", "patch", *echo, other)
    lab.lab("partition", "east-net", "west-net")
    try:
        found = findings(lab)
    finally:
        lab.lab("restore", "east-net", "west-net")
        lab.kubectl("west", "label", "namespace", "private", "istio-injection-")
        lab.kubectl("west", "patch", *echo, own)
    assert {("gateways", "error"), ("namespaces", "warning"), ("services", "warning")} <= found
    assert {("rights", "good"), ("installation", "good")} <= findings(lab, "--precheck")
