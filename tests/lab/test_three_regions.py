"""The scenario `three-regions`: where traffic goes by place, and where when zones, regions or gateways are lost."""

from collections.abc import Iterator

import pytest

from tests.lab.harness import SLEEP, Calls, Lab, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "three-regions"
CLIENT = "eu/sample/sleep"


def url(service: str) -> str:
    """A service of the example; all have the same pods."""
    return f"http://{service}.sample:5000/hello"


def places(calls: Calls) -> dict[str, float]:
    """Who answered, in percent: by zone, and Asia as a whole (a connection through a gateway stays with one pod)."""
    found: dict[str, float] = {}
    good = calls.versions.total()
    for zone, count in calls.versions.items():
        name = "asia" if zone.startswith("asia") else zone
        found[name] = found.get(name, 0) + 100 * count / good
    return found


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("helloworld", {"eu-a": 100 / 7, "eu-b": 100 / 7, "us-a": 100 / 7, "us-b": 100 / 7, "asia": 300 / 7}),
        ("spread", {"eu-a": 40, "eu-b": 20, "us-a": 5, "us-b": 5, "asia": 30}),
        ("nearest", {"eu-a": 100}),
        ("zonal", {"eu-a": 100}),
        ("eastward", {"eu-a": 100}),
        ("ranked", {"eu-a": 50, "eu-b": 50}),
    ],
)
def test_shares(model: Lab, service: str, expected: dict[str, float]) -> None:
    calls = model.call(CLIENT, url(service), "--count", "140")
    assert not calls.failures
    assert calls.identities == {SLEEP}
    assert places(calls) == pytest.approx(expected, abs=6)


def test_asia_is_reached_through_both_of_its_gateways(model: Lab) -> None:
    ways = [way for way in model.ways(CLIENT, url("spread"), 60) if way.cluster == "asia"]
    assert len({way.gateway for way in ways}) == 2
    assert {way.gateway.partition("/")[0] for way in ways} == {"asia"}
    shares = {
        gateway: sum(way.calls for way in ways if way.gateway == gateway) for gateway in {w.gateway for w in ways}
    }
    assert sorted(shares.values()) == pytest.approx([9, 9], abs=3)


@pytest.fixture
def broken(model: Lab) -> Iterator[Lab]:
    """The lab; what the test kills is mended afterwards, all at once."""
    yield model
    model.lab("restore")
    model.lab("up", str(model.example), within=180)


def pods(model: Lab, cluster: str, namespace: str, selector: str) -> list[str]:
    """Names of pods."""
    items = model.get(cluster, "pods", "-n", namespace, "-l", selector)["items"]
    return sorted(str(item["metadata"]["name"]) for item in items)


def answered(model: Lab, service: str, *zones: str, within: float = 20) -> None:
    """Wait until exactly these places answer."""

    def good() -> bool:
        calls = model.call(CLIENT, url(service), "--count", "20")
        return not calls.failures and set(places(calls)) == set(zones)

    eventually(good, within=within, what=f"{service} is answered by {zones} alone")


def test_pods_a_zone_a_region_and_a_gateway_are_lost_one_after_the_other(broken: Lab) -> None:
    """The service `nearest` under load: the own zone, the next zone, the next region of the network, then Asia."""
    with broken.under_load(CLIENT, url("nearest"), 16) as calls:
        answered(broken, "nearest", "eu-a")
        broken.kubectl("eu", "scale", "-n", "sample", "deployment/helloworld-eu-a", "--replicas=0")
        answered(broken, "nearest", "eu-b")
        broken.lab("kill", "eu/node/eu-2")
        answered(broken, "nearest", "us-a", "us-b")
        answered(broken, "eastward", "asia")
        for node in ("us-1", "us-2"):
            broken.lab("kill", f"us/node/{node}")
        answered(broken, "nearest", "asia")
    first, _ = pods(broken, "asia", "istio-system", "istio=eastwestgateway")
    with broken.under_load(CLIENT, url("nearest"), 12) as later:
        broken.lab("kill", f"asia/istio-system/{first}")
        answered(broken, "nearest", "asia")
    assert len(later.failures) <= 0.01 * len(later.calls), later.failures[:5]
    broken.kubectl("eu", "scale", "-n", "sample", "deployment/helloworld-eu-a", "--replicas=1")
    answered(broken, "nearest", "eu-a")
    assert len(calls.failures) <= 0.01 * len(calls.calls), calls.failures[:5]
    assert set(places(calls)) == {"eu-a", "eu-b", "us-a", "us-b", "asia"}


def test_it_returns_to_what_is_near(model: Lab) -> None:
    answered(model, "nearest", "eu-a", within=40)
    answered(model, "eastward", "eu-a")


def test_calls_go_on_without_the_control_plane(model: Lab) -> None:
    with model.under_load(CLIENT, url("spread"), 4) as calls, model.killed("eu/istiod"):
        alone = model.call(CLIENT, url("nearest"), "--count", "20")
    assert not alone.failures
    assert set(places(alone)) == {"eu-a"}
    assert not calls.failures


@pytest.mark.full
def test_the_region_in_use_is_cut_off(broken: Lab) -> None:
    """Packets vanish, as when a cable is pulled: nothing is refused, nothing is closed. America takes over."""
    for zone in ("eu-a", "eu-b"):
        broken.kubectl("eu", "scale", "-n", "sample", f"deployment/helloworld-{zone}", "--replicas=0")
    answered(broken, "eastward", "asia")
    with broken.under_load(CLIENT, url("eastward"), 12) as calls:
        answered(broken, "eastward", "asia")
        with broken.cut("pacific"):
            answered(broken, "eastward", "us-a", "us-b")
    for zone in ("eu-a", "eu-b"):
        broken.kubectl("eu", "scale", "-n", "sample", f"deployment/helloworld-{zone}", "--replicas=1")
    answered(broken, "eastward", "eu-a", within=40)
    assert len(calls.failures) <= 0.05 * len(calls.calls), calls.failures[:5]


@pytest.mark.full
def test_a_whole_cluster_is_gone_and_comes_back(broken: Lab) -> None:
    """America with its API server: what it had is failed over to Asia, and the mesh keeps what it knew of it."""
    for zone in ("eu-a", "eu-b"):
        broken.kubectl("eu", "scale", "-n", "sample", f"deployment/helloworld-{zone}", "--replicas=0")
    answered(broken, "nearest", "us-a", "us-b")
    with broken.under_load(CLIENT, url("nearest"), 12) as calls:
        for part in ("apiserver", "node/us-1", "node/us-2"):
            broken.lab("kill", f"us/{part}")
        answered(broken, "nearest", "asia")
        broken.lab("restore")
        answered(broken, "nearest", "us-a", "us-b", within=60)
    for zone in ("eu-a", "eu-b"):
        broken.kubectl("eu", "scale", "-n", "sample", f"deployment/helloworld-{zone}", "--replicas=1")
    answered(broken, "nearest", "eu-a", within=40)
    assert len(calls.failures) <= 0.01 * len(calls.calls), calls.failures[:5]
