"""What becomes of a flat network that is none: both clusters use the same addresses, and say that they may not."""

import json

import pytest

from tests.lab.harness import Lab, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "flat-network/clash.yaml"


@pytest.mark.parametrize("cluster", ["east", "west"])
def test_a_clash_is_reported_with_both_pods_and_a_remedy(model: Lab, cluster: str) -> None:
    def reported() -> list[str]:
        found = json.loads(model.ask(cluster, "/debug/problems"))
        clashes = [item for item in found if item["field"] == "status.podIP"]
        assert all("both clusters say they are on network flat" in item["message"] for item in clashes)
        assert all("label topology.istio.io/network" in item["remedy"] for item in clashes)
        return sorted({item["where"]["namespace"] for item in clashes})

    eventually(lambda: reported() == ["istio-system", "plain", "sample"], within=20, what="the clash is reported")
    table = model.lab("verify", check=False).stdout
    assert "flat (really west-net)" in table
    assert "Reported by control planes" in table
