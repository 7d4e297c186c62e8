"""AuthorizationPolicy at gateways: requests and connections that VirtualServices lead on; the mesh's own are left."""

from pathlib import Path

import pytest

from isthmus.envoy.match import Connection
from isthmus.graph.mesh import Mesh
from isthmus.install.eastwest import exposed_control_plane
from isthmus.install.values import MeshValues
from isthmus.model.rows import Cluster, Row
from tests.envoy.acceptance import everything, validate
from tests.envoy.policies import operation, policy, source
from tests.graph.calls import config
from tests.graph.test_gateways import HTTP, MUTUAL, PASS, TLS_ROUTES, at, gateway, held, world
from tests.graph.test_routing import to
from tests.graph.world import SYSTEM, cross_network, put, router
from tests.ingest.check import check

CALLER = "spiffe://cluster.local/ns/sample/sa/sleep"
SELECTOR = {"selector": {"matchLabels": {"istio": "eastwestgateway"}}}
TO_HELLO = {"http": [{**to("helloworld", port={"number": 5000})}]}


def refused(made: Mesh, number: int, peer: str = "", *, path: str = "/") -> str:
    """Why the gateway refuses a call, empty if it does not. With a peer the call comes by TLS."""
    connection = Connection(address="x", port=number, tls=number != 80, sni="a.example", peer=peer, source="10.9.9.9")
    return held(made).arriving(connection, host="a.example", path=path).closed


@pytest.mark.parametrize(
    ("rows", "closed"),
    [
        ([], ""),
        ([policy("p", SYSTEM)], "403: RBAC: none"),
        ([policy("p", SYSTEM, **SELECTOR)], "403: RBAC: none"),
        ([policy("p", SYSTEM, selector={"matchLabels": {"istio": "ingress"}})], ""),
        ([policy("p", "sample")], ""),
        ([policy("p", SYSTEM, rules=[operation(paths=["/a*"])])], ""),
        ([policy("p", SYSTEM, rules=[operation(paths=["/b*"])])], "403: RBAC: none"),
        ([policy("p", SYSTEM, rules=[source(ipBlocks=["10.9.0.0/16"])])], ""),
        (
            [policy("p", SYSTEM, action="DENY", rules=[source(ipBlocks=["10.9.0.0/16"])])],
            "403: RBAC: ns[istio-system]-policy[p]-rule[0]",
        ),
    ],
)
def test_requests(rows: list[Row], closed: str) -> None:
    made = world(gateway(HTTP), at(TO_HELLO), *rows)
    assert refused(made, 80, path="/a") == closed


def test_callers_with_an_identity_of_any_trust_domain_of_the_mesh() -> None:
    allow = policy("p", SYSTEM, rules=[source(principals=["west.example/ns/sample/sa/sleep"])])
    made = world(gateway(MUTUAL), at(TO_HELLO), allow)
    west = CALLER.replace("cluster.local", "west.example")
    assert refused(made, 443, CALLER) == "403: RBAC: none"
    assert refused(made, 443, west).startswith("TLS")
    made.apply([put(Cluster(cluster="west", name="west", trust_domain="west.example"))])
    assert refused(made, 443, west) == ""


def test_connections_that_are_passed_on_unopened_have_an_address_and_no_identity() -> None:
    rows = (gateway(PASS), at({"tls": TLS_ROUTES}))
    assert refused(world(*rows, policy("p", SYSTEM, rules=[source(ipBlocks=["10.9.9.9"])])), 8443) == ""
    assert refused(world(*rows, policy("p", SYSTEM, rules=[source(principals=["*"])])), 8443) == "RBAC: none"


def test_a_mesh_that_is_closed_by_default_keeps_its_gateways_for_itself() -> None:
    """Mesh mTLS is judged where it ends, and the control plane judges its callers."""
    values = MeshValues(cluster="east", mesh_id="m", network="net-east")
    shown = [found.rows[0] for one in exposed_control_plane(values) if (found := check(one["kind"], one)).rows]
    made = held(world(policy("p", SYSTEM), cross_network("east"), *shown))
    assert made.arriving(Connection(address="x", port=15012, tls=True, sni="istiod")).closed == ""
    sni = "outbound_.5000_._.helloworld.sample.svc.cluster.local"
    assert made.arriving(Connection(address="x", port=15443, tls=True, sni=sni, alpn=("istio",))).closed == ""


def test_envoy_takes_it(tmp_path: Path) -> None:
    everybody = policy("p", SYSTEM, rules=[source(principals=["*"]), operation(paths=["/x"])])
    made = world(gateway(HTTP, MUTUAL, PASS), at({**TO_HELLO, "tls": TLS_ROUTES}), everybody)
    proxy = router("east", "net-east")
    config(made, proxy)
    assert validate(tmp_path, everything(made, proxy.id)) == ""
