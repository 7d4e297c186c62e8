"""VirtualServices on connections of sidecars: by port, SNI, client."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from isthmus.envoy.match import Connection, Verdict
from isthmus.graph.mesh import Mesh
from isthmus.model.routing import VirtualService
from isthmus.model.rows import Protocol, Proxy, Row, labels
from isthmus.xds.resource import LDS
from tests.envoy.acceptance import everything, validate
from tests.graph.calls import config
from tests.graph.test_mesh import follow
from tests.graph.test_routing import clusters, to, virtual_service
from tests.graph.world import App, cluster, mesh, port, put, sleep

PORTS = (port(9000, Protocol.TCP), port(443, Protocol.TLS))
DB = App("east", "db", ["10.0.0.11"], vip="10.96.0.11", ports=PORTS)
SPARE = App("east", "spare", ["10.0.0.12"], vip="10.96.0.12", ports=PORTS)


def world(*rows: Row) -> Mesh:
    """One cluster with two services on TCP and TLS, and a caller."""
    apps = [*DB.rows(), *SPARE.rows(), *sleep().rows()]
    return mesh("east", cluster("east", config=True), apps, list(rows))


def route(spec: dict[str, Any], **metadata: Any) -> VirtualService:
    """A VirtualService for `db`."""
    return virtual_service({"hosts": ["db"], **spec}, **metadata)


def call(made: Mesh, number: int = 9000, *, proxy: Proxy | None = None, **hello: Any) -> Verdict:
    """What a connection of sleep's sidecar meets."""
    caller = config(made, proxy or sleep().sidecar())
    return caller.leaving(Connection(address="10.96.0.11", port=number, **hello))


def test_connections_are_shared_by_weight() -> None:
    both = [{"destination": {"host": "db"}, "weight": 9}, {"destination": {"host": "spare"}, "weight": 1}]
    made = world(route({"tcp": [{"match": [{"port": 9000}], "route": both}]}))
    assert clusters(call(made)) == {"db": 0.9, "spare": 0.1}
    assert clusters(call(made, 443, tls=True, sni="x")) == {"db": 1}


@pytest.mark.parametrize(
    ("sni", "expected"), [("a.example", "spare"), ("x.b.example", "spare"), ("c", "db"), ("", "db")]
)
def test_tls_is_told_apart_by_its_sni(sni: str, expected: str) -> None:
    match = [{"sniHosts": ["a.example", "*.b.example"]}]
    made = world(route({"tls": [{"match": match, **to("spare")}]}))
    assert clusters(call(made, 443, tls=bool(sni), sni=sni)) == {expected: 1}


CLIENTS: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"sourceLabels": {"app": "sleep"}}, {}, True),
    ({"sourceLabels": {"app": "sleep"}}, {"labels": labels({"app": "x"})}, False),
    ({"sourceNamespace": "x"}, {}, False),
    ({"sourceNamespace": "x"}, {"namespace": "x"}, True),
    ({"gateways": ["gw"]}, {}, False),
    ({"destinationSubnets": ["10.96.0.0/24"]}, {}, True),
    ({"destinationSubnets": ["10.97.0.0/24"]}, {}, False),
]


@pytest.mark.parametrize(("match", "proxy", "fits"), CLIENTS)
def test_a_match_is_for_some_clients(match: dict[str, Any], proxy: dict[str, Any], fits: bool) -> None:
    made = world(route({"tcp": [{"match": [match], **to("spare")}]}))
    caller = msgspec.structs.replace(sleep().sidecar(), **proxy)
    assert clusters(call(made, proxy=caller)) == {"spare" if fits else "db": 1}


@pytest.mark.parametrize(("export_to", "seen"), [(["*"], "sample x"), (["."], "sample"), (["x"], "x"), (["~"], "")])
def test_only_namespaces_it_is_exported_to_go_by_it(export_to: list[str], seen: str) -> None:
    made = world(route({"tcp": [to("spare")], "exportTo": export_to}))
    for namespace in ("sample", "x"):
        caller = msgspec.structs.replace(sleep().sidecar(), namespace=namespace)
        assert clusters(call(made, proxy=caller)) == {"spare" if namespace in seen.split() else "db": 1}


def test_a_change_concerns_one_listener() -> None:
    made = world(route({"tcp": [to("spare")]}))
    name = follow(made, sleep().sidecar())
    assert made.apply([put(route({"tcp": [{"match": [{"port": 443}], **to("spare")}]}))]) == {
        name: {LDS: {"10.96.0.11_9000"}}
    }


def test_what_does_not_exist_is_closed() -> None:
    assert (
        call(world(route({"tcp": [to("nowhere")]}))).closed
        == "no cluster outbound|9000||nowhere.sample.svc.cluster.local"
    )


def test_envoy_takes_it(tmp_path: Path) -> None:
    both = [{"destination": {"host": "db"}, "weight": 9}, {"destination": {"host": "spare"}, "weight": 1}]
    rules = {
        "tls": [
            {"match": [{"sniHosts": ["a.example"], "destinationSubnets": ["10.0.0.0/8", "fd00::/8"]}], "route": both},
            {"match": [{"sniHosts": ["*.b.example", "a.example"]}], **to("spare")},
        ],
        "tcp": [
            {"match": [{"destinationSubnets": ["10.96.0.11"], "sourceLabels": {"app": "sleep"}}], **to("spare")},
            {"route": both},
        ],
    }
    made = world(route(rules))
    proxy = sleep().sidecar()
    made.connect(proxy)
    assert validate(tmp_path, everything(made, proxy.id)) == ""
