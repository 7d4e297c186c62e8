"""Links of the example `ambient` outlive what happens to them: dead control planes, cuts, other addresses, new roots.

Callers are in west, where nobody is at home unless a test says so: every good answer came by the link from east, and
the proxy of who answered says as whom the caller was seen.
"""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.lab.ambient import BATCH, GATEWAY, GATEWAYS, GLOBAL, SCOPE, SLEEP, between, joined
from tests.lab.harness import ISTHMUS, Calls, Lab, Way, eventually, parsed, way_of

pytestmark = pytest.mark.lab

EXAMPLE = "ambient"
PAIR = ("east", "west")
CALLER = "spiffe://west.example/ns/app/sa/sleep"
RATE = 25
LATER = """
apiVersion: v1
kind: Service
metadata: {name: later, namespace: app, labels: {solo.io/service-scope: global}}
spec: {selector: {app: hello-world}, ports: [{name: http, port: 5000}]}
"""


@dataclass
class Watched(Calls):
    """Calls, and the ways that they took."""

    ways: list[Way] = field(default_factory=list)

    def check(self, cluster: str = "east", caller: str = CALLER, *, all_seen: bool = True) -> None:
        """Every call was answered by that cluster, by somebody who saw that caller and nobody else.

        Not `all_seen`: there were pods that came later, whose calls the proxies' logs do not tell apart.
        """
        assert not self.failures
        assert set(self.clusters) == {cluster}
        seen = {(way.cluster, way.identity) for way in self.ways}
        assert seen == {(cluster, caller)}
        assert not all_seen or sum(way.calls for way in self.ways) == len(self.calls)


@contextmanager
def watched(lab: Lab, workload: str, url: str, seconds: float) -> Iterator[Watched]:
    """Calls at a steady rate while the body runs, at least for `seconds`; complete after the body."""
    made = Watched()
    options = (
        "--rate",
        str(RATE),
        "--concurrency",
        "10",
        "--count",
        str(round(seconds * RATE)),
        "--hops",
        "-o",
        "json",
    )
    command = [ISTHMUS, "lab", "call", "--state-dir", str(lab.state), workload, url, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        try:
            yield made
            output, errors = client.communicate(timeout=180)
        finally:
            client.kill()
    assert output.strip(), errors
    report = json.loads(output)
    made.calls = [parsed(item) for item in report["calls"]]
    made.ways = [way_of(hop) for hop in report["hops"]]


def page(lab: Lab, cluster: str) -> dict[str, Any]:
    """What a control plane says of itself and its peers; empty while it does not answer."""
    done = lab.try_kubectl(
        cluster,
        "exec",
        "-n",
        "istio-system",
        "deploy/istiod",
        "--",
        "isthmus",
        "debug",
        "request",
        "GET",
        "/debug/peers",
    )
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


def peer(lab: Lab, cluster: str, other: str) -> dict[str, Any]:
    """How a link stands in the eyes of a cluster."""
    return next((one for one in page(lab, cluster).get("peers", []) if one["peer"] == other), {"state": "none"})


def connected(lab: Lab, since: float = 0.0) -> bool:
    """True if both hear each other, since a moment or longer."""
    found = [peer(lab, one, other) for one, other in (PAIR, PAIR[::-1])]
    return all(one["state"] == "connected" and one["connectedSince"] >= since for one in found)


def programmed(lab: Lab, cluster: str, other: str) -> tuple[str, str]:
    """What `kubectl get gateway` shows of a link: status and message."""
    found = lab.get(cluster, "gateways.gateway.networking.k8s.io", "-n", GATEWAYS, f"istio-remote-peer-{other}")
    conditions = (found.get("status") or {}).get("conditions") or []
    return next(((one["status"], one["message"]) for one in conditions if one["type"] == "Programmed"), ("", ""))


def told(what: str, begun: float) -> None:
    """A measurement, for the log of the run."""
    sys.stderr.write(f"MEASURED {what}: {time.time() - begun:.1f} s\n")


def scaled(lab: Lab, cluster: str, count: int) -> None:
    lab.kubectl(cluster, "scale", "-n", "app", "deployment/hello-world", f"--replicas={count}")
    lab.kubectl(cluster, "rollout", "status", "-n", "app", "deployment/hello-world", "--timeout=40s")


def restarted(lab: Lab, cluster: str, name: str, namespace: str = "app") -> None:
    """Other pods take the place of those of a Deployment: whoever talks to them makes connections anew."""
    lab.kubectl(cluster, "rollout", "restart", "-n", namespace, f"deployment/{name}")
    lab.kubectl(cluster, "rollout", "status", "-n", namespace, f"deployment/{name}", "--timeout=60s")


@pytest.fixture(scope="module")
def linked(model: Lab) -> Iterator[Lab]:
    """East and west are linked, the service is global, and nobody is at home in west; north is exposed and alone."""
    model.run("multicluster", "expose", "--context", "north", "--namespace", GATEWAYS)
    model.kubectl("north", "label", "service", "hello-world", "-n", "app", f"{SCOPE}=global")
    with joined(model, PAIR):
        scaled(model, "west", 0)
        yield model
        scaled(model, "west", 2)


def test_no_call_is_lost_while_control_planes_are_dead(linked: Lab) -> None:
    linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east"})
    with watched(linked, f"west/{SLEEP}", GLOBAL, 20) as calls:
        with linked.killed("east/istiod"):
            eventually(lambda: peer(linked, "west", "east")["state"] == "error", within=30, what="west notices")
            status, message = eventually(
                lambda: (found := programmed(linked, "west", "east"))[0] == "False" and found, within=10, what="told"
            )
            assert status == "False"
            assert "1 services stay as last told" in message
        begun = time.time()
        eventually(lambda: connected(linked), within=30, what="they hear each other again", every=0.1)
        told("istiod is ready to both ways connected", begun)
    calls.check()


def test_a_control_plane_that_starts_while_its_peer_is_away_goes_on_with_what_was_told(linked: Lab) -> None:
    """West's control plane begins with its checkpoint; what calls take part in is not touched."""
    with linked.killed("east/istiod"), watched(linked, f"west/{SLEEP}", GLOBAL, 8) as calls:
        for verb in ("kill", "restore"):
            linked.lab(verb, "west/istiod")
        found = eventually(
            lambda: (one := peer(linked, "west", "east")).get("stale") and one, within=30, what="it is up"
        )
        assert found["state"] in ("error", "connecting")
        assert found["servicesIn"] == 1
    calls.check()
    eventually(lambda: connected(linked), within=30, what="they hear each other again")


def test_a_link_that_is_cut_stays_as_it_was_and_hears_what_changed_when_it_heals(linked: Lab) -> None:
    scaled(linked, "west", 1)
    try:
        linked.answered_by(f"west/{SLEEP}", GLOBAL, {"west"})
        with watched(linked, f"west/{SLEEP}", GLOBAL, 25) as calls:
            with linked.cut("east-net", "west-net"):
                eventually(lambda: peer(linked, "west", "east")["state"] == "error", within=40, what="west notices")
                assert peer(linked, "west", "east")["servicesIn"] == 1
                before = peer(linked, "west", "east")["lastUpdate"]
                linked.kubectl("east", "apply", "-f", "-", stdin=LATER)
            begun = time.time()
            eventually(
                lambda: peer(linked, "west", "east")["servicesIn"] == 2, within=30, what="the change arrives", every=0.1
            )
            told("healed (and lab up) to first update", begun)
            assert peer(linked, "west", "east")["lastUpdate"] > before
        calls.check("west")
    finally:
        linked.kubectl("east", "delete", "service", "later", "-n", "app")
        scaled(linked, "west", 0)
    linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east"})
    eventually(lambda: programmed(linked, "west", "east")[0] == "True", within=10, what="the Gateway says so")


def test_a_gateway_moves_to_another_address_and_links_follow(linked: Lab) -> None:
    before = peer(linked, "west", "east")["addresses"]
    with watched(linked, f"west/{SLEEP}", GLOBAL, 20) as calls:
        restarted(linked, "east", GATEWAY, GATEWAYS)
        after = eventually(
            lambda: (found := peer(linked, "west", "east")["addresses"])[0] != before[0] and found,
            within=30,
            what="west is told of the other address",
        )
        begun = time.time()
        with linked.killed("west/istiod"):
            pass
        eventually(
            lambda: connected(linked, begun), within=30, what="west finds east there, though the link says otherwise"
        )
    calls.check()
    assert peer(linked, "west", "east")["addresses"][0] == after[0]


def authority(lab: Lab, directory: Path, name: str) -> dict[str, str]:
    """A new root and an intermediate of it for east, made as the operator makes them."""
    root, out = directory / f"root-{name}", directory / f"east-{name}"
    lab.run("ca", "root", "--out", str(root))
    bound = ("--cluster", "east", "--trust-domain", "east.example")
    lab.run("ca", "intermediate", *bound, "--root", str(root), "--out", str(out))
    return {file.name: file.read_text() for file in out.iterdir()}


def install(lab: Lab, data: dict[str, str]) -> None:
    """Put an authority into east's secret."""
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}
    meta = {"name": "cacerts", "namespace": "istio-system"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": encoded}
    lab.kubectl("east", "apply", "-f", "-", stdin=json.dumps(secret))


def knows_nobody(lab: Lab, cluster: str) -> bool:
    """True if a control plane has no peer."""
    return page(lab, cluster).get("peers") == []


def believed(lab: Lab) -> int:
    """By how many roots west believes east."""
    return len(peer(lab, "west", "east")["rootFingerprints"])


def signer(lab: Lab) -> str:
    """The certificate by which east signs now."""
    return str(json.loads(lab.ask("east", "/debug/trust"))["chain"][0]["fingerprint"])


def test_roots_of_a_cluster_are_replaced_under_load(linked: Lab, tmp_path: Path) -> None:
    """The new root is believed before anything is under it, and the old one as long as anything is."""
    secret = linked.get("east", "secret", "-n", "istio-system", "cacerts")["data"]
    old = base64.b64decode(secret["root-cert.pem"]).decode()
    fresh, before = authority(linked, tmp_path, "new"), signer(linked)
    with watched(linked, f"west/{SLEEP}", GLOBAL, 30) as calls:
        begun = time.time()
        install(linked, {**fresh, "root-cert.pem": fresh["root-cert.pem"] + old})
        eventually(lambda: signer(linked) != before, within=40, what="the new intermediate signs")
        told("new authority written to first signature under it", begun)
        assert believed(linked) == 2
        begun = time.time()
        install(linked, fresh)
        eventually(lambda: believed(linked) == 1, within=40, what="the old root is gone everywhere")
        told("old root taken out to forgotten by peers", begun)
        restarted(linked, "east", "hello-world")
        restarted(linked, "east", GATEWAY, GATEWAYS)
    calls.check(all_seen=False)
    restarted(linked, "west", "batch")
    ways = linked.ways(f"west/{BATCH}", GLOBAL)
    assert {way.identity for way in ways} == {CALLER.replace("sleep", "batch")}
    assert connected(linked)
    assert fresh["root-cert.pem"].strip() == page(linked, "east")["roots"].strip()


def test_roots_are_not_replaced_before_a_peer_that_is_cut_off_has_heard(linked: Lab, tmp_path: Path) -> None:
    """Nobody has to link again after a change that a peer missed."""
    secret = linked.get("east", "secret", "-n", "istio-system", "cacerts")["data"]
    old = base64.b64decode(secret["root-cert.pem"]).decode()
    fresh, before = authority(linked, tmp_path, "missed"), signer(linked)
    with linked.killed("west/istiod"), watched(linked, f"west/{SLEEP}", GLOBAL, 8) as calls:
        install(linked, {**fresh, "root-cert.pem": fresh["root-cert.pem"] + old})
        eventually(
            lambda: page(linked, "east")["newAuthorityWaitsFor"] == ["cluster west"],
            within=20,
            what="east waits for west",
        )
        checked = linked.run("multicluster", "check", "--contexts", "east", check=False).stdout
        assert "cluster west" in checked
        assert signer(linked) == before
    calls.check()
    eventually(lambda: signer(linked) != before, within=60, what="the new intermediate signs")
    eventually(lambda: connected(linked), within=30, what="they hear each other")
    linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east"})


def test_certificates_of_workloads_are_replaced_under_load(linked: Lab) -> None:
    """Lifetimes of 12 s in east: of who answers, and of its node's proxy."""
    env = [{"name": "SECRET_TTL", "value": "12s"}]
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "node-proxy", "env": env}]}}}}
    linked.kubectl("east", "patch", "daemonset", "-n", "istio-system", "isthmus-node", "-p", json.dumps(patch))
    linked.kubectl("east", "rollout", "status", "-n", "istio-system", "daemonset/isthmus-node", "--timeout=90s")
    linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east"})

    def issued() -> int:
        return int(json.loads(linked.ask("east", "/debug/trust"))["issued"])

    before = issued()
    identities = 6
    with watched(linked, f"west/{SLEEP}", GLOBAL, 20) as calls:
        eventually(lambda: issued() >= before + 2 * identities, within=40, what="everything was renewed", every=1)
        restarted(linked, "east", "hello-world")
    calls.check(all_seen=False)
    assert {way.identity for way in linked.ways(f"west/{SLEEP}", GLOBAL)} == {CALLER}


def test_who_calls_one_way_is_not_called_back(linked: Lab) -> None:
    linked.run("multicluster", "unlink", *between(PAIR))
    linked.run("multicluster", "link", "--from", "west", "--to", "north", "--namespace", GATEWAYS)
    linked.answered_by(f"west/{SLEEP}", GLOBAL, {"north"})
    linked.answered_by(f"north/{SLEEP}", GLOBAL, {"north"})
    scaled(linked, "west", 1)
    linked.kubectl("north", "scale", "-n", "app", "deployment/hello-world", "--replicas=0")
    try:
        linked.refused(f"north/{SLEEP}", GLOBAL)
        assert peer(linked, "north", "west")["state"] == "inbound"
    finally:
        scaled(linked, "north", 2)
        scaled(linked, "west", 0)
    with watched(linked, f"west/{SLEEP}", GLOBAL, 3) as calls:
        pass
    calls.check("north")


def test_unlinked_clusters_keep_nothing_of_each_other(linked: Lab) -> None:
    linked.run("multicluster", "unlink", "--contexts", "west,north", "--namespace", GATEWAYS)
    linked.refused(f"west/{SLEEP}", GLOBAL)
    for cluster in (*PAIR, "north"):
        eventually(partial(knows_nobody, linked, cluster), within=10, what="no peers")
        links = linked.get(cluster, "gateways.gateway.networking.k8s.io", "-n", GATEWAYS)["items"]
        assert {one["spec"]["gatewayClassName"] for one in links} == {"istio-eastwest"}
        kept = linked.exec(f"{cluster}/istio-system/istiod", "sh", "-c", "ls /var/run/isthmus/checkpoint; true").stdout
        assert ".peer" not in kept
    scaled(linked, "west", 1)
    linked.answered_by(f"west/{SLEEP}", GLOBAL, {"west"})
    scaled(linked, "west", 0)
