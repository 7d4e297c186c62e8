"""How far services reach: every row of the states table, for clusters that are read and for peers, through the mesh."""

from typing import Any

import pytest

from isthmus.envoy.spread import nothing_gone, spread
from isthmus.graph.mesh import Mesh
from isthmus.model.peering import PeerEndpoints, PeerLink, PeerService, ServiceScope
from isthmus.model.rows import Locality, Proxy, Row, labels
from tests.graph.calls import config
from tests.graph.world import cluster, cross_network, gateway, helloworld, mesh, port, sleep

MESH = "helloworld.sample.mesh.internal"
OWN = "helloworld.sample.svc.cluster.local"
MESH_CLUSTER = f"outbound|5000||{MESH}"
OWN_CLUSTER = f"outbound|5000||{OWN}"
EAST_POD, WEST_POD = "10.0.0.11", "10.0.0.21"
GATEWAYS = {"east": "172.18.0.1", "west": "172.18.0.2"}
FOREIGN = "spiffe://west.example/ns/sample/sa/helloworld"

ABSENT, UNLABELLED = "absent", "unlabelled"
GLOBAL, GLOBAL_ONLY = ServiceScope.GLOBAL, ServiceScope.GLOBAL_ONLY


def hello(where: str, state: str = GLOBAL, **fields: Any) -> list[Row]:
    """Helloworld in one cluster, in one of the table's states."""
    if state == ABSENT:
        return []
    service = {"labels": labels({"solo.io/service-scope": str(state)})} if state != UNLABELLED else {}
    address = EAST_POD if where == "east" else WEST_POD
    return helloworld(where, address, service=service | fields.pop("service", {}), **fields).rows()


def exported(state: str = GLOBAL, *, healthy: int = 1, **fields: Any) -> list[Row]:
    """What the peer west says: nothing of what is not global there."""
    if state in (ABSENT, UNLABELLED):
        return []
    values: dict[str, Any] = {
        "namespace": "sample",
        "scope": ServiceScope(state),
        "ports": (port(5000),),
        "identities": (FOREIGN,),
        "endpoints": (PeerEndpoints("net-west", Locality("west-region", "west-a"), healthy, max(healthy, 1)),),
    }
    return [PeerService(cluster="west", name="helloworld", **(values | fields))]


def link(**fields: Any) -> PeerLink:
    values: dict[str, Any] = {
        "network": "net-west", "addresses": (GATEWAYS["west"],), "hbone_port": 15008, "xds_port": 15012,
    }  # fmt: skip
    return PeerLink(cluster="east", namespace="istio-gateways", name="west", peer="west", **(values | fields))


def read(*rows: Row) -> Mesh:
    """East and west, both read by this control plane, on two networks."""
    return mesh(
        "east",
        cluster("east", "net-east", config=True),
        cluster("west", "net-west"),
        sleep().rows(),
        gateway("east", "net-east", GATEWAYS["east"]),
        gateway("west", "net-west", GATEWAYS["west"]),
        [cross_network("east"), *rows],
    )


def peered(*rows: Row) -> Mesh:
    """East alone, with west as a peer."""
    east = [*cluster("east", "net-east", config=True), *sleep().rows(), link()]
    return mesh("east", east, list(rows))


def caller(**fields: Any) -> Proxy:
    """A client in east that can do HBONE beside mesh mTLS."""
    return sleep().sidecar(network="net-east", **({"hbone": True} | fields))


def places(made: Mesh, name: str, proxy: Proxy | None = None, gone: str = "") -> dict[str, float] | None:
    """local, or the gateway's tunnel and address -> share of the traffic; None if there is no such destination."""
    held = config(made, proxy or caller())
    assignment = held.assignment(name)
    if held.cluster(name) is None or assignment is None:
        return None
    found: dict[str, float] = {}
    for one in spread(assignment, (lambda member: member.network in gone.split()) if gone else nothing_gone):
        member = one.member
        place = "local" if member.address == EAST_POD else f"{member.tunnel}{member.address}:{member.port}"
        found[place] = round(found.get(place, 0) + one.share, 4)
    return found


REMOTE = {"read": f"{GATEWAYS['west']}:15443", "peer": f"inner_connect_originate{GATEWAYS['west']}:15008"}

HERE, THERE, BOTH, NOWHERE = ("local",), ("remote",), ("local", "remote"), None

TABLE = [
    (ABSENT, ABSENT, NOWHERE),
    (ABSENT, UNLABELLED, NOWHERE),
    (UNLABELLED, ABSENT, NOWHERE),
    (UNLABELLED, UNLABELLED, NOWHERE),
    (ABSENT, GLOBAL, THERE),
    (UNLABELLED, GLOBAL, THERE),
    (ABSENT, GLOBAL_ONLY, THERE),
    (UNLABELLED, GLOBAL_ONLY, THERE),
    (GLOBAL, GLOBAL, BOTH),
    (GLOBAL, GLOBAL_ONLY, BOTH),
    (GLOBAL_ONLY, GLOBAL, BOTH),
    (GLOBAL_ONLY, GLOBAL_ONLY, BOTH),
    (GLOBAL, ABSENT, HERE),
    (GLOBAL, UNLABELLED, HERE),
    (GLOBAL_ONLY, ABSENT, HERE),
    (GLOBAL_ONLY, UNLABELLED, HERE),
]
"""Local state, remote state, where the endpoints of the mesh-wide name are (last table of the semantics)."""


def world(kind: str, local: str, remote: str) -> Mesh:
    if kind == "read":
        return read(*hello("east", local), *hello("west", remote))
    return peered(*hello("east", local), *exported(remote))


@pytest.mark.parametrize("kind", ["read", "peer"])
@pytest.mark.parametrize(("local", "remote", "expected"), TABLE)
def test_states_of_the_mesh_wide_service(kind: str, local: str, remote: str, expected: tuple[str, ...] | None) -> None:
    found = places(world(kind, local, remote), MESH_CLUSTER)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert set(found) == {place if place == "local" else REMOTE[kind] for place in expected}
    # PreferNetwork: everything goes to the own network, as long as there is something.
    assert found["local" if "local" in expected else REMOTE[kind]] == 1.0


@pytest.mark.parametrize("kind", ["read", "peer"])
@pytest.mark.parametrize(("local", "remote", "_"), TABLE)
def test_states_of_the_service_itself(kind: str, local: str, remote: str, _: object) -> None:
    """Its own name keeps sameness among clusters that are read; peers are behind it only where it is global-only."""
    found = places(world(kind, local, remote), OWN_CLUSTER)
    here = {"local"} if local != ABSENT else set()
    if kind == "read":
        expected = here | ({REMOTE[kind]} if remote != ABSENT else set())
    else:
        beyond = local == GLOBAL_ONLY and remote in (GLOBAL, GLOBAL_ONLY)
        expected = here | ({REMOTE[kind]} if beyond else set())
    assert set(found or ()) == expected
    assert (found is None) == (not here and (kind == "peer" or remote == ABSENT))
