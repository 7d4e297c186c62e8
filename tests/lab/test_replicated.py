"""The scenario `replicated`: clusters alike that do not know each other; global names lead from gateway to gateway."""

import pytest

from tests.lab.harness import SLEEP, Lab, Way, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "replicated"
GLOBAL = "http://helloworld.sample.global:5000/hello"
LOCAL = "http://helloworld.sample:5000/hello"
EAST, WEST = "east/sample/sleep", "west/sample/sleep"


def scale(lab: Lab, cluster: str, count: int) -> None:
    version = {"east": "v1", "west": "v2"}[cluster]
    lab.kubectl(cluster, "scale", "-n", "sample", f"deployment/helloworld-{version}", f"--replicas={count}")


def gateways(way: Way) -> list[str]:
    """The clusters of the gateways that a way goes through."""
    return [name.partition("/")[0] for name in way.gateway.split(", ") if name]


def test_no_cluster_has_access_to_the_others_api_server(model: Lab) -> None:
    for cluster in ("east", "west"):
        found = model.get(cluster, "secrets", "-A", "-l", "istio/multiCluster=true")
        assert found["items"] == []
        assert [row["id"] for row in model.remote_clusters(cluster)] == [cluster]


@pytest.mark.parametrize(("client", "home"), [(EAST, "east"), (WEST, "west")])
def test_the_name_means_the_own_clusters_instances_first(model: Lab, client: str, home: str) -> None:
    assert "240.240." in model.exec(client, "getent", "hosts", "helloworld.sample.global").stdout
    assert model.answered_by(client, GLOBAL, {home}).identities == {SLEEP}
    assert {(way.cluster, way.gateway) for way in model.ways(client, GLOBAL)} == {(home, "")}


def test_the_local_name_means_the_own_cluster_only(model: Lab) -> None:
    assert set(model.call(EAST, LOCAL, "--count", "20").clusters) == {"east"}
    assert set(model.call(WEST, LOCAL, "--count", "20").clusters) == {"west"}


def test_instances_of_a_cluster_are_lost_under_load_and_the_other_answers_from_gateway_to_gateway(model: Lab) -> None:
    with model.under_load(EAST, GLOBAL, 6) as calls:
        scale(model, "east", 0)
        model.answered_by(EAST, GLOBAL, {"west"})
        (way,) = eventually(lambda: model.ways(EAST, GLOBAL), within=20, what="calls are found in the logs")
        scale(model, "east", 1)
        model.answered_by(EAST, GLOBAL, {"east"})
    assert gateways(way) == ["east", "west"]
    assert (way.cluster, way.identity) == ("west", SLEEP)
    assert not calls.failures


def test_pods_do_not_call_the_wan_themselves(model: Lab) -> None:
    """What east's sidecar is told: its own gateway's egress port, and no address of the WAN."""
    pod = model.get("east", "pods", "-n", "sample", "-l", "app=sleep")["items"][0]["metadata"]["name"]
    shown = model.run("proxy-config", "endpoint", f"{pod}.sample", "--context", "east").stdout
    assert ":15445" in shown
    assert "198.18." not in shown


def test_both_control_planes_are_dead_and_calls_go_on(model: Lab) -> None:
    scale(model, "east", 0)
    model.answered_by(EAST, GLOBAL, {"west"})
    with model.killed("east/istiod", "west/istiod"), model.under_load(EAST, GLOBAL, 4) as calls:
        pass
    scale(model, "east", 1)
    assert not calls.failures
    assert set(calls.clusters) == {"west"}


def test_the_other_clusters_gateway_is_dead(model: Lab) -> None:
    """Whoever has instances at home does not notice; whoever has none gets an error, and the rest when it is back."""
    model.answered_by(EAST, GLOBAL, {"east"})
    with model.killed("west/gateway"), model.under_load(EAST, GLOBAL, 3) as calls:
        pass
    assert not calls.failures
    assert set(calls.clusters) == {"east"}
    scale(model, "east", 0)
    model.answered_by(EAST, GLOBAL, {"west"})
    scale(model, "east", 1)
    model.answered_by(EAST, GLOBAL, {"east"})
