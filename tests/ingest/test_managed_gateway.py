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
