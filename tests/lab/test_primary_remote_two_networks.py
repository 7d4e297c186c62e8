"""The scenario `primary-remote-two-networks`: one control plane, reached through its network's gateway by the other."""

import json

import pytest

from tests.lab.harness import HELLO, SLEEP, Lab, eventually
from tests.lab.served import connected, control_plane_addresses, environment, handshake, roots, served_by

pytestmark = pytest.mark.lab

EXAMPLE = "primary-remote-two-networks"
BOTH = {"east", "west"}
SLEEPS = {"east": "east/sample/sleep", "west": "west/sample/sleep"}
OTHER = {"east": "west", "west": "east"}
ISTIOD = "istiod.istio-system.svc"


@pytest.mark.parametrize("home", sorted(BOTH))
def test_both_answer_at_home_directly_and_afar_through_the_other_gateway(model: Lab, home: str) -> None:
    assert model.answered_by(SLEEPS[home], HELLO, BOTH).identities == {SLEEP}
    ways = model.ways(SLEEPS[home], HELLO, 24)
    seen = {(way.cluster, way.gateway.partition("/")[0], way.identity) for way in ways}
    assert seen == {(home, "", SLEEP), (OTHER[home], OTHER[home], SLEEP)}


@pytest.mark.parametrize("home", sorted(BOTH))
def test_clients_outside_of_the_mesh_are_refused(model: Lab, home: str) -> None:
    model.refused(f"{home}/plain/sleep-plain", HELLO)


def test_west_has_no_control_plane_and_its_proxies_use_easts_through_the_gateway(model: Lab) -> None:
    names = [pod["metadata"]["name"] for pod in model.get("west", "pods", "-n", "istio-system")["items"]]
    assert [name for name in names if name.startswith("istiod")] == []
    service = model.get("east", "service", "-n", "istio-system", "istio-eastwestgateway")
    gateway = [item["ip"] for item in service["status"]["loadBalancer"]["ingress"]]
    assert control_plane_addresses(model, "west") == gateway
    every = {("helloworld-v2", "west"), ("sleep", "west"), ("istio-eastwestgateway", "west"), ("sleep", "east")}
    assert connected(model, "east") >= every
    told = environment(model, "west", "app=sleep")
    assert (told["ISTIO_META_CLUSTER_ID"], told["ISTIO_META_NETWORK"]) == ("west", "west-net")


def test_roots_are_in_every_namespace_of_west_and_in_new_ones(model: Lab) -> None:
    assert roots(model, "west") == roots(model, "east") != ""
    model.kubectl("west", "create", "namespace", "late")
    try:
        eventually(lambda: roots(model, "west", "late") == roots(model, "east"), within=20, what="roots in west/late")
    finally:
        model.kubectl("west", "delete", "namespace", "late", "--wait=false")


def test_strangers_meet_nothing_but_istiods_own_tls_at_the_gateway(model: Lab) -> None:
    stranger, (gateway,) = "west/plain/sleep-plain", control_plane_addresses(model, "west")
    for port in (15012, 15017):
        done = handshake(model, stranger, gateway, port, name=ISTIOD)
        assert done.returncode == 0, done.stderr
        assert handshake(model, stranger, gateway, port, name="helloworld.sample.svc").returncode != 0
        assert model.probe(stranger, "tcp", gateway, str(port)) in ("closed", "unreachable")
    for port in (15010, 15014, 443):
        assert model.probe(stranger, "tcp", gateway, str(port)) in ("refused", "timed out")


def test_without_the_control_plane_calls_go_on_and_no_pod_comes_without_its_proxy(model: Lab) -> None:
    with model.under_load(SLEEPS["west"], HELLO, 6) as calls, model.killed("east/istiod"):
        assert not model.call(SLEEPS["east"], HELLO, "--count", "20").failures
        model.kubectl("west", "scale", "-n", "sample", "deployment/helloworld-v2", "--replicas=2")
        pods = model.get("west", "pods", "-n", "sample", "-l", "app=helloworld")["items"]
        assert len(pods) == 1
    assert not calls.failures
    assert set(calls.clusters) == BOTH
    eventually(lambda: len(model.ways(SLEEPS["west"], HELLO, 24)) == 3, within=40, what="west's second pod answers")
    model.kubectl("west", "scale", "-n", "sample", "deployment/helloworld-v2", "--replicas=1")


@pytest.mark.parametrize("part", ["east/apiserver", "west/apiserver"])
def test_without_an_api_server_calls_go_on(model: Lab, part: str) -> None:
    with model.under_load(SLEEPS["west"], HELLO, 4) as calls, model.killed(part):
        assert not model.call(SLEEPS["east"], HELLO, "--count", "20").failures
    assert not calls.failures
    assert set(calls.clusters) == BOTH


def test_without_easts_gateway_each_goes_on_with_what_it_reaches(model: Lab) -> None:
    """West loses its way to east, and its control plane with it; its own services go on."""
    with model.killed("east/gateway"):
        model.answered_by(SLEEPS["west"], HELLO, {"west"})
        assert not model.call(SLEEPS["west"], HELLO, "--count", "20").failures
        assert set(model.answered_by(SLEEPS["east"], HELLO, BOTH).clusters) == BOTH
    served_by(model, "east", BOTH)
    model.answered_by(SLEEPS["west"], HELLO, BOTH)


def test_what_the_control_plane_reports(model: Lab) -> None:
    assert [row["id"] for row in model.remote_clusters("east")] == ["east", "west"]
    found = json.loads(model.lab("verify", "-o", "json").stdout)
    assert found["problems"] == []
    assert found["clusters"]["west"]["role"] == "remote"
    assert found["reported"] == []
