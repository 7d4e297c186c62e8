"""Gateways that the mesh runs proxies for: NW15, NW16."""

from typing import Any

import pytest

from isthmus.model.managed import Listener, ManagedGateway
from isthmus.model.rows import labels
from tests.ingest.check import check, complaints

NETWORK = "topology.istio.io/network"
HBONE = {"name": "cross-network", "port": 15008, "protocol": "HBONE", "tls": {"mode": "Passthrough"}}
XDS = {"name": "xds-tls", "port": 15012, "protocol": "TLS", "tls": {"mode": "Passthrough"}}


def gateway(*listeners: dict[str, Any], kind: str = "istio-eastwest", **more: Any) -> dict[str, Any]:
    marks = {NETWORK: "n", "istio.io/expose-istiod": "15012"}
    spec = {"gatewayClassName": kind, "listeners": list(listeners), **more}
    return {"metadata": {"labels": marks, "uid": "u"}, "spec": spec}


def managed(obj: dict[str, Any]) -> ManagedGateway:
    [found] = [row for row in check("KubernetesGateway", obj).rows or () if isinstance(row, ManagedGateway)]
    return found


def test_what_expose_asks_for() -> None:
    infrastructure = {"labels": {"team": "net"}, "annotations": {"cloud/lb": "internal"}}
    assert managed(gateway(HBONE, XDS, infrastructure=infrastructure)) == ManagedGateway(
        cluster="east",
        namespace="a",
        name="x",
        class_name="istio-eastwest",
        uid="u",
        network="n",
        labels=labels({NETWORK: "n", "istio.io/expose-istiod": "15012"}),
        listeners=(
            Listener("cross-network", 15008, "HBONE", "Passthrough"),
            Listener("xds-tls", 15012, "TLS", "Passthrough"),
        ),
        extra_labels=labels({"team": "net"}),
        extra_annotations=labels({"cloud/lb": "internal"}),
    )


@pytest.mark.parametrize("kind", ["istio", "istio-remote", ""])
def test_other_classes_are_not_ours(kind: str) -> None:
    rows = check("KubernetesGateway", gateway(HBONE, kind=kind)).rows or ()
    assert not [row for row in rows if isinstance(row, ManagedGateway)]


@pytest.mark.parametrize(
    ("kind", "told"), [("istio-east", True), ("istio-remote", False), ("istio", False), ("cloud", False)]
)
def test_a_class_that_looks_like_ours_is_told_to_be_none(kind: str, told: bool) -> None:
    found = [field for field, _ in complaints(check("KubernetesGateway", gateway(HBONE, kind=kind)))]
    assert found == (["spec.gatewayClassName"] if told else [])


@pytest.mark.parametrize(
    ("listener", "kind", "fault"),
    [
        (HBONE, "istio-eastwest", ""),
        (HBONE | {"tls": {"mode": "Terminate"}}, "istio-eastwest", ""),
        (HBONE | {"port": 15009}, "istio-eastwest", "UnsupportedProtocol"),
        (HBONE | {"protocol": "TLS"}, "istio-eastwest", "UnsupportedProtocol"),
        (XDS, "istio-eastwest", ""),
        (XDS | {"tls": {"mode": "Terminate"}}, "istio-eastwest", "UnsupportedProtocol"),
        (XDS | {"protocol": "HTTP"}, "istio-eastwest", "UnsupportedProtocol"),
        (XDS | {"port": 15021}, "istio-eastwest", "PortUnavailable"),
        ({"name": "mesh", "port": 15008, "protocol": "HBONE"}, "istio-waypoint", ""),
        ({"name": "mesh", "port": 15008, "protocol": "HTTP"}, "istio-waypoint", "UnsupportedProtocol"),
    ],
)
def test_listeners_that_have_no_effect_nw16(listener: dict[str, Any], kind: str, fault: str) -> None:
    obj = gateway(listener, kind=kind)
    assert [one.fault for one in managed(obj).listeners] == [fault]
    assert [field for field, _ in complaints(check("KubernetesGateway", obj))] == ["spec.listeners[0]"] * bool(fault)


@pytest.mark.parametrize(
    ("listener", "auto"),
    [
        (XDS, False),
        (XDS | {"port": 15443}, True),
        (XDS | {"tls": {"mode": "Passthrough", "options": {"gateway.istio.io/listener-protocol": "auto-passthrough"}}},
         True),
        (HBONE, False),
    ],
)  # fmt: skip
def test_listeners_that_pass_mutual_tls_on_nw15(listener: dict[str, Any], auto: bool) -> None:
    assert [one.auto for one in managed(gateway(listener)).listeners] == [auto]


@pytest.mark.parametrize(("said", "kind", "told"), [("ClusterIP", "ClusterIP", 0), ("Other", "", 1)])
def test_the_type_of_the_service(said: str, kind: str, told: int) -> None:
    obj = gateway(HBONE)
    obj["metadata"]["annotations"] = {"networking.istio.io/service-type": said}
    assert managed(obj).service_type == kind
    assert len(complaints(check("KubernetesGateway", obj))) == told


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        ([], ("", "", "")),
        ([{"value": "198.18.0.9"}], ("198.18.0.9", "", "")),
        ([{"type": "IPAddress", "value": "198.18.0.9"}], ("198.18.0.9", "", "")),
        ([{"type": "Hostname", "value": "theirs.gw"}], ("", "theirs.gw", "")),
        ([{"type": "IPAddress", "value": "x"}], ("", "", "UnsupportedAddress")),
        ([{"type": "NamedAddress", "value": "x"}], ("", "", "UnsupportedAddress")),
        ([{"value": "198.18.0.9"}, {"value": "198.18.0.8"}], ("", "", "UnsupportedAddress")),
    ],
)
def test_where_it_shall_be_reached(addresses: list[dict[str, Any]], found: tuple[str, str, str]) -> None:
    obj = gateway(HBONE, addresses=addresses)
    row = managed(obj)
    assert (row.address, row.host, row.fault) == found
    assert bool(row.message) is bool(row.fault) is bool(complaints(check("KubernetesGateway", obj)))


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ({"group": "", "kind": "ConfigMap", "name": "more"}, ("more", "")),
        ({"kind": "Secret", "name": "more"}, ("more", "InvalidParameters")),
        ({"kind": "ConfigMap"}, ("", "InvalidParameters")),
    ],
)
def test_what_is_laid_over_it(reference: dict[str, Any], found: tuple[str, str]) -> None:
    row = managed(gateway(HBONE, infrastructure={"parametersRef": reference}))
    assert (row.parameters, row.fault) == found


@pytest.mark.parametrize(
    ("others", "faults"),
    [
        ([XDS], ["", ""]),
        ([HBONE | {"name": "again"}], ["", "HostnameConflict"]),
        ([XDS, XDS | {"name": "again", "hostname": "a.example"}], ["", "", ""]),
        ([XDS, XDS | {"name": "again"}], ["", "", "HostnameConflict"]),
    ],
)
def test_of_listeners_in_each_others_way_the_first_counts(others: list[dict[str, Any]], faults: list[str]) -> None:
    assert [one.fault for one in managed(gateway(HBONE, *others)).listeners] == faults


@pytest.mark.parametrize(
    ("routes", "found"),
    [
        ({}, ("Same", ())),
        ({"namespaces": {"from": "All"}}, ("All", ())),
        ({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}}, ("Selector", (("a", "b"),))),
        ({"namespaces": {"from": "Selector", "selector": {"matchExpressions": [{"key": "a"}]}}}, ("Same", ())),
    ],
)
def test_whose_services_a_waypoint_takes(routes: dict[str, Any], found: tuple[str, Any]) -> None:
    listener = {"name": "mesh", "port": 15008, "protocol": "HBONE", "allowedRoutes": routes}
    [one] = managed(gateway(listener, kind="istio-waypoint")).listeners
    assert (one.allowed, one.selector) == found


def test_istios_name_of_the_class_is_the_same_class() -> None:
    assert managed(gateway(HBONE, kind="istio-east-west")).class_name == "istio-eastwest"


@pytest.mark.parametrize(("addresses", "unready"), [([], True), ([{"value": "10.96.0.9"}], False)])
def test_a_waypoint_without_an_address_never_served(addresses: list[dict[str, str]], unready: bool) -> None:
    obj = gateway({"name": "mesh", "port": 15008, "protocol": "HBONE"}, kind="istio-waypoint")
    assert managed(obj | {"status": {"addresses": addresses}}).unready is unready


@pytest.mark.parametrize(("said", "told"), [("service", 0), ("workload", 0), ("all", 0), ("none", 0), ("servce", 1)])
def test_a_waypoint_for_traffic_that_nobody_knows_is_told(said: str, told: int) -> None:
    obj = gateway(HBONE, kind="istio-waypoint")
    obj["metadata"]["labels"]["istio.io/waypoint-for"] = said
    assert managed(obj).class_name == "istio-waypoint", "it runs"
    message = "'servce' is not known, so nobody goes through this waypoint"
    found = [one for one in complaints(check("KubernetesGateway", obj)) if "waypoint-for" in one[0]]
    assert found == [("metadata.labels[istio.io/waypoint-for]", message)] * told
