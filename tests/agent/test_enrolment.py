"""Who is ambient, and the order of the steps in and out."""

import dataclasses
import itertools
from typing import Any

import msgspec
import pytest

from isthmus.agent.enrolment import NodePod, Pod, Standing, Step, next_step, read_pod, wants_ambient

AMBIENT = {"istio.io/dataplane-mode": "ambient"}
NONE = {"istio.io/dataplane-mode": "none"}


def pod(**changes: Any) -> Pod:
    """A pod as the API server tells it; `labels`, `annotations`, `spec`, `status` replace the defaults."""
    found = {
        "metadata": {
            "name": "web-1",
            "namespace": "shop",
            "uid": "u1",
            "labels": changes.get("labels", {}),
            "annotations": changes.get("annotations", {}),
        },
        "spec": {"serviceAccountName": "web", "containers": [{"name": "app"}], **changes.get("spec", {})},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.7"}], **changes.get("status", {})},
    }
    return read_pod(msgspec.convert(found, NodePod))


@pytest.mark.parametrize(
    ("changes", "namespace", "wanted"),
    [
        ({}, {}, False),
        ({}, AMBIENT, True),
        ({"labels": AMBIENT}, {}, True),
        ({"labels": NONE}, AMBIENT, False),
        ({"labels": AMBIENT}, NONE, True),
        ({"spec": {"hostNetwork": True}}, AMBIENT, False),
        ({"spec": {"containers": [{"name": "app"}, {"name": "istio-proxy"}]}}, AMBIENT, False),
        ({"spec": {"initContainers": [{"name": "istio-proxy"}]}}, AMBIENT, False),
        ({"annotations": {"sidecar.istio.io/status": "{}"}}, AMBIENT, False),
        ({"status": {"phase": "Succeeded"}}, AMBIENT, False),
        ({"status": {"phase": "Failed"}}, AMBIENT, False),
        ({"status": {"phase": "Pending", "podIPs": None}}, AMBIENT, True),
    ],
)
def test_who_is_ambient(changes: dict[str, Any], namespace: dict[str, str], wanted: bool) -> None:
    assert wants_ambient(pod(**changes), namespace) is wanted


def test_what_is_read_of_a_pod() -> None:
    found = pod(
        annotations={"ambient.istio.io/redirection": "enabled"},
        spec={"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"]}},
    )
    assert found == Pod(
        uid="u1",
        namespace="shop",
        name="web-1",
        service_account="web",
        mark="enabled",
        addresses=("10.0.0.7",),
        name_servers=("9.9.9.9",),
    )
    assert pod(spec={"dnsPolicy": "ClusterFirst", "dnsConfig": {"nameservers": ["9.9.9.9"]}}).name_servers == ()


BYPASS, NAMES = "ambient.istio.io/bypass-inbound-capture", "ambient.istio.io/dns-capture"


@pytest.mark.parametrize(
    ("annotations", "bypasses_inbound", "captures_names"),
    [
        ({}, False, True),
        ({BYPASS: "true"}, True, True),
        ({BYPASS: "True", NAMES: "True"}, True, True),
        ({BYPASS: "false", NAMES: "false"}, False, False),
        ({BYPASS: "yes", NAMES: "no"}, False, True),
    ],
)
def test_what_a_pod_keeps_from_the_proxy(
    annotations: dict[str, str], bypasses_inbound: bool, captures_names: bool
) -> None:
    found = pod(annotations=annotations)
    assert (found.bypasses_inbound, found.captures_names) == (bypasses_inbound, captures_names)


EFFECTS: dict[Step, dict[str, Any]] = {
    Step.MARK_PENDING: {"mark": "pending"},
    Step.PREPARE: {"prepared": True},
    Step.AWAIT_LISTENERS: {"listening": True},
    Step.REDIRECT: {"redirected": True},
    Step.MARK_ENABLED: {"mark": "enabled"},
    Step.STOP_REDIRECT: {"redirected": False},
    Step.DRAIN: {"drained": True},
    Step.UNMARK: {"mark": ""},
}


def steps(now: Standing) -> list[Step]:
    """The steps until nothing is left to do, each with its effect."""
    made: list[Step] = []
    while (step := next_step(now)) not in (Step.NOTHING, Step.FORGET):
        made.append(step)
        assert len(made) < 20, made
        now = dataclasses.replace(now, **EFFECTS[step])
    assert step is (Step.NOTHING if now.wanted and now.reachable else Step.FORGET)
    return made


IN = [Step.MARK_PENDING, Step.PREPARE, Step.AWAIT_LISTENERS, Step.REDIRECT, Step.MARK_ENABLED]
OUT = [Step.MARK_PENDING, Step.STOP_REDIRECT, Step.DRAIN, Step.UNMARK]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (Standing(wanted=True), IN),
        (Standing(wanted=True, reachable=False), []),
        # A new agent finds a pod that is captured: it sees to it that it is, and says nothing new.
        (Standing(wanted=True, mark="enabled"), IN[1:4]),
        # The same pod in a new namespace, of which nothing is true any more.
        (Standing(wanted=True, mark="enabled", redirected=False), IN),
        (Standing(wanted=True, mark="pending"), IN[1:]),
        (Standing(wanted=True, mark="enabled", prepared=True, listening=True, redirected=True), []),
        (Standing(wanted=False, mark="enabled", prepared=True, listening=True, redirected=True), OUT),
        # A new agent finishes what the one before began, whichever way it was going.
        (Standing(wanted=False, mark="pending"), OUT[1:]),
        (Standing(wanted=False, mark="pending", redirected=False), OUT[2:]),
        (Standing(wanted=False, mark="enabled", reachable=False), [Step.UNMARK]),
        (Standing(wanted=True, mark="pending", reachable=False), [Step.UNMARK]),
        (Standing(wanted=False), []),
    ],
)
def test_the_steps_in_and_out(now: Standing, expected: list[Step]) -> None:
    assert steps(now) == expected


BOTH = (True, False)


def every_standing() -> list[Standing]:
    return [
        Standing(wanted=w, mark=m, reachable=r, prepared=p, listening=li, redirected=re, drained=d)
        for w, m, r, p, li, re, d in itertools.product(
            BOTH, ("", "pending", "enabled"), BOTH, BOTH, BOTH, (None, *BOTH), BOTH
        )
    ]


@pytest.mark.parametrize("now", every_standing(), ids=str)
def test_from_anywhere_it_comes_to_rest_and_no_traffic_is_led_to_nobody(now: Standing) -> None:
    while (step := next_step(now)) not in (Step.NOTHING, Step.FORGET):
        if step is Step.REDIRECT:
            assert now.listening
            assert now.prepared
        if step is Step.MARK_ENABLED:
            assert now.redirected
        if step is Step.UNMARK and now.reachable:
            assert now.redirected is False
            assert now.mark == "pending"
        now = dataclasses.replace(now, **EFFECTS[step])
    steps(now)
