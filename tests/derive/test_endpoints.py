"""Endpoints with what is known of their pods, nodes, networks and policies."""

import msgspec
import pytest

from isthmus.base.labels import NETWORK_LABEL, TUNNEL_LABEL
from isthmus.derive import endpoints
from isthmus.derive.networks import Home
from isthmus.model.mesh import Endpoint, PeerPolicy
from isthmus.model.rows import EndpointSlice, Locality, MtlsMode, Node, SliceEndpoint, SlicePort, Workload, labels

NODE = Node(cluster="c", name="n1", locality=Locality("r", "z", "s"))
POD = Workload(
    cluster="c",
    namespace="ns",
    name="web-1",
    labels=labels({"app": "web", "version": "v2", NETWORK_LABEL: "net"}),
    service_account="sa",
    node="n1",
    tls_mode="istio",
    workload_name="web",
    hostname="web-1",
    subdomain="web",
    ports=(SlicePort("http", 80), SlicePort("admin", 81)),
)


def build(endpoint: SliceEndpoint, *, pod: Workload | None = POD, policy: PeerPolicy | None = None) -> Endpoint:
    """The only endpoint of a slice."""
    around = endpoints.Surroundings(
        pod=lambda name: pod if pod is not None and name == pod.name else None,
        node=lambda name: NODE if name == "n1" else None,
        home=Home("default"),
        policy=policy or PeerPolicy(),
        trust_domain="td",
    )
    row = EndpointSlice(
        cluster="c", namespace="ns", name="s", service="web", ports=(SlicePort("http", 80),), endpoints=(endpoint,)
    )
    (found,) = endpoints.from_slice(row, around).endpoints
    return found


def test_an_endpoint_knows_its_pod() -> None:
    assert build(SliceEndpoint(addresses=("1.1.1.1",), pod="web-1")) == Endpoint(
        cluster="c",
        network="net",
        address="1.1.1.1",
        identity="spiffe://td/ns/ns/sa/sa",
        locality=Locality("r", "z", "s"),
        labels=POD.labels,
        mtls=True,
        workload="web;ns;web;v2;c",
        node="n1",
        hostname="web-1",
    )


def test_an_endpoint_without_pod_is_only_an_address() -> None:
    found = build(SliceEndpoint(addresses=("1.1.1.1",), zone="z9"))
    assert (found.network, found.identity, found.mtls, found.locality) == ("default", "", False, Locality(zone="z9"))
    assert build(SliceEndpoint(addresses=("1.1.1.1",), pod="unknown")).mtls is False


@pytest.mark.parametrize(
    ("ready", "terminating", "usable"), [(True, False, True), (False, False, False), (True, True, False)]
)
def test_only_ready_endpoints_that_do_not_end_are_usable(ready: bool, terminating: bool, usable: bool) -> None:
    assert build(SliceEndpoint(addresses=("1.1.1.1",), ready=ready, terminating=terminating)).ready is usable


@pytest.mark.parametrize(
    ("tls_mode", "mode", "ports", "takes"),
    [
        ("istio", MtlsMode.PERMISSIVE, (), {80: True, 81: True, 9: True}),
        ("", MtlsMode.STRICT, (), {80: False, 81: False, 9: False}),
        ("istio", MtlsMode.DISABLE, (), {80: False, 81: False, 9: False}),
        ("istio", MtlsMode.STRICT, ((80, MtlsMode.DISABLE),), {80: False, 81: True, 9: True}),
        ("istio", MtlsMode.DISABLE, ((80, MtlsMode.STRICT),), {80: True, 81: False}),
    ],
)
def test_who_takes_mutual_tls(
    tls_mode: str, mode: MtlsMode, ports: tuple[tuple[int, MtlsMode], ...], takes: dict[int, bool]
) -> None:
    pod = Workload(cluster="c", namespace="ns", name="web-1", labels=POD.labels, tls_mode=tls_mode, ports=POD.ports)
    policy = PeerPolicy(mode, ((POD.labels, mode, ports),))
    found = build(SliceEndpoint(addresses=("1.1.1.1",), pod="web-1"), pod=pod, policy=policy)
    assert {port: found.takes_mtls(port) for port in takes} == takes


@pytest.mark.parametrize(
    ("rule", "speaks"), [("", True), ("ISTIO_MUTUAL", True), ("DISABLE", False), ("SIMPLE", False), ("MUTUAL", False)]
)
def test_a_rule_decides_over_both_sides(rule: str, speaks: bool) -> None:
    endpoint = build(SliceEndpoint(addresses=("1.1.1.1",), pod="web-1"))
    assert endpoints.speaks_mtls(endpoint, 80, rule) is speaks


def test_identities_are_known_under_each_name_of_the_trust_domain() -> None:
    found = {"spiffe://td/ns/a/sa/b", "spiffe://other/ns/a/sa/b"}
    assert endpoints.under_aliases(found, ("td", "old")) == (
        "spiffe://old/ns/a/sa/b",
        "spiffe://other/ns/a/sa/b",
        "spiffe://td/ns/a/sa/b",
    )


def test_labels_say_where_an_endpoint_is() -> None:
    found = dict(endpoints.all_labels(build(SliceEndpoint(addresses=("1.1.1.1",), pod="web-1"))))
    assert found["app"] == "web"
    assert found["topology.istio.io/cluster"] == "c"
    assert found["topology.kubernetes.io/zone"] == "z"
    assert found["kubernetes.io/hostname"] == "n1"


@pytest.mark.parametrize(
    ("redirection", "tunnel", "taken"),
    [
        pytest.param("", "", False, id="outside of ambient"),
        pytest.param("pending", "", False, id="about to be captured, or let go"),
        pytest.param("enabled", "", True, id="captured by its node's proxy"),
        pytest.param("", "http", True, id="a sidecar with HBONE"),
        pytest.param("", "none", False, id="another word"),
    ],
)
def test_who_takes_hbone(redirection: str, tunnel: str, taken: bool) -> None:
    found = labels({"app": "web"} | ({TUNNEL_LABEL: tunnel} if tunnel else {}))
    pod = msgspec.structs.replace(POD, labels=found, redirection=redirection)
    assert build(SliceEndpoint(addresses=("1.1.1.1",), pod="web-1"), pod=pod).hbone is taken
