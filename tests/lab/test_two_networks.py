"""The scenario `two-networks`: everything the example promises, with real Envoys and real traffic, in one bring-up.

The tests run in the order of the file: calm ones first, then those that kill parts, each of which restores what it
took. Who answered, by which path and with which identity is read from what the servers' and gateways' proxies logged.
"""

import base64
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab.harness import CLIENT, HELLO, LOAD, PLAIN, SLEEP, Lab, eventually

pytestmark = pytest.mark.lab

SNI = "outbound_.5000_._.{}.svc.cluster.local"
KILLED_SECONDS = 20
TOKEN = "istio-reader-service-account-istio-remote-secret-token"


def gateways(lab: Lab, cluster: str) -> list[str]:
    """The WAN addresses of a cluster's east-west gateway."""
    service = lab.get(cluster, "service", "-n", "istio-system", "istio-eastwestgateway")
    return [item["ip"] for item in service["status"].get("loadBalancer", {}).get("ingress", [])]


def pod_address(lab: Lab, cluster: str, selector: str) -> str:
    """The address of the first pod of namespace sample with these labels."""
    return str(lab.get(cluster, "pods", "-n", "sample", "-l", selector)["items"][0]["status"]["podIP"])


def access_log(lab: Lab, cluster: str, namespace: str, selector: str) -> list[dict[str, Any]]:
    """The JSON lines that the proxies of these pods logged."""
    lines: list[dict[str, Any]] = []
    for pod in lab.kubectl(cluster, "get", "pods", "-n", namespace, "-l", selector, "-o", "name").split():
        text = lab.kubectl(cluster, "logs", "-n", namespace, pod, "-c", "istio-proxy")
        lines += [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return lines


def problems(lab: Lab, cluster: str) -> list[dict[str, Any]]:
    """What the cluster's control plane reports of broken objects."""
    found: list[dict[str, Any]] = json.loads(lab.ask(cluster, "/debug/problems"))
    return found


def west(lab: Lab, cluster: str = "east") -> dict[str, Any]:
    """What a control plane says of its contact with west; empty if it does not know it."""
    return next((row for row in lab.remote_clusters(cluster) if row["id"] == "west"), {})


# -- who answers, by which path, as whom ----------------------------------------------------------------------------


def test_share_follows_ready_endpoints(lab: Lab) -> None:
    calls = lab.call(CLIENT, HELLO, "--count", "400")
    assert not calls.failures
    assert calls.share("west") == pytest.approx(25, abs=7)
    assert calls.identities == {SLEEP}


def test_share_is_the_same_with_two_gateways(lab: Lab) -> None:
    gateway = ("-n", "istio-system", "deployment/istio-eastwestgateway")

    def used() -> set[str]:
        lab.call(CLIENT, HELLO, "--count", "20")
        lines = access_log(lab, "west", "istio-system", "istio=eastwestgateway")
        return {line["downstream_local_address"] for line in lines if line["requested_server_name"]}

    lab.kubectl("west", "scale", *gateway, "--replicas=2")
    try:
        eventually(lambda: len(gateways(lab, "west")) == 2, within=30, what="west's gateway has two addresses")
        lab.kubectl("west", "rollout", "status", *gateway, "--timeout=30s")
        eventually(lambda: len(used()) == 2, within=30, what="both gateways carry connections")
        calls = lab.call(CLIENT, HELLO, "--count", "400")
        assert not calls.failures
        assert calls.share("west") == pytest.approx(25, abs=7)
    finally:
        lab.kubectl("west", "scale", *gateway, "--replicas=1")
        eventually(lambda: len(gateways(lab, "west")) == 1, within=60, what="west's gateway has one address again")


def test_identity_cluster_and_hop_are_in_the_access_logs(lab: Lab) -> None:
    lab.call(CLIENT, HELLO, "--count", "20")
    passed = eventually(
        lambda: [
            line
            for line in access_log(lab, "west", "istio-system", "istio=eastwestgateway")
            if line["requested_server_name"] == SNI.format("helloworld.sample") and line["upstream_local_address"]
        ],
        within=20,
        what="west's gateway logs the connection",
    )
    served = eventually(
        lambda: [
            line
            for line in access_log(lab, "west", "sample", "app=helloworld")
            if line["direction"] == "inbound" and line["downstream_peer_uri_san"] == SLEEP
        ],
        within=20,
        what="the proxy of west's server logs the client's identity",
    )
    # The connection that the server saw is the very one that the gateway opened: the hop, proved from both ends.
    assert {line["downstream_remote_address"] for line in served} & {line["upstream_local_address"] for line in passed}
    at_home = access_log(lab, "east", "sample", "app=helloworld")
    assert SLEEP in {line["downstream_peer_uri_san"] for line in at_home}


def test_a_caller_cannot_claim_another_identity(lab: Lab) -> None:
    forged = "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/istio-system/sa/admin"
    calls = lab.call(CLIENT, HELLO, "--count", "12", "--header", forged)
    assert not calls.failures
    assert calls.identities == {SLEEP}


def test_a_service_that_exists_only_in_west_resolves_and_answers(lab: Lab) -> None:
    calls = lab.call(CLIENT, "http://only-west.sample:5000/hello", "--count", "5")
    assert calls.clusters == {"west": 5}


def test_tcp_goes_both_ways(lab: Lab) -> None:
    script = (
        "import socket; s = socket.create_connection(('tcp-echo.sample', 9000), timeout=5); "
        "print(s.makefile().readline().strip())"
    )
    for cluster in ("east", "west"):
        said = {
            lab.exec(f"{cluster}/sample/sleep", sys.executable, "-c", script).stdout.split(":")[0] for _ in range(20)
        }
        assert said == {"east", "west"}, f"from {cluster}"


# -- what must not be reachable -------------------------------------------------------------------------------------


def test_networks_are_apart(lab: Lab) -> None:
    # Both networks use the same range, so west's node address, free in east, is the one that tells.
    node = lab.get("west", "nodes")["items"][0]
    address = next(item["address"] for item in node["status"]["addresses"] if item["type"] == "InternalIP")
    for workload in (PLAIN, CLIENT):
        assert lab.probe(workload, "tcp", address, "6443") in ("refused", "timed out", "unreachable", "closed")


@pytest.mark.parametrize(
    ("service", "alpn", "outcome"),
    [
        pytest.param("helloworld.sample", "istio", "handshake refused", id="no certificate: the destination refuses"),
        pytest.param("helloworld.sample", "h2", "closed before the handshake", id="wrong ALPN: the gateway closes"),
        pytest.param("ledger.private", "istio", "closed before the handshake", id="not exposed: the gateway closes"),
        pytest.param("nothing.sample", "istio", "closed before the handshake", id="no such service"),
    ],
)
def test_gateway_without_a_mesh_certificate(lab: Lab, service: str, alpn: str, outcome: str) -> None:
    address = gateways(lab, "west")[0]
    assert lab.probe(PLAIN, "tls", address, "15443", SNI.format(service), alpn) == outcome


def test_plain_client_is_refused_by_a_strict_workload(lab: Lab) -> None:
    address = pod_address(lab, "east", "app=helloworld")
    assert lab.probe(PLAIN, "tcp", address, "5000") in ("unreachable", "closed")
    assert lab.probe(PLAIN, "tcp", "helloworld.sample", "5000") in ("unreachable", "closed")


def test_a_workload_without_sidecar_is_not_offered_across_networks(lab: Lab) -> None:
    assert lab.call("west/plain/sleep-plain", "http://ledger.private:5000/hello", "--count", "2").clusters == {
        "west": 2
    }
    assert len(lab.call(CLIENT, "http://ledger.private:5000/hello", "--count", "2").failures) == 2


# -- endpoints come and go ------------------------------------------------------------------------------------------


def test_scaled_to_zero_in_east_and_back(lab: Lab) -> None:
    def scale(count: int) -> None:
        lab.kubectl("east", "scale", "-n", "sample", "deployment/helloworld-v1", f"--replicas={count}")

    def ready() -> int:
        slices = lab.get("east", "endpointslices", "-n", "sample", "-l", "kubernetes.io/service-name=helloworld")
        return sum(e["conditions"]["ready"] for item in slices["items"] for e in item.get("endpoints") or [])

    with lab.calling(CLIENT, HELLO, *LOAD, "500") as calls:
        scale(0)
        eventually(lambda: ready() == 0, within=30, what="no ready endpoint in east")
    assert not calls.failures
    alone = lab.call(CLIENT, HELLO, "--count", "40")
    assert alone.clusters == {"west": 40}
    with lab.calling(CLIENT, HELLO, *LOAD, "500") as calls:
        scale(3)
        eventually(lambda: ready() == 3, within=30, what="three ready endpoints in east")
    assert not calls.failures
    assert calls.clusters["east"] > 0


# -- credentials of the other cluster -------------------------------------------------------------------------------


def remote_secret(lab: Lab, *words: str) -> str:
    """`isthmus create-remote-secret` of west."""
    return lab.run("create-remote-secret", "--context", "west", "--name", "west", *words).stdout


def test_rotated_remote_secret(lab: Lab) -> None:
    before = lab.get("east", "secret", "-n", "istio-system", "istio-remote-secret-west")["data"]["west"]
    with lab.calling(CLIENT, HELLO, *LOAD, "750") as calls:
        lab.kubectl("west", "delete", "secret", "-n", "istio-system", TOKEN)
        eventually(lambda: "401" in str(west(lab)) or "nauthorized" in str(west(lab)), within=15, what="revoked")
        lab.kubectl("east", "apply", "-f", "-", stdin=remote_secret(lab))
        eventually(lambda: west(lab)["syncStatus"] == "synced", within=15, what="west is read with the new token")
    after = lab.get("east", "secret", "-n", "istio-system", "istio-remote-secret-west")["data"]["west"]
    assert before != after
    assert not calls.failures
    assert calls.share("west") == pytest.approx(25, abs=7), "endpoints of west vanished during the rotation"


def test_wrong_remote_secret_shows_its_error_and_keeps_what_worked(lab: Lab) -> None:
    good = lab.kubectl("east", "get", "secret", "-n", "istio-system", "istio-remote-secret-west", "-o", "yaml")
    kubeconfig = base64.b64decode(
        lab.get("east", "secret", "-n", "istio-system", "istio-remote-secret-west")["data"]["west"]
    ).decode()
    token = next(line.split(":")[1].strip() for line in kubeconfig.splitlines() if line.strip().startswith("token:"))
    wrong = base64.b64encode(kubeconfig.replace(token, "wrong").encode()).decode()
    patch = json.dumps({"data": {"west": wrong}})
    lab.kubectl("east", "patch", "secret", "-n", "istio-system", "istio-remote-secret-west", "-p", patch)
    error = eventually(lambda: west(lab).get("lastError"), within=15, what="the error is shown")
    assert "nauthorized" in error or "401" in error
    calls = lab.call(CLIENT, HELLO, "--count", "100")
    assert not calls.failures
    assert calls.share("west") == pytest.approx(25, abs=10)
    lab.kubectl("east", "replace", "--force", "-f", "-", stdin=good)
    eventually(lambda: west(lab).get("syncStatus") == "synced", within=15, what="the good secret works again")


def test_deleted_remote_secret(lab: Lab) -> None:
    lab.kubectl("east", "delete", "secret", "-n", "istio-system", "istio-remote-secret-west")
    eventually(lambda: not west(lab), within=10, what="west has left")
    eventually(lambda: lab.call(CLIENT, HELLO, "--count", "20").clusters == {"east": 20}, within=10, what="only east")
    lab.kubectl("east", "apply", "-f", "-", stdin=remote_secret(lab))
    eventually(lambda: west(lab).get("syncStatus") == "synced", within=15, what="west is back without a restart")


# -- broken objects -------------------------------------------------------------------------------------------------

BROKEN = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "trustDomain: [not, a, domain"}
---
apiVersion: v1
kind: Secret
metadata: {name: istio-remote-secret-south, namespace: istio-system, labels: {istio/multiCluster: "true"}}
stringData: {south: "this is no kubeconfig"}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: broken, namespace: sample}
spec: {host: "", trafficPolicy: {connectionPool: {tcp: {connectTimeout: soon}}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: broken, namespace: sample}
spec: {selector: {istio: nobody}, servers: [{port: {number: 99999, name: tls, protocol: TLS}, hosts: ["not a host"]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: broken, namespace: sample}
spec: {selector: {matchLabels: {app: nobody}}, mtls: {mode: SOMETIMES}}
"""


def test_malformed_objects_are_reported_and_everything_else_goes_on(lab: Lab) -> None:
    before = problems(lab, "east")
    refused: list[str] = []
    accepted: list[str] = []
    for text in BROKEN.split("---\n"):
        kind = next(line.split(": ")[1] for line in text.splitlines() if line.startswith("kind"))
        done = lab.try_kubectl("east", "apply", "-f", "-", stdin=text)
        (refused if done.returncode else accepted).append(kind)
        if done.returncode:
            assert "spec." in done.stderr, f"the refusal of a {kind} names no field: {done.stderr}"
    assert {"ConfigMap", "Secret"} <= set(accepted)

    def reported() -> bool:
        return set(accepted) <= {problem["where"]["kind"] for problem in problems(lab, "east")}

    try:
        eventually(reported, within=15, what=f"{accepted} are reported as problems")
        for problem in problems(lab, "east"):
            assert problem["where"]["name"], problem
            assert problem["field"], problem
            assert problem["remedy"], problem
        calls = lab.call(CLIENT, HELLO, "--count", "100")
        assert not calls.failures
        assert calls.identities == {SLEEP}
    finally:
        for text in BROKEN.split("---\n"):
            lab.try_kubectl("east", "delete", "--ignore-not-found", "-f", "-", stdin=text)
    eventually(lambda: problems(lab, "east") == before, within=15, what="they are not reported any more")


# -- parts die ------------------------------------------------------------------------------------------------------


def kill(*targets: str) -> Callable[[Lab], None]:
    """SIGKILL these parts for the time of a drill."""

    def act(lab: Lab) -> None:
        for target in targets:
            lab.lab("kill", target, "--for", f"{KILLED_SECONDS}s")

    return act


def kill_api_server_and_restart_istiod(lab: Lab) -> None:
    """West's API server is dead while east's control plane starts anew: it must not forget west."""
    lab.lab("kill", "west/apiserver", "--for", f"{KILLED_SECONDS}s")
    lab.lab("kill", "east/istiod", "--for", "1s")


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(kill("west/apiserver"), id="west's API server"),
        pytest.param(kill("west/istiod"), id="west's control plane"),
        pytest.param(kill("east/istiod"), id="east's control plane"),
        pytest.param(kill_api_server_and_restart_istiod, id="west's API server, then east's control plane restarts"),
    ],
)
def test_no_request_fails_when_a_part_of_control_dies(lab: Lab, action: Callable[[Lab], None]) -> None:
    with lab.calling(CLIENT, HELLO, *LOAD, "1250") as calls:
        action(lab)
    assert len(calls.calls) >= 1000
    assert not calls.failures
    assert calls.share("west") == pytest.approx(25, abs=7)


@pytest.mark.parametrize(
    "words", [("kill", "west/gateway"), ("partition", "east", "west")], ids=["west's only gateway", "the network"]
)
def test_lost_path_to_west(lab: Lab, words: tuple[str, ...]) -> None:
    with lab.calling(CLIENT, HELLO, *LOAD, "1250") as calls:
        lab.lab(*words, "--for", f"{KILLED_SECONDS}s")
    failures = calls.failures
    assert len(failures) <= 0.02 * len(calls.calls)
    assert not failures or failures[-1].at - failures[0].at <= 3.0, "failures after the first three seconds"
    assert calls.clusters["east"] > 0


def test_restarted_control_plane_sends_only_differences(lab: Lab) -> None:
    streams = lab.ask("east", "/metrics").split("\nisthmus_xds_streams ")[1].split()[0]
    assert float(streams) >= 5
    lab.lab("kill", "east/istiod", "--for", "1s")

    def back() -> bool:
        try:
            return f"isthmus_xds_streams {streams}" in lab.ask("east", "/metrics")
        except AssertionError:
            return False

    eventually(back, within=60, what="all proxies are connected again")
    sent = {
        line.split('type="')[1].split('"')[0]: float(line.split()[-1])
        for line in lab.ask("east", "/metrics").splitlines()
        if line.startswith("isthmus_xds_push_bytes_total{")
    }
    # What a proxy held is what exists, so nothing but empty answers may be sent; a full set is over 100 kB.
    assert sum(sent.values()) < 20_000, sent
