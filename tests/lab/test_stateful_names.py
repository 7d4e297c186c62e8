"""Names of the pods of StatefulSets, in clusters of one network: DN3 and DN4."""

import pytest

from tests.lab.harness import SLEEP, Lab, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "flat-network"
PEERS = """
apiVersion: v1
kind: Service
metadata: {name: peers, namespace: sample}
spec:
  clusterIP: None
  selector: {app: peers}
  ports: [{name: http, port: 5000}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: peer, namespace: sample}
spec:
  serviceName: peers
  replicas: %(replicas)s
  selector: {matchLabels: {app: peers}}
  template:
    metadata: {labels: {app: peers}}
    spec:
      serviceAccountName: helloworld
      containers:
        - name: helloworld
          image: isthmus/helloworld
          args: ["--port", "5000"]
          env: [{name: CLUSTER_ID, value: "%(cluster)s"}]
          ports: [{name: http, containerPort: 5000}]
          readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 1}
"""
CLIENT = "east/sample/sleep"


@pytest.fixture(scope="module")
def peers(model: Lab) -> Lab:
    """peer-0 in both clusters, peer-1 in west alone."""
    for cluster, replicas in (("east", 1), ("west", 2)):
        text = PEERS % {"replicas": replicas, "cluster": cluster}
        model.kubectl(cluster, "apply", "-f", "-", stdin=text)
    for cluster, replicas in (("east", 1), ("west", 2)):
        model.kubectl(cluster, "rollout", "status", "-n", "sample", "statefulset/peer", "--timeout=60s")
        assert len(addresses(model, cluster)) == replicas
    return model


def addresses(lab: Lab, cluster: str) -> dict[str, str]:
    """Pod -> address."""
    pods = lab.get(cluster, "pods", "-n", "sample", "-l", "app=peers")["items"]
    return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods}


def resolve(lab: Lab, name: str) -> set[str]:
    done = lab.exec(CLIENT, "getent", "ahostsv4", name, check=False)
    return {line.split()[0] for line in done.stdout.splitlines()}


def test_the_service_means_all_pods_of_the_network(peers: Lab) -> None:
    wanted = {*addresses(peers, "east").values(), *addresses(peers, "west").values()}
    eventually(lambda: resolve(peers, "peers.sample") == wanted, within=20, what="peers means three pods")


def test_of_two_pods_with_one_name_the_own_clusters_is_meant(peers: Lab) -> None:
    east, west = addresses(peers, "east"), addresses(peers, "west")
    eventually(lambda: resolve(peers, "peer-1.peers.sample") == {west["peer-1"]}, within=20, what="peer-1 is west's")
    assert resolve(peers, "peer-0.peers") == {east["peer-0"]}


@pytest.mark.parametrize(("pod", "cluster"), [("peer-0", "east"), ("peer-1", "west")])
def test_pods_are_called_by_name_with_mutual_tls(peers: Lab, pod: str, cluster: str) -> None:
    calls = peers.answered_by(CLIENT, f"http://{pod}.peers.sample:5000/hello", {cluster}, "--count", "5")
    assert calls.identities == {SLEEP}


def test_a_pod_that_is_replaced_keeps_its_name(peers: Lab) -> None:
    before = addresses(peers, "west")["peer-1"]
    peers.kubectl("west", "delete", "pod", "-n", "sample", "peer-1", "--wait=true")
    peers.kubectl("west", "rollout", "status", "-n", "sample", "statefulset/peer", "--timeout=60s")
    now = addresses(peers, "west")["peer-1"]
    assert now != before
    eventually(lambda: resolve(peers, "peer-1.peers.sample") == {now}, within=20, what="the name follows the pod")
    peers.answered_by(CLIENT, "http://peer-1.peers.sample:5000/hello", {"west"}, "--count", "5")
