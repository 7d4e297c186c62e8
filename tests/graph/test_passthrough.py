"""Connections that a gateway passes on unopened by SNI, first of all those to the control plane, seen as Envoy does."""

import json
from typing import Any

import pytest

from isthmus.envoy.match import Config, Connection
from isthmus.ingest.kinds import KINDS, observer
from isthmus.ingest.place import Place
from isthmus.install.eastwest import exposed_control_plane
from isthmus.install.values import MeshValues
from isthmus.model.rows import Protocol, Row
from tests.graph.calls import config
from tests.graph.world import App, cluster, cross_network, gateway, helloworld, mesh, port, put, router, two_networks

ISTIOD_PORTS = (
    port(15012, Protocol.TLS, name="https-dns"),
    port(443, Protocol.TLS, name="https-webhook", target="15017"),
)


def rows(*manifests: dict[str, Any]) -> list[Row]:
    """What ingest makes of manifests of the config cluster east."""
    found: list[Row] = []
    for manifest in manifests:
        (kind,) = [kind for kind in KINDS if kind.name == manifest["kind"]]
        seen = observer(kind, Place("east"))(json.dumps(manifest).encode())
        assert not seen.problems
        found += seen.rows or ()
    return found


def istiod(name: str, *ips: str) -> App:
    """The Service of a control plane; in a remote cluster its addresses are those of the gateway that leads to one."""
    return App(name, "istiod", list(ips), namespace="istio-system", vip="10.96.0.9", ports=ISTIOD_PORTS, mesh=False)


def exposed(*more: Row | list[Row]) -> list[Row]:
    found = [
        *two_networks(),
        *istiod("east", "10.0.0.21", "10.0.0.22").rows(),
        *rows(*exposed_control_plane(MeshValues(cluster="east"))),
    ]
    for one in more:
        found += one if isinstance(one, list) else [one]
    return found


def east_gateway(*more: Row | list[Row]) -> Config:
    return config(mesh("east", *exposed(*more)), router("east", "net-east"))


def reached(gateway_config: Config, at: int, **hello: Any) -> tuple[set[tuple[str, int]], str]:
    """(addresses that a connection to a gateway's port gets to, why it was closed)."""
    verdict = gateway_config.arriving(Connection(address="172.18.0.1", port=at, **hello), at=at)
    return {(target.address, target.port) for target in verdict.targets}, verdict.closed


@pytest.mark.parametrize("sni", ["istiod.istio-system.svc", "istiod.example.com", ""])
@pytest.mark.parametrize(("at", "target"), [(15012, 15012), (15017, 15017)])
def test_tls_to_the_control_planes_ports_gets_to_its_own_tls(sni: str, at: int, target: int) -> None:
    found, closed = reached(east_gateway(), at, tls=True, sni=sni, alpn=("h2",))
    assert (found, closed) == ({("10.0.0.21", target), ("10.0.0.22", target)}, "")


@pytest.mark.parametrize("at", [15012, 15017])
def test_what_is_no_tls_gets_nowhere(at: int) -> None:
    assert reached(east_gateway(), at, http="http/1.1") == (set(), "no filter chain matches")


def test_other_ports_are_as_they_were() -> None:
    gateway_config = east_gateway()
    hello = {"tls": True, "alpn": ("istio",)}
    assert reached(gateway_config, 15443, sni="outbound_.15012_._.istiod.istio-system.svc.cluster.local", **hello)[1]
    name = "outbound_.5000_._.helloworld.sample.svc.cluster.local"
    assert len(reached(gateway_config, 15443, sni=name, **hello)[0]) == 3
    assert reached(gateway_config, 15010, tls=True)[1] == "nothing listens on port 15010"


def test_the_gateway_does_not_lead_to_itself_by_way_of_a_remote_on_the_same_network() -> None:
    """There, the Service istiod has the gateway's own address."""
    south = [*cluster("south", "net-east"), *istiod("south", "172.18.0.1").rows()]
    found, _ = reached(east_gateway(south), 15012, tls=True)
    assert found == {("10.0.0.21", 15012), ("10.0.0.22", 15012)}


def test_without_an_istiod_it_is_closed_and_comes_back() -> None:
    gone = istiod("east", "10.0.0.21")
    gone.ready = False
    world = mesh("east", *exposed())
    world.apply([put(gone.slice_row())])
    assert reached(config(world, router("east", "net-east")), 15012, tls=True) == (set(), "no healthy upstream")
    world.apply([put(istiod("east", "10.0.0.21").slice_row())])
    assert reached(config(world, router("east", "net-east")), 15012, tls=True)[0] == {("10.0.0.21", 15012)}


def test_upstream_sockets_of_a_gateway_carry_no_mark() -> None:
    made = east_gateway().cluster("outbound|15012||istiod.istio-system.svc.cluster.local")
    assert made is not None
    assert [option.int_value for option in made.upstream_bind_config.socket_options if option.name == 36] == []


def passthrough_gateway(name: str, *hosts: str, created: str = "") -> dict[str, Any]:
    server = {"port": {"number": 9443, "name": "tls", "protocol": "TLS"}, "tls": {"mode": "PASSTHROUGH"}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": "istio-system", "creationTimestamp": created or None},
        "spec": {"selector": {"istio": "eastwestgateway"}, "servers": [{**server, "hosts": list(hosts)}]},
    }


def tls_routes(name: str, *routes: tuple[list[str], dict[str, int]], created: str = "") -> dict[str, Any]:
    made = []
    for hosts, shares in routes:
        to = [{"destination": {"host": f"{app}.sample.svc.cluster.local"}, "weight": w} for app, w in shares.items()]
        made.append({"match": [{"port": 9443, "sniHosts": hosts}], "route": to})
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "istio-system", "creationTimestamp": created or None},
        "spec": {"hosts": ["*"], "gateways": ["secure"], "tls": made},
    }


def secure(*manifests: dict[str, Any]) -> Config:
    tls = (port(443, Protocol.TLS),)
    apps = [App("east", name, [ip], vip=f"10.96.1.{ip[-1]}", ports=tls) for name, ip in
            (("a", "10.0.0.1"), ("b", "10.0.0.2"))]  # fmt: skip
    world = [*cluster("east", "net-east", config=True), *gateway("east", "net-east", "172.18.0.1")]
    world += [row for app in apps for row in app.rows()] + helloworld("east", "10.0.0.7").rows()
    return config(mesh("east", *world, cross_network("east"), *rows(*manifests)), router("east", "net-east"))


def shares(gateway_config: Config, sni: str) -> dict[str, float]:
    verdict = gateway_config.arriving(Connection(address="x", port=9443, tls=True, sni=sni), at=9443)
    return {target.address: round(target.share, 2) for target in verdict.targets}


@pytest.mark.parametrize(
    ("sni", "expected"),
    [
        ("a.example.com", {"10.0.0.1": 1.0}),
        ("A.Example.com", {"10.0.0.1": 1.0}),
        ("x.b.example.com", {"10.0.0.1": 0.25, "10.0.0.2": 0.75}),
        ("b.example.com", {}),
        ("a.example.org", {}),
        ("", {}),
    ],
)
def test_the_name_that_is_asked_for_decides(sni: str, expected: dict[str, float]) -> None:
    made = secure(
        passthrough_gateway("secure", "*.example.com"),
        tls_routes("routes", (["a.example.com", "a.example.org"], {"a": 0}), (["*.b.example.com"], {"a": 25, "b": 75})),
    )
    assert shares(made, sni) == expected


def test_a_wider_route_is_cut_to_what_the_server_is_for_and_the_older_object_has_a_name_first() -> None:
    made = secure(
        passthrough_gateway("secure", "one.example.com", "two.example.com"),
        tls_routes("young", (["*.example.com"], {"b": 0}), created="2026-02-02T00:00:00Z"),
        tls_routes("old", (["one.example.com"], {"a": 0}), created="2026-01-01T00:00:00Z"),
    )
    assert shares(made, "one.example.com") == {"10.0.0.1": 1.0}
    assert shares(made, "two.example.com") == {"10.0.0.2": 1.0}
    assert shares(made, "three.example.com") == {}


def test_names_that_two_gateways_claim_do_not_make_a_listener_that_envoy_refuses() -> None:
    one, other = passthrough_gateway("secure", "*.example.com"), passthrough_gateway("zweite", "a.example.com")
    second = tls_routes("second", (["a.example.com"], {"b": 0}))
    second["spec"]["gateways"] = ["zweite"]
    made = secure(one, other, tls_routes("first", (["a.example.com"], {"a": 0})), second)
    assert shares(made, "a.example.com") == {"10.0.0.1": 1.0}
    (listener,) = [one for one in made.listeners.values() if one.address.socket_address.port_value == 9443]
    names = [name for chain in listener.filter_chains for name in chain.filter_chain_match.server_names]
    assert len(names) == len(set(names))
