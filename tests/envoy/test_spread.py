"""Where Envoy sends traffic when endpoints are gone: priorities, overprovisioning, weights."""

from typing import Any

import pytest
from envoy.config.endpoint.v3 import endpoint_pb2

from isthmus.envoy.spread import members, priority_loads, spread


def assignment(
    *levels: dict[str, int], factor: int = 0, weighted: bool = False, unhealthy: str = ""
) -> endpoint_pb2.ClusterLoadAssignment:
    """An assignment with a priority for each dictionary of address -> weight."""
    made = endpoint_pb2.ClusterLoadAssignment()
    made.policy.weighted_priority_health = weighted
    if factor:
        made.policy.overprovisioning_factor.value = factor
    for priority, level in enumerate(levels):
        group = made.endpoints.add(priority=priority)
        for address, weight in level.items():
            one: Any = group.lb_endpoints.add()
            one.endpoint.address.socket_address.address = address
            one.load_balancing_weight.value = weight
            if address in unhealthy:
                one.health_status = 2
    return made


@pytest.mark.parametrize(
    ("availability", "loads"),
    [
        ([100], [100]),
        ([100, 100], [100, 0]),
        ([70, 100], [70, 30]),
        ([0, 100], [0, 100]),
        ([20, 20], [50, 50]),
        ([70, 20, 100], [70, 20, 10]),
        ([33, 33, 0], [50, 50, 0]),
        ([10, 20], [34, 66]),
        ([0, 0], [0, 0]),
        ([], []),
    ],
)
def test_load_of_priorities(availability: list[int], loads: list[int]) -> None:
    assert priority_loads(availability) == loads


NEAR = {"a": 1, "b": 1, "c": 1}
FAR = {"x": 3, "y": 1}
BIG_GATEWAY = {"a": 1, "g": 3}


@pytest.mark.parametrize(
    ("made", "gone", "shares"),
    [
        pytest.param(assignment({"a": 3, "b": 1}), "", {"a": 0.75, "b": 0.25}, id="by weight"),
        pytest.param(assignment({"a": 3, "b": 1}), "a", {"b": 1}, id="the rest takes all"),
        pytest.param(assignment({"a": 1}), "a", {}, id="nothing left"),
        pytest.param(assignment(), "", {}, id="nothing there"),
        pytest.param(assignment(NEAR, FAR), "", {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, id="nearest only"),
        pytest.param(
            assignment(NEAR, FAR), "c", {"a": 0.465, "b": 0.465, "x": 0.0525, "y": 0.0175}, id="2 of 3 are 93 %"
        ),
        pytest.param(assignment(NEAR, FAR), "bc", {"a": 0.46, "x": 0.405, "y": 0.135}, id="1 of 3 is 46 %"),
        pytest.param(assignment(NEAR, FAR), "abc", {"x": 0.75, "y": 0.25}, id="priority lost"),
        pytest.param(
            assignment(NEAR, FAR, unhealthy="ab"), "", {"c": 0.46, "x": 0.405, "y": 0.135}, id="told to be unhealthy"
        ),
        pytest.param(assignment(NEAR, FAR, factor=100), "c", {"a": 0.33, "b": 0.33, "x": 0.255, "y": 0.085}, id="100"),
        pytest.param(assignment(BIG_GATEWAY, FAR), "g", {"a": 0.70, "x": 0.225, "y": 0.075}, id="counts hosts"),
        pytest.param(
            assignment(BIG_GATEWAY, FAR, weighted=True), "g", {"a": 0.35, "x": 0.4875, "y": 0.1625}, id="or weights"
        ),
        pytest.param(assignment({"a": 1}, {"a": 5, "b": 5}), "", {"a": 1}, id="an address counts where it is first"),
    ],
)
def test_shares(made: Any, gone: str, shares: dict[str, float]) -> None:
    found = {one.member.address: one.share for one in spread(made, lambda m: m.address in gone) if one.share}
    assert found == pytest.approx(shares)


def test_members_are_told_once_with_their_priority() -> None:
    found = [(member.address, member.priority) for member in members(assignment({"a": 1}, {"a": 5, "b": 5}))]
    assert found == [("a", 0), ("b", 1)]
