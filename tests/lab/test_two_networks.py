"""The scenario `two-networks`: everything the example promises, with real Envoys and real traffic, in one bring-up.

The tests run in the order of the file: calm ones first, then those that kill parts, each of which restores what it
took. Who answered, by which path and with which identity is read from what the servers' and gateways' proxies logged.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.harness import Lab, eventually

pytestmark = pytest.mark.lab

HELLO = "http://helloworld.sample:5000/hello"
SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"
SNI = "outbound_.5000_._.helloworld.sample.svc.cluster.local"
PROBE = str(Path(__file__).parent / "probe.py")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab of this file, started once."""
    world = Lab("two-networks", tmp_path_factory.mktemp("lab"))
    world.up()
    try:
        steady(world)
        yield world
    finally:
        world.down()


def steady(lab: Lab) -> None:
    """Wait until both clusters answer east/sleep."""
    eventually(
        lambda: set(lab.call("east/sleep", HELLO, "--count", "12").clusters) == {"east", "west"},
        within=60,
        what="both clusters answer east/sleep",
    )


def probe(lab: Lab, workload: str, *words: str) -> dict[str, str]:
    """One attempt from inside a pod."""
    met: dict[str, str] = json.loads(lab.exec(workload, sys.executable, PROBE, *words).stdout)
    return met


def gateway_address(lab: Lab, cluster: str) -> str:
    """The first WAN address of a cluster's east-west gateway."""
    service = json.loads(
        lab.kubectl(cluster, "get", "service", "-n", "istio-system", "istio-eastwestgateway", "-o", "json")
    )
    return str(service["status"]["loadBalancer"]["ingress"][0]["ip"])


def access_log(lab: Lab, cluster: str, namespace: str, selector: str, container: str) -> list[dict[str, Any]]:
    """The JSON lines that proxies logged."""
    lines: list[dict[str, Any]] = []
    pods = lab.kubectl(cluster, "get", "pods", "-n", namespace, "-l", selector, "-o", "name").split()
    for pod in pods:
        text = lab.kubectl(cluster, "logs", "-n", namespace, pod, "-c", container)
        lines += [json.loads(line) for line in text.splitlines() if line.startswith("{") and "direction" in line]
    return lines


def test_share_follows_ready_endpoints(lab: Lab) -> None:
    calls = lab.call("east/sleep", HELLO, "--count", "400")
    assert not calls.failures
    assert calls.share("west") == pytest.approx(25, abs=7)
    assert calls.identities == {SLEEP}


def test_identity_and_hop_are_in_the_access_logs(lab: Lab) -> None:
    lab.call("east/sleep", HELLO, "--count", "20")
    served = eventually(
        lambda: [
            line
            for line in access_log(lab, "west", "sample", "app=helloworld", "istio-proxy")
            if line["direction"] == "inbound" and line["downstream_peer_uri_san"] == SLEEP
        ],
        within=20,
        what="the server's proxy in west logs the client's identity",
    )
    passed = eventually(
        lambda: [
            line
            for line in access_log(lab, "west", "istio-system", "istio=eastwestgateway", "istio-proxy")
            if line["direction"] == "gateway" and line["requested_server_name"] == SNI
        ],
        within=20,
        what="west's gateway logs the connection",
    )
    gateways = {
        line["upstream_local_address"].rsplit(":", 1)[0] for line in passed if line.get("upstream_local_address")
    }
    sources = {line["downstream_remote_address"].rsplit(":", 1)[0] for line in served}
    assert not gateways or sources & gateways, "west's server was reached by something else than its gateway"
