"""networking.istio.io Gateways."""

from typing import Any

import pytest

from isthmus.base.errors import Severity
from isthmus.model.rows import Gateway, GatewayServer
from tests.ingest.check import check, complaints

TLS = {
    "port": {"number": 15443, "name": "tls", "protocol": "TLS"},
    "tls": {"mode": "AUTO_PASSTHROUGH"},
    "hosts": ["*.local"],
}


def test_the_east_west_gateway_nw17() -> None:
    found = check("Gateway", {"spec": {"selector": {"istio": "eastwestgateway"}, "servers": [TLS]}})
    assert found.problems == ()
    assert found.rows == (
        Gateway(
            cluster="east",
            namespace="a",
            name="x",
            selector=(("istio", "eastwestgateway"),),
            servers=(GatewayServer(15443, "TLS", ("*.local",), "AUTO_PASSTHROUGH", name="tls"),),
        ),
    )


def test_the_namespace_of_a_host_is_stripped_sn4() -> None:
    found = check("Gateway", {"spec": {"servers": [TLS | {"hosts": ["ns/*.local", "./a.example", "*/b"]}]}})
    assert found.rows is not None
    assert isinstance(found.rows[0], Gateway)
    assert found.rows[0].servers[0].hosts == ("*.local", "a.example", "b")


def test_tls_mode_defaults_to_simple() -> None:
    server = {"port": {"number": 443, "protocol": "HTTPS"}, "hosts": ["*"], "tls": {"credentialName": "c"}, "name": "n"}
    found = check("Gateway", {"spec": {"servers": [server]}})
    assert found.rows is not None
    assert isinstance(found.rows[0], Gateway)
    assert found.rows[0].servers == (GatewayServer(443, "HTTPS", ("*",), "SIMPLE", "c", "n"),)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec.servers"),
        ("x", "spec"),
        ({"servers": "x"}, "spec.servers"),
        ({"servers": [TLS | {"port": {"number": "many", "protocol": "TLS"}}]}, "spec.servers[0].port.number"),
        ({"servers": [TLS | {"port": {"protocol": "TLS"}}]}, "spec.servers[0].port.number"),
        ({"servers": [TLS | {"port": {"number": 1}}]}, "spec.servers[0].port.protocol"),
        ({"servers": [TLS | {"port": {"number": 1, "protocol": "QUIC"}}]}, "spec.servers[0].port.protocol"),
        ({"servers": [TLS | {"tls": {"mode": "PASS"}}]}, "spec.servers[0].tls.mode"),
        ({"servers": [TLS | {"tls": None}]}, "spec.servers[0].tls"),
        ({"servers": [TLS | {"hosts": []}]}, "spec.servers[0].hosts"),
        ({"servers": [TLS | {"hosts": ["a b"]}]}, "spec.servers[0].hosts"),
        ({"servers": [TLS], "selector": {"a": 1}}, "spec.selector.a"),
    ],
)
def test_malformed_gateways_are_refused_and_told(spec: Any, field: str) -> None:
    found = check("Gateway", {"spec": spec})
    assert found.rows is None
    assert [name for name, _ in complaints(found)] == [field]
    assert all(problem.remedy for problem in found.problems)


HTTPS = {"port": {"number": 443, "protocol": "HTTPS"}, "hosts": ["*"]}


@pytest.mark.parametrize(
    ("server", "field"),
    [
        (TLS | {"hosts": ["team/*.local"]}, "hosts"),
        (HTTPS | {"tls": {"mode": "SIMPLE", "credentialName": "c"}}, "tls.credentialName"),
        (HTTPS | {"tls": {"mode": "SIMPLE"}}, "tls"),
        (HTTPS | {"tls": {"mode": "MUTUAL", "serverCertificate": "/c", "privateKey": "/k"}}, "tls.caCertificates"),
    ],
)
def test_what_a_server_does_not_do_is_told_and_the_others_count(server: dict[str, Any], field: str) -> None:
    found = check("Gateway", {"spec": {"servers": [server, TLS]}})
    assert found.rows
    assert [(one.field, one.severity) for one in found.problems] == [(f"spec.servers[0].{field}", Severity.WARNING)]


def test_files_of_the_pod_are_named_and_who_may_bind() -> None:
    tls = {"mode": "MUTUAL", "serverCertificate": "/c", "privateKey": "/k", "caCertificates": "/a"}
    found = check("Gateway", {"spec": {"servers": [HTTPS | {"hosts": ["./a.example", "b.example"], "tls": tls}]}})
    assert found.problems == ()
    assert found.rows
    (row,) = found.rows
    assert isinstance(row, Gateway)
    (server,) = row.servers
    assert (server.certificate_file, server.key_file, server.ca_file) == ("/c", "/k", "/a")
    assert (server.hosts, server.binds) == (("a.example", "b.example"), ("a", "*"))
