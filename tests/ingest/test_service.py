"""Services and endpoint slices."""

from typing import Any

import pytest

from isthmus.ingest.service import port_protocol
from isthmus.model.rows import EndpointSlice, Protocol, Service, ServicePort, SliceEndpoint, SlicePort
from tests.ingest.check import check, complaints


@pytest.mark.parametrize(
    ("name", "app_protocol", "transport", "expected"),
    [
        ("http", None, "TCP", Protocol.HTTP),
        ("http-admin", None, "TCP", Protocol.HTTP),
        ("http2-x", None, "TCP", Protocol.HTTP2),
        ("grpc", None, "TCP", Protocol.GRPC),
        ("grpc-web", None, "TCP", Protocol.GRPC),
        ("grpc-web-1", None, "TCP", Protocol.GRPC),
        ("https", None, "TCP", Protocol.TLS),
        ("tls-db", None, "TCP", Protocol.TLS),
        ("tcp-echo", None, "TCP", Protocol.TCP),
        ("status-port", None, "TCP", Protocol.TCP),
        ("httpfoo", None, "TCP", Protocol.TCP),
        ("", None, "TCP", Protocol.TCP),
        ("http", None, "UDP", Protocol.UDP),
        ("tcp", "http", "TCP", Protocol.HTTP),
        ("http", "tcp", "TCP", Protocol.TCP),
        ("x", "kubernetes.io/h2c", "TCP", Protocol.HTTP2),
        ("x", "kubernetes.io/wss", "TCP", Protocol.TLS),
        ("http", "acme.example/own", "TCP", Protocol.TCP),
    ],
)
def test_protocol_by_app_protocol_then_by_name(
    name: str, app_protocol: str | None, transport: str, expected: Protocol
) -> None:
    assert port_protocol(name, app_protocol, transport) == expected


def test_service_row() -> None:
    found = check(
        "Service",
        {
            "metadata": {
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": "x"},
                "resourceVersion": "5",
                "managedFields": [{"any": "thing"}],
            },
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": "10.0.0.1",
                "clusterIPs": ["10.0.0.1", "fd00::1"],
                "selector": {"b": "2", "a": "1"},
                "ports": [
                    {"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080},
                    {"name": "tls", "port": 443, "targetPort": "named"},
                ],
                "externalIPs": ["192.0.2.1"],
                "internalTrafficPolicy": "Local",
                "publishNotReadyAddresses": True,
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}, {"hostname": "lb.example"}]}},
        },
    )
    assert found.problems == ()
    assert found.rows == (
        Service(
            cluster="east",
            namespace="a",
            name="x",
            type="LoadBalancer",
            cluster_ips=("10.0.0.1", "fd00::1"),
            selector=(("a", "1"), ("b", "2")),
            labels=(("app", "x"),),
            ports=(
                ServicePort("http", 80, Protocol.HTTP, "8080", 30080),
                ServicePort("tls", 443, Protocol.TLS, "named"),
            ),
            external_ips=("192.0.2.1",),
            ingress_addresses=("198.51.100.1", "lb.example"),
            internal_traffic_local=True,
            publish_not_ready=True,
            created="2026-01-01T00:00:00Z",
        ),
    )


def only(spec: dict[str, Any], **metadata: Any) -> Service:
    """The row of a service that has no errors."""
    found = check("Service", {"spec": spec, "metadata": metadata})
    assert found.rows is not None
    (row,) = found.rows
    assert isinstance(row, Service)
    return row


def test_headless_and_external_name() -> None:
    assert only({"clusterIP": "None"}).headless
    assert only({"clusterIP": "None"}).cluster_ips == ()
    external = only({"type": "ExternalName", "externalName": "db.example"})
    assert (external.external_name, external.cluster_ips) == ("db.example", ())


@pytest.mark.parametrize(
    ("spec", "annotation", "expected", "warned"),
    [
        (None, None, "", False),
        ("PreferClose", None, "PreferSameZone", False),
        ("PreferSameNode", "Any", "PreferSameNode", False),
        (None, "preferclose", "PreferSameZone", False),
        (None, "PreferNetwork", "PreferNetwork", False),
        (None, "Nearest", "Any", True),
        (None, "", "Any", True),
        ("Nearest", None, "Any", True),
        ("PreferNetwork", "PreferClose", "PreferNetwork", False),
        ("PreferRegion", None, "PreferRegion", False),
        ("Any", "PreferClose", "Any", False),
        ("Nearest", "PreferClose", "PreferSameZone", False),
    ],
)
def test_traffic_distribution_lb9(spec: str | None, annotation: str | None, expected: str, warned: bool) -> None:
    annotations = {} if annotation is None else {"networking.istio.io/traffic-distribution": annotation}
    found = check("Service", {"spec": {"trafficDistribution": spec}, "metadata": {"annotations": annotations}})
    assert found.rows is not None
    assert isinstance(found.rows[0], Service)
    assert found.rows[0].traffic_distribution == expected
    assert bool(found.problems) == warned


def test_sctp_is_set_aside_with_a_warning() -> None:
    found = check("Service", {"spec": {"ports": [{"port": 1, "protocol": "SCTP"}, {"port": 2}]}})
    assert found.rows is not None
    assert isinstance(found.rows[0], Service)
    assert [port.port for port in found.rows[0].ports] == [2]
    assert complaints(found) == [("spec.ports[0].protocol", "'SCTP' is not carried by the mesh")]


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"ports": [{"port": "x"}]}, "spec.ports[0].port", "expected `int`, got `str`"),
        ({"ports": [{}]}, "spec.ports[0]", "object missing required field `port`"),
        ({"ports": [{"port": 70000}]}, "spec.ports[0].port", "70000 is no port"),
        ({"ports": [{"port": 1}, {"port": 1}]}, "spec.ports[1].port", "port 1 is there twice"),
        ({"selector": {"a": 1}}, "spec.selector[...]", "expected `str`, got `int`"),
        ({"clusterIP": "here"}, "spec.clusterIP", "'here' is no IP address"),
        ({"type": "ExternalName"}, "spec.externalName", "is empty for a service of type ExternalName"),
        ("nothing", "spec", "expected `object | null`, got `str`"),
    ],
)
def test_malformed_services_are_refused_and_told(spec: Any, field: str, message: str) -> None:
    found = check("Service", {"spec": spec})
    assert found.rows is None
    assert complaints(found) == [(field, message)]
    assert str(found.where) == "Service a/x in cluster east"
    assert found.problems[0].remedy


def test_slice_row() -> None:
    endpoint = {
        "addresses": ["10.0.0.1"],
        "conditions": {"ready": False, "serving": True, "terminating": True},
        "targetRef": {"kind": "Pod", "name": "p"},
        "nodeName": "n",
        "zone": "z",
        "hostname": "h",
    }
    found = check(
        "EndpointSlice",
        {
            "metadata": {"labels": {"kubernetes.io/service-name": "svc"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}, {"port": 1}, {"name": "all"}],
            "endpoints": [endpoint, {"addresses": ["10.0.0.2"], "conditions": {"ready": False}}, {"addresses": []}],
        },
    )
    assert found.rows == (
        EndpointSlice(
            cluster="east",
            namespace="a",
            name="x",
            service="svc",
            ports=(SlicePort("http", 8080), SlicePort("", 1)),
            endpoints=(
                SliceEndpoint(("10.0.0.1",), False, True, True, "p", "n", "z", "h"),
                SliceEndpoint(("10.0.0.2",), ready=False, serving=False),
                SliceEndpoint(()),
            ),
        ),
    )


def test_empty_slice_as_go_writes_it() -> None:
    found = check(
        "EndpointSlice",
        {"metadata": {"labels": {"kubernetes.io/service-name": "svc"}}, "endpoints": None, "ports": None},
    )
    assert found.rows == (EndpointSlice(cluster="east", namespace="a", name="x", service="svc"),)


@pytest.mark.parametrize(
    "obj",
    [
        {"endpoints": [{"addresses": ["10.0.0.1"]}]},
        {"metadata": {"labels": {"kubernetes.io/service-name": "svc"}}, "addressType": "FQDN", "endpoints": []},
    ],
)
def test_slices_that_are_none_of_the_meshs(obj: dict[str, Any]) -> None:
    found = check("EndpointSlice", obj)
    assert (found.rows, found.problems) == ((), ())


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"endpoints": [{"addresses": ["ten"]}]}, "endpoints[0].addresses"),
        ({"endpoints": [{}]}, "endpoints[0]"),
        ({"endpoints": {}}, "endpoints"),
        ({"ports": [{"port": 0}]}, "ports[0].port"),
    ],
)
def test_malformed_slices_are_refused_and_told(part: dict[str, Any], field: str) -> None:
    found = check("EndpointSlice", part | {"metadata": {"labels": {"kubernetes.io/service-name": "svc"}}})
    assert found.rows is None
    assert [problem.field for problem in found.problems] == [field]


@pytest.mark.parametrize("kind", ["Service", "Namespace"])
@pytest.mark.parametrize(
    ("labels", "fields"),
    [
        ({}, []),
        ({"solo.io/service-scope": "global"}, []),
        ({"solo.io/service-scope": "Global-Only", "istio.io/global": "true"}, []),
        ({"solo.io/service-scope": "cluster", "istio.io/global": "false"}, []),
        ({"solo.io/service-scope": "segment"}, ["solo.io/service-scope"]),
        ({"istio.io/global": "yes"}, ["istio.io/global"]),
        ({"solo.io/service-scope": "cluster", "istio.io/global": "true"}, ["istio.io/global"]),
        ({"solo.io/service-scope": "global", "istio.io/global": "false"}, ["istio.io/global"]),
    ],
)
def test_scope_labels_that_are_not_understood_are_told(kind: str, labels: dict[str, str], fields: list[str]) -> None:
    found = check(kind, {"metadata": {"labels": labels}})
    assert found.rows
    assert [field for field, _ in complaints(found)] == [f"metadata.labels[{name}]" for name in fields]
