"""A container's arguments, environment and mounts become settings; what is wrong is named."""

from pathlib import Path
from typing import Any

import pytest

from isthmus.agent.settings import (
    Address,
    Drain,
    Mounts,
    Ports,
    ProxySettings,
    parse_addresses,
    parse_downward,
    parse_duration,
    parse_settings,
)
from isthmus.base.errors import UsageError

ENV = {
    "POD_NAME": "sleep-1",
    "POD_NAMESPACE": "sample",
    "INSTANCE_IP": "10.0.0.5",
    "SERVICE_ACCOUNT": "sleep",
    "NODE_NAME": "east-a",
    "ISTIO_META_CLUSTER_ID": "east",
    "ISTIO_META_NETWORK": "network-east",
    "ISTIO_META_POD_PORTS": '[{"containerPort":80}]',
    "ISTIO_METAJSON_LABELS": '{"app":"sleep"}',
    "PATH": "/bin",
}
ARGS = ["proxy", "sidecar", "--domain", "sample.svc.cluster.local"]


def parse(
    env: dict[str, str] | None = None,
    args: list[str] | None = None,
    mounts: dict[str, str] | None = None,
    files: dict[str, str] | None = None,
) -> ProxySettings:
    """Settings of the usual container with changes."""
    read = (files or {}).get
    made = {name: value for name, value in {**ENV, **(env or {})}.items() if value != "-"}
    return parse_settings(args or ARGS, made, mounts=Mounts(mounts), read=lambda path: read(str(path)))


def test_defaults() -> None:
    settings = parse()
    istiod = (Address("istiod.istio-system.svc", 15012),)
    assert settings.node_id == "sidecar~10.0.0.5~sleep-1.sample~sample.svc.cluster.local"
    assert settings.cluster_suffix == "svc.cluster.local"
    assert (settings.control_planes, settings.certificate_authorities) == (istiod, istiod)
    assert settings.token_file == Path("/var/run/secrets/tokens/istio-token")
    assert (settings.ports, settings.drain, settings.secret_ttl) == (Ports(), Drain(least=2, most=5), 86400)
    assert (settings.dns_capture, settings.concurrency, settings.output_certs) == (False, 1, None)


def test_metadata() -> None:
    files = {"/var/run/secrets/pod/labels": 'app="web"\nversion="v\\"1"\n'}
    assert parse(files=files).metadata == {
        "CLUSTER_ID": "east",
        "LABELS": {"app": "web", "version": 'v"1'},
        "NETWORK": "network-east",
        "NODE_NAME": "east-a",
        "POD_PORTS": '[{"containerPort":80}]',
    }
    assert parse().metadata["LABELS"] == {"app": "sleep"}


def test_paths_follow_the_mounts() -> None:
    settings = parse(
        env={"OUTPUT_CERTS": "/var/run/isthmus/certs"},
        mounts={"/var/run": "/host/run", "/var/run/secrets/tokens": "/host/tokens", "/etc/resolv.conf": "/host/resolv"},
    )
    assert settings.token_file == Path("/host/tokens/istio-token")
    assert settings.root_file == Path("/host/run/secrets/istio/root-cert.pem")
    assert settings.state_dir == Path("/host/run/isthmus")
    assert settings.output_certs == Path("/host/run/isthmus/certs")
    assert settings.resolv_conf == Path("/host/resolv")


@pytest.mark.parametrize(
    ("env", "attribute", "value"),
    [
        ({"PILOT_ADDRESS": "a:1,b"}, "control_planes", (Address("a", 1), Address("b", 15012))),
        ({"PILOT_ADDRESS": "a:1"}, "certificate_authorities", (Address("a", 1),)),
        ({"CA_ADDR": "ca:2"}, "certificate_authorities", (Address("ca", 2),)),
        ({"PILOT_SAN": "istiod.other.svc"}, "server_name", "istiod.other.svc"),
        ({"SECRET_TTL": "20s"}, "secret_ttl", 20.0),
        ({"ISTIO_META_DNS_CAPTURE": "true"}, "dns_capture", True),
        ({"SERVICE_ACCOUNT": "-"}, "service_account", "default"),
        ({"TRUST_DOMAIN": "east.example"}, "trust_domain", "east.example"),
        ({"DNS_PROXY_ADDR": "localhost:53"}, "ports", Ports(dns=53)),
        ({"PROXY_ADMIN_PORT": "1", "ENVOY_STATUS_PORT": "2"}, "ports", Ports(admin=1, health=2)),
        ({"TERMINATION_DRAIN_DURATION_SECONDS": "1"}, "drain", Drain(least=1, most=1)),
        ({"MINIMUM_DRAIN_DURATION": "0s"}, "drain", Drain(least=0, most=5)),
        ({"CONCURRENCY": "2"}, "concurrency", 2),
    ],
)
def test_environment(env: dict[str, str], attribute: str, value: Any) -> None:
    assert getattr(parse(env), attribute) == value


def test_gateways_capture_no_names() -> None:
    settings = parse(env={"ISTIO_META_DNS_CAPTURE": "true"}, args=["proxy", "router", "--log_output_level=default"])
    assert (settings.kind, settings.dns_capture, settings.domain) == ("router", False, "sample.svc.cluster.local")


def test_domain_of_another_cluster() -> None:
    settings = parse(args=["proxy", "sidecar", "--domain=sample.svc.east.example"])
    assert (settings.domain, settings.cluster_suffix) == ("sample.svc.east.example", "svc.east.example")


@pytest.mark.parametrize(
    ("env", "args", "named"),
    [
        ({"POD_NAME": "-"}, ARGS, "POD_NAME"),
        ({"INSTANCE_IP": ""}, ARGS, "INSTANCE_IP"),
        ({"ISTIO_METAJSON_LABELS": "{"}, ARGS, "ISTIO_METAJSON_LABELS"),
        ({"SECRET_TTL": "soon"}, ARGS, "SECRET_TTL"),
        ({"PILOT_ADDRESS": ":15012"}, ARGS, "PILOT_ADDRESS"),
        ({"CA_ADDR": ","}, ARGS, "CA_ADDR"),
        ({"CONCURRENCY": "many"}, ARGS, "CONCURRENCY"),
        ({}, ["proxy", "spectator"], "waypoint"),
        ({}, ["sidecar"], "sidecar"),
    ],
)
def test_what_is_wrong_is_named(env: dict[str, str], args: list[str], named: str) -> None:
    with pytest.raises(UsageError, match=named) as raised:
        parse(env, args)
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("24h0m0s", 86400), ("1h30m", 5400), ("500ms", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, name="X") == seconds


@pytest.mark.parametrize("text", ["s", "10x", "1h x", "h1"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(UsageError, match="X"):
        parse_duration(text, name="X")


def test_addresses_of_version_6() -> None:
    (address,) = parse_addresses("[2001:db8::1]:15012", name="X")
    assert (address, str(address)) == (Address("2001:db8::1", 15012), "[2001:db8::1]:15012")


def test_downward_files_leave_out_what_they_cannot_read() -> None:
    assert parse_downward('a="1"\nb=2\nbroken\nc="x=y\\n"\nd="\n') == {"a": "1", "c": "x=y\n"}


def test_a_waypoint_captures_nothing() -> None:
    settings = parse(env={"ISTIO_META_DNS_CAPTURE": "true"}, args=["proxy", "waypoint", "--domain", "a.svc.b"])
    assert (settings.kind, settings.dns_capture, settings.domain) == ("waypoint", False, "a.svc.b")
