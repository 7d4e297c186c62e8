"""PeerAuthentication from objects to what Envoy does: every level; the config cluster's word holds in every cluster."""

from typing import Any

import pytest

from isthmus.envoy.match import Connection
from isthmus.graph.mesh import Mesh
from isthmus.model.rows import PeerAuthentication, Protocol
from tests.graph.calls import config
from tests.graph.world import SYSTEM, App, cluster, mesh, port
from tests.ingest.check import check

PORTS = (port(8080), port(9000, Protocol.TCP))
EAST = App("east", "web", ["10.0.0.1"], vip="10.96.0.1", ports=PORTS)
WEST = App("west", "web", ["10.1.0.1"], vip="10.96.0.1", ports=PORTS)
STRICT, DISABLE, PERMISSIVE = ({"mode": mode} for mode in ("STRICT", "DISABLE", "PERMISSIVE"))
WEB = {"matchLabels": {"app": "web"}}


def peers(namespace: str, **spec: Any) -> PeerAuthentication:
    """The row of an object of the config cluster."""
    metadata = {"namespace": namespace, "name": f"p-{namespace}-{len(spec)}"}
    found = check("PeerAuthentication", {"metadata": metadata, "spec": spec})
    assert not found.problems
    (row,) = found.rows or ()
    assert isinstance(row, PeerAuthentication)
    return row


def world(*rows: PeerAuthentication) -> Mesh:
    """Two clusters on one network with the same workload."""
    both = (*cluster("east", config=True), *cluster("west"), *EAST.rows(), *WEST.rows())
    return mesh("east", list(both), list(rows))


def takes(made: Mesh, app: App, number: int) -> tuple[bool, bool]:
    """Whether plaintext is taken, and whether mesh mTLS is opened."""
    held = config(made, app.sidecar())
    plain = held.arriving(Connection(address=app.ips[0], port=number), at=15006)
    mutual = held.arriving(Connection(address=app.ips[0], port=number, tls=True, alpn=("istio",)), at=15006)
    return not plain.closed, mutual.server_tls is not None


ONLY_MUTUAL, BOTH, ONLY_PLAIN = (False, True), (True, True), (True, False)


@pytest.mark.parametrize("app", [EAST, WEST], ids=["config cluster", "remote"])
@pytest.mark.parametrize(
    ("rows", "http", "tcp"),
    [
        pytest.param([], BOTH, BOTH, id="default"),
        pytest.param([peers(SYSTEM, mtls=STRICT)], ONLY_MUTUAL, ONLY_MUTUAL, id="mesh"),
        pytest.param(
            [peers(SYSTEM, mtls=STRICT), peers("sample", mtls=DISABLE)], ONLY_PLAIN, ONLY_PLAIN, id="namespace"
        ),
        pytest.param([peers(SYSTEM, mtls=STRICT), peers("sample", mtls={})], ONLY_MUTUAL, ONLY_MUTUAL, id="inherited"),
        pytest.param(
            [peers("sample", mtls=STRICT), peers("sample", selector=WEB, mtls=PERMISSIVE)], BOTH, BOTH, id="workload"
        ),
        pytest.param(
            [peers("sample", selector=WEB, mtls=STRICT, portLevelMtls={"9000": DISABLE})],
            ONLY_MUTUAL,
            ONLY_PLAIN,
            id="port",
        ),
        pytest.param(
            [peers("sample", mtls=STRICT), peers("sample", selector=WEB, portLevelMtls={"8080": PERMISSIVE})],
            BOTH,
            ONLY_MUTUAL,
            id="port, the rest inherits",
        ),
        pytest.param([peers("other", mtls=STRICT)], BOTH, BOTH, id="another namespace"),
        pytest.param([peers(SYSTEM, selector=WEB, mtls=STRICT)], BOTH, BOTH, id="selectors stay in their namespace"),
    ],
)
def test_levels(rows: list[PeerAuthentication], http: object, tcp: object, app: App) -> None:
    made = world(*rows)
    assert (takes(made, app, 8080), takes(made, app, 9000)) == (http, tcp)


def test_what_a_remote_cluster_says_has_no_effect() -> None:
    """TE5."""
    foreign = PeerAuthentication(cluster="west", namespace="sample", name="p", mode=peers("sample", mtls=STRICT).mode)
    assert takes(world(foreign), WEST, 8080) == BOTH


def test_callers_know_what_the_other_cluster_takes() -> None:
    """SH13: a client speaks plaintext to a port where policy switched mutual TLS off, in any cluster."""
    rule = peers("sample", selector=WEB, mtls=STRICT, portLevelMtls={"9000": DISABLE})
    caller = App("east", "sleep", ["10.0.0.2"], vip="10.96.0.2", ports=(port(80),))
    made = mesh("east", [*cluster("east", config=True), *cluster("west")], caller.rows(), WEST.rows(), [rule])
    held = config(made, caller.sidecar())
    mutual = {
        number: [target.tls is not None for target in held.leaving(connection, host="web.sample").targets]
        for number, connection in (
            (8080, Connection(address="10.96.0.1", port=8080, http="http/1.1")),
            (9000, Connection(address="10.96.0.1", port=9000)),
        )
    }
    assert mutual == {8080: [True], 9000: [False]}
