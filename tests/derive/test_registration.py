"""Machines that register themselves: what their entries say, and when they go (VM1-VM8)."""

from typing import Any

import pytest

from isthmus.derive import registration
from isthmus.derive.registration import (
    Machine,
    claim_refusal,
    entry_name,
    manifest,
    merged,
    refusal,
    sweep,
    with_health,
)
from isthmus.model.external import EntryAddress, WorkloadEntry, WorkloadGroup
from isthmus.model.rows import labels
from isthmus.trust.caller import Caller

GROUP = WorkloadGroup(
    cluster="east",
    namespace="shop",
    name="db",
    uid="u-1",
    service_account="db",
    template='{"ports":{"tcp":5432},"serviceAccount":"db","weight":3,"locality":"eu/a"}',
    template_labels=labels({"app": "db", "tier": "template"}),
    labels=labels({"tier": "group", "team": "x"}),
    annotations=labels({"note": "n"}),
    health_checked=True,
)
MACHINE = Machine(namespace="shop", group="db", address="10.9.0.5", network="net-vm", labels=labels({"team": "node"}))


@pytest.mark.parametrize(
    ("group", "address", "network", "expected"),
    [
        ("db", "10.9.0.5", "", "db-10.9.0.5"),
        ("db", "10.9.0.5", "net-vm", "db-10.9.0.5-net-vm"),
        ("db", "fd00::5", "", "db-fd00--5"),
        ("g" * 250, "10.9.0.5", "n", "g" * 242 + "-10.9.0.5-n"),
    ],
)
def test_names(group: str, address: str, network: str, expected: str) -> None:
    assert entry_name(group, address, network) == expected


def test_an_entry_is_the_template_with_what_the_machine_knows() -> None:
    made = manifest(MACHINE, GROUP, instance="istiod-1", now=1_800_000_000.5)
    assert made["spec"] == {
        "ports": {"tcp": 5432},
        "serviceAccount": "db",
        "weight": 3,
        "locality": "eu/a",
        "address": "10.9.0.5",
        "network": "net-vm",
        "labels": {"app": "db", "tier": "group", "team": "node"},
    }
    meta = made["metadata"]
    assert (meta["namespace"], meta["name"]) == ("shop", "db-10.9.0.5-net-vm")
    assert meta["annotations"] == {
        "note": "n",
        "istio.io/autoRegistrationGroup": "db",
        "istio.io/workloadController": "istiod-1",
        "istio.io/connectedAt": "2027-01-15T08:00:00.500000Z",
        "proxy.istio.io/health-checks-enabled": "true",
    }
    assert meta["ownerReferences"][0]["uid"] == "u-1"


def test_a_machine_that_comes_back_keeps_what_others_wrote() -> None:
    found: dict[str, Any] = {
        "metadata": {
            "resourceVersion": "7",
            "labels": {"mine": "x"},
            "annotations": {"istio.io/disconnectedAt": "2027-01-01T00:00:00Z", "mine": "x"},
        },
        "spec": {"address": "old"},
        "status": {"conditions": []},
    }
    again = merged(found, manifest(MACHINE, GROUP, instance="istiod-2", now=0))
    assert again["metadata"]["resourceVersion"] == "7"
    assert again["metadata"]["labels"]["mine"] == "x"
    assert again["metadata"]["annotations"]["mine"] == "x"
    assert registration.annotation(again, "istio.io/disconnectedAt") == ""
    assert registration.is_controlled_by(again, "istiod-2")
    assert again["spec"]["address"] == "10.9.0.5"


@pytest.mark.parametrize(
    ("caller", "refused"),
    [
        (Caller("east", "shop", "db"), False),
        (None, False),
        (Caller("east", "shop", "web"), True),
        (Caller("east", "other", "db"), True),
        (Caller("west", "shop", "db"), True),
    ],
)
def test_only_the_groups_own_account_may_register(caller: Caller | None, refused: bool) -> None:
    assert bool(refusal(GROUP, caller)) is refused


@pytest.mark.parametrize(
    ("account", "caller", "refused"),
    [
        ("db", Caller("east", "shop", "db"), False),
        ("db", Caller("east", "shop", "web"), True),
        ("db", None, False),
        ("", Caller("east", "shop", "web"), False),
        ("", Caller("east", "other", "web"), True),
        ("", Caller("west", "shop", "web"), True),
    ],
)
def test_only_an_entrys_own_account_may_claim_it(account: str, caller: Caller | None, refused: bool) -> None:
    """VM7: who claims it tells its health."""
    entry = WorkloadEntry(
        cluster="east", namespace="shop", name="e", endpoint=EntryAddress(address="10.9.0.5", service_account=account)
    )
    assert bool(claim_refusal(entry, caller)) is refused


NOW = 1000.0


def entry(name: str, **fields: Any) -> WorkloadEntry:
    values: dict[str, Any] = {"group": "db", "controller": "me", "connected_at": 100.0} | fields
    return WorkloadEntry(cluster="east", namespace="shop", name=name, **values)


@pytest.mark.parametrize(
    ("row", "delete", "adopt"),
    [
        (entry("connected"), [], []),
        (entry("mine-from-before"), [], ["mine-from-before"]),
        (entry("just-left", disconnected_at=NOW - 5), [], []),
        (entry("left", disconnected_at=NOW - 11), ["left"], []),
        (entry("left-elsewhere", controller="other", disconnected_at=NOW - 11), ["left-elsewhere"], []),
        (entry("came-back", controller="other", disconnected_at=50.0), [], []),
        (entry("elsewhere", controller="other"), [], []),
        (entry("of-the-dead", controller="dead"), [], ["of-the-dead"]),
        (entry("fresh", controller="dead", connected_at=NOW - 5), [], []),
        (entry("written", group=""), [], []),
    ],
)
def test_what_a_sweep_takes(row: WorkloadEntry, delete: list[str], adopt: list[str]) -> None:
    found = sweep([row], instance="me", connected=[("shop", "connected")], alive={"me", "other"}, now=NOW, grace=10.0)
    assert ([one.name for one in found.delete], [one.name for one in found.adopt]) == (delete, adopt)


def test_who_does_not_see_its_own_pod_takes_nobody_for_dead() -> None:
    found = sweep([entry("x", controller="other")], instance="me", connected=[], alive=set(), now=NOW, grace=10.0)
    assert found.adopt == ()


def test_health_is_one_condition_among_others() -> None:
    other = {"type": "Other", "status": "True"}
    sick = with_health({"conditions": [other]}, "connection refused", 1.0)["status"]["conditions"]
    assert sick[0] == other
    assert (sick[1]["type"], sick[1]["status"], sick[1]["message"]) == ("Healthy", "False", "connection refused")
    still = with_health({"conditions": sick}, "timeout", 2.0)["status"]["conditions"][1]
    assert still["lastTransitionTime"] == sick[1]["lastTransitionTime"] != still["lastProbeTime"]
    well = with_health({"conditions": sick}, "", 3.0)["status"]["conditions"]
    assert (well[1]["status"], "message" in well[1], len(well)) == ("True", False, 2)
    assert registration.without_health({"conditions": well})["status"]["conditions"] == [other]
