"""What Gateways are told about themselves."""

from typing import Any

import pytest
from msgspec.structs import replace

from isthmus.derive.gateway_status import Seen, class_status, gateway_status
from isthmus.model.managed import Listener, ManagedGateway
from isthmus.model.rows import Service, Workload

Json = dict[str, Any]
NOW, BEFORE = "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"
HBONE = Listener("cross-network", 15008, "HBONE", "Passthrough")
WRONG = Listener("web", 80, "HTTP", fault="UnsupportedProtocol", message="no HTTP here")


def gateway(*listeners: Listener, kind: str = "istio-eastwest", network: str = "n") -> ManagedGateway:
    return ManagedGateway(
        cluster="east", namespace="gw", name="ew", class_name=kind, network=network, listeners=listeners or (HBONE,)
    )


def service(**fields: Any) -> Service:
    return Service(cluster="east", namespace="gw", name="ew", **({"type": "LoadBalancer"} | fields))


def pods(*ready: bool) -> tuple[Workload, ...]:
    return tuple(Workload(cluster="east", namespace="gw", name=f"p{i}", ready=one) for i, one in enumerate(ready))


REACHED = service(ingress_addresses=("198.18.0.9", "lb.example.com"))


def words(status: Json) -> dict[str, tuple[str, str]]:
    """Type of each condition -> its status and reason."""
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


@pytest.mark.parametrize(
    ("row", "seen", "programmed"),
    [
        (gateway(), Seen(), ("False", "AddressNotAssigned")),
        (gateway(), Seen(service(), pods(True)), ("False", "AddressNotAssigned")),
        (gateway(), Seen(REACHED), ("False", "Pending")),
        (gateway(), Seen(REACHED, pods(False)), ("False", "Pending")),
        (gateway(), Seen(REACHED, pods(False, True)), ("True", "Programmed")),
        (gateway(), Seen(REACHED, pods(True), "taken"), ("False", "Invalid")),
        (gateway(network=""), Seen(REACHED, pods(True)), ("False", "Invalid")),
        (gateway(WRONG), Seen(REACHED, pods(True)), ("False", "Invalid")),
        (gateway(HBONE, WRONG), Seen(REACHED, pods(True)), ("True", "Programmed")),
        (gateway(kind="istio-waypoint", network=""),
         Seen(service(type="ClusterIP", cluster_ips=("10.96.0.7",)), pods(True)), ("True", "Programmed")),
    ],
)  # fmt: skip
def test_a_gateway_is_programmed_when_it_can_be_called(
    row: ManagedGateway, seen: Seen, programmed: tuple[str, str]
) -> None:
    assert words(gateway_status(row, seen, 1, {}, NOW))["Programmed"] == programmed


@pytest.mark.parametrize(
    ("listeners", "accepted"),
    [
        ((HBONE,), ("True", "Accepted")),
        ((HBONE, WRONG), ("True", "ListenersNotValid")),
        ((WRONG,), ("False", "ListenersNotValid")),
    ],
)
def test_a_gateway_is_accepted_if_a_listener_is(listeners: tuple[Listener, ...], accepted: tuple[str, str]) -> None:
    status = gateway_status(gateway(*listeners), Seen(REACHED, pods(True)), 1, {}, NOW)
    assert words(status)["Accepted"] == accepted
    told = {one["name"]: words(one) for one in status["listeners"]}
    assert told.keys() == {one.name for one in listeners}
    if "web" in told:
        assert told["web"]["Accepted"] == ("False", "UnsupportedProtocol")
        assert told["web"]["Programmed"] == ("False", "Invalid")


def test_addresses_say_what_they_are() -> None:
    assert gateway_status(gateway(), Seen(REACHED), 1, {}, NOW)["addresses"] == [
        {"type": "IPAddress", "value": "198.18.0.9"},
        {"type": "Hostname", "value": "lb.example.com"},
    ]


def test_the_date_of_a_condition_is_that_of_its_status_and_those_of_others_stay() -> None:
    theirs = {"type": "example.com/Audited", "status": "True", "lastTransitionTime": BEFORE}
    first = gateway_status(gateway(), Seen(REACHED, pods(True)), 1, {"conditions": [theirs]}, BEFORE)
    assert theirs in first["conditions"]
    later = gateway_status(gateway(), Seen(REACHED, pods(False)), 2, first, NOW)
    dates = {one["type"]: one["lastTransitionTime"] for one in later["conditions"]}
    assert dates == {"Accepted": BEFORE, "Programmed": NOW, "example.com/Audited": BEFORE}
    assert gateway_status(gateway(), Seen(REACHED, pods(False)), 2, later, "later") == later


@pytest.mark.parametrize(
    ("fields", "seen", "accepted", "programmed"),
    [
        ({"fault": "UnsupportedAddress", "message": "two"}, Seen(REACHED, pods(True)), "UnsupportedAddress", "Invalid"),
        ({}, Seen(REACHED, pods(True), parameters="no ConfigMap"), "InvalidParameters", "Invalid"),
        ({"address": "198.18.0.9"}, Seen(REACHED, pods(True)), "Accepted", "Programmed"),
        ({"address": "198.18.0.8"}, Seen(REACHED, pods(True)), "Accepted", "AddressNotUsable"),
        ({"address": "198.18.0.8"}, Seen(service(), pods(True)), "Accepted", "AddressNotAssigned"),
        ({"host": "theirs"}, Seen(REACHED), "Accepted", "Programmed"),
        ({"host": "theirs"}, Seen(), "Accepted", "AddressNotAssigned"),
        ({"host": "lb.example.com"}, Seen(), "Accepted", "Programmed"),
    ],
)
def test_where_a_gateway_shall_be_reached(fields: dict[str, str], seen: Seen, accepted: str, programmed: str) -> None:
    found = words(gateway_status(replace(gateway(), **fields), seen, 1, {}, NOW))
    assert (found["Accepted"][1], found["Programmed"][1]) == (accepted, programmed)


def test_a_waypoint_is_reached_once_it_served_and_then_for_good() -> None:
    row, entry = gateway(kind="istio-waypoint"), service(type="ClusterIP", cluster_ips=("10.96.0.7",))
    address = [{"type": "IPAddress", "value": "10.96.0.7"}]
    before = gateway_status(row, Seen(entry, pods(False)), 1, {}, NOW)
    assert before["addresses"] == []
    ready = gateway_status(row, Seen(entry, pods(True)), 1, before, NOW)
    assert ready["addresses"] == address
    assert gateway_status(row, Seen(entry, pods(False)), 1, ready, NOW)["addresses"] == address


@pytest.mark.parametrize(
    ("listener", "kind", "told"),
    [
        (HBONE, "Conflicted", ("False", "NoConflicts")),
        (replace(HBONE, fault="ProtocolConflict", message="m"), "Conflicted", ("True", "ProtocolConflict")),
        (replace(HBONE, fault="HostnameConflict", message="m"), "Programmed", ("False", "Invalid")),
        (HBONE, "ResolvedRefs", ("True", "ResolvedRefs")),
        (replace(HBONE, refs=True), "ResolvedRefs", ("False", "InvalidCertificateRef")),
    ],
)
def test_what_a_listener_is_told(listener: Listener, kind: str, told: tuple[str, str]) -> None:
    status = gateway_status(gateway(listener), Seen(REACHED, pods(True)), 1, {}, NOW)
    [one] = status["listeners"]
    assert words(one)[kind] == told
    assert all({"observedGeneration", "lastTransitionTime"} <= found.keys() for found in one["conditions"])


def test_classes_are_accepted_once() -> None:
    first = class_status(1, {}, BEFORE)
    assert words(first) == {"Accepted": ("True", "Accepted")}
    assert class_status(1, first, NOW) == first
