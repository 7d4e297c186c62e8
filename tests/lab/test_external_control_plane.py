"""The scenario `external-control-plane`: the control plane runs in a cluster that has no part in the mesh."""

import pytest

from tests.lab.harness import HELLO, SLEEP, Lab, eventually
from tests.lab.served import connected, control_plane_addresses, roots, served_by

pytestmark = pytest.mark.lab

EXAMPLE = "external-control-plane"
BOTH = {"east", "west"}
SLEEPS = {"east": "east/sample/sleep", "west": "west/sample/sleep"}
OTHER = {"east": "west", "west": "east"}


@pytest.mark.parametrize("home", sorted(BOTH))
def test_both_answer_at_home_directly_and_afar_through_the_other_gateway(model: Lab, home: str) -> None:
    assert model.answered_by(SLEEPS[home], HELLO, BOTH).identities == {SLEEP}
    ways = model.ways(SLEEPS[home], HELLO, 24)
    seen = {(way.cluster, way.gateway.partition("/")[0], way.identity) for way in ways}
    assert seen == {(home, "", SLEEP), (OTHER[home], OTHER[home], SLEEP)}


@pytest.mark.parametrize("home", sorted(BOTH))
def test_clients_outside_of_the_mesh_are_refused(model: Lab, home: str) -> None:
    model.refused(f"{home}/plain/sleep-plain", HELLO)


def test_no_data_cluster_runs_a_control_plane(model: Lab) -> None:
    service = model.get("management", "service", "-n", "istio-system", "istiod")
    addresses = [item["ip"] for item in service["status"]["loadBalancer"]["ingress"]]
    for cluster in sorted(BOTH):
        pods = model.get(cluster, "pods", "-n", "istio-system")["items"]
        assert [pod for pod in pods if pod["metadata"]["name"].startswith("istiod")] == []
        assert control_plane_addresses(model, cluster) == addresses
        assert roots(model, cluster)
    assert {cluster for _, cluster in connected(model, "management")} == BOTH


def test_the_management_cluster_is_not_part_of_the_mesh(model: Lab) -> None:
    assert [row["id"] for row in model.remote_clusters("management")] == ["east", "west"]
    assert roots(model, "management", "istio-system") == ""
    assert not model.get("management", "mutatingwebhookconfigurations")["items"]


def test_configuration_of_the_config_cluster_is_in_force(model: Lab) -> None:
    """STRICT is written in both clusters; only east's counts, also for west's proxies."""
    with model.under_load(SLEEPS["east"], HELLO, 2) as calls:
        model.kubectl("west", "delete", "peerauthentication", "-n", "sample", "--all")
        model.refused("west/plain/sleep-plain", HELLO)
    assert not calls.failures


@pytest.mark.parametrize(
    "parts",
    [("management/istiod",), ("management/apiserver",), ("east/apiserver",), ("management/node/management-1",)],
    ids=" ".join,
)
def test_calls_go_on_without_a_part_of_control(model: Lab, parts: tuple[str, ...]) -> None:
    with model.under_load(SLEEPS["west"], HELLO, 4) as calls, model.killed(*parts):
        assert not model.call(SLEEPS["east"], HELLO, "--count", "20").failures
    assert not calls.failures
    assert set(calls.clusters) == BOTH


def test_the_management_side_is_cut_off_and_comes_back(model: Lab) -> None:
    def pods(count: int) -> None:
        model.kubectl("west", "scale", "-n", "sample", "deployment/helloworld-v2", f"--replicas={count}")

    with model.under_load(SLEEPS["west"], HELLO, 5) as calls, model.cut("management-net"):
        assert not model.call(SLEEPS["east"], HELLO, "--count", "20").failures
    assert not calls.failures
    served_by(model, "management", BOTH)
    pods(2)
    eventually(lambda: len(model.ways(SLEEPS["west"], HELLO, 24)) == 3, within=40, what="a new pod answers")
    pods(1)
