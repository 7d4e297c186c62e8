"""How far services reach, over the lab `two-networks`: what labels do to a mesh-wide name, with sidecars."""

from collections.abc import Iterator

import pytest

from tests.lab.harness import CLIENT, SLEEP, Lab, eventually

pytestmark = pytest.mark.lab

URL = "http://helloworld.sample.mesh.internal:5000/hello"
SERVICE = ("service", "-n", "sample", "helloworld")
SCOPE, SPREAD = "solo.io/service-scope", "networking.istio.io/traffic-distribution"


def say(lab: Lab, cluster: str, scope: str) -> None:
    """Label the service of a cluster; nothing takes the label off."""
    lab.kubectl(cluster, "label", "--overwrite", *SERVICE, f"{SCOPE}={scope}" if scope else f"{SCOPE}-")


@pytest.fixture
def spread(lab: Lab) -> Iterator[Lab]:
    """Everybody prefers nothing, so that whoever is behind the name is seen."""
    for cluster in ("east", "west"):
        lab.kubectl(cluster, "annotate", "--overwrite", *SERVICE, f"{SPREAD}=Any")
    yield lab
    for cluster in ("east", "west"):
        say(lab, cluster, "")
        lab.kubectl(cluster, "annotate", *SERVICE, f"{SPREAD}-")


def test_rows_of_the_states_table(spread: Lab) -> None:
    for east, west, expected in (
        ("", "global", {"west"}),
        ("global", "global", {"east", "west"}),
        ("global", "cluster", {"east"}),
        ("global-only", "", {"east"}),
        ("", "global-only", {"west"}),
    ):
        say(spread, "east", east)
        say(spread, "west", west)
        calls = spread.answered_by(CLIENT, URL, expected, "--count", "20")
        assert calls.identities == {SLEEP}
    say(spread, "west", "")
    eventually(lambda: spread.call(CLIENT, URL, "--count", "1").failures, within=15, what="the name is gone")


def test_near_ones_first_and_others_while_none_is_ready_without_a_failed_request(lab: Lab) -> None:
    pods = str(lab.get("east", "deployment", "-n", "sample", "helloworld-v1")["spec"]["replicas"])
    scale = ("scale", "-n", "sample", "deployment/helloworld-v1")
    try:
        for cluster in ("east", "west"):
            say(lab, cluster, "global")
            lab.answered_by(f"{cluster}/sleep", URL, {cluster})
        with lab.under_load(CLIENT, URL, 12) as calls:
            lab.kubectl("east", *scale, "--replicas=0")
            lab.answered_by(CLIENT, URL, {"west"})
            lab.kubectl("east", *scale, f"--replicas={pods}")
            lab.answered_by(CLIENT, URL, {"east"})
        assert not calls.failures
        assert set(calls.clusters) == {"east", "west"}
    finally:
        lab.kubectl("east", *scale, f"--replicas={pods}")
        for cluster in ("east", "west"):
            say(lab, cluster, "")
        lab.steady()
