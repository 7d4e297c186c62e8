"""Where calls of global services go: what comes first, and shares by the healthy endpoints behind gateways."""

from typing import Any

import msgspec
import pytest

from isthmus.graph.mesh import Mesh
from isthmus.model.peering import PeerEndpoints
from isthmus.model.rows import Locality, Namespace, Proxy, Row
from tests.graph.test_service_scopes import (
    GATEWAYS,
    LABELLED,
    MESH_CLUSTER,
    REMOTE,
    caller,
    exported,
    hello,
    link,
    peered,
    places,
)
from tests.graph.world import App, cluster, helloworld, mesh, put, sleep


def spread_of(healthy: int, **service: Any) -> Mesh:
    """Three endpoints here, some healthy ones in each of two places of a peer."""
    east = helloworld("east", "10.0.0.11", "10.0.0.12", "10.0.0.13", service={"labels": LABELLED, **service})
    places_ = (
        PeerEndpoints("net-west", Locality("east-region"), healthy, healthy),
        PeerEndpoints("net-west", Locality("far"), 1, 4),
    )
    return peered(*east.rows(), *exported(endpoints=places_))


def weights(made: Mesh, proxy: Proxy | None = None, gone: str = "") -> tuple[float, float]:
    """The shares of what is here and of what is behind the peer's gateway."""
    found = places(made, MESH_CLUSTER, proxy, gone) or {}
    remote = found.get(REMOTE["peer"], 0.0)
    return (round(sum(found.values()) - remote, 3), round(remote, 3))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", (1.0, 0.0)),
        ("PreferNetwork", (1.0, 0.0)),
        ("PreferRegion", (1.0, 0.0)),
        ("PreferSameZone", (1.0, 0.0)),
        ("PreferSameNode", (1.0, 0.0)),
        ("Any", (3 / 8, 5 / 8)),
    ],
)
def test_what_comes_first_and_shares_by_healthy_endpoints(said: str, expected: tuple[float, float]) -> None:
    made = spread_of(4, traffic_distribution=said)
    assert weights(made) == pytest.approx(expected, abs=1e-3)


def test_shares_follow_the_healthy_endpoints_behind_two_gateways() -> None:
    made = spread_of(4, traffic_distribution="Any")
    made.apply([put(link(addresses=(GATEWAYS["west"], "172.18.0.3")))])
    found = places(made, MESH_CLUSTER)
    second = REMOTE["peer"].replace(GATEWAYS["west"], "172.18.0.3")
    assert found is not None
    assert found[REMOTE["peer"]] == found[second] == 0.3125
    made.apply([put(exported(endpoints=(PeerEndpoints("net-west", Locality("far"), 3, 4),))[0])])
    found = places(made, MESH_CLUSTER)
    assert found is not None
    assert found[REMOTE["peer"]] == found[second] == 0.25


def test_without_a_healthy_endpoint_here_traffic_goes_to_the_peer_and_comes_back() -> None:
    made = spread_of(4)
    assert weights(made) == (1.0, 0.0)
    assert weights(made, gone="net-east") == (0.0, 1.0)
    east = helloworld("east", "10.0.0.11", "10.0.0.12", "10.0.0.13", service={"labels": LABELLED})
    made.apply([put(_unready(east))])
    assert weights(made) == (0.0, 1.0)
    made.apply([put(east.slice_row())])
    assert weights(made) == (1.0, 0.0)


def _unready(app: App) -> Row:
    row = app.slice_row()
    endpoints = tuple(msgspec.structs.replace(one, ready=False) for one in row.endpoints)
    return msgspec.structs.replace(row, endpoints=endpoints)


def test_of_several_peers_the_one_in_the_callers_region_comes_first() -> None:
    north = exported(endpoints=(PeerEndpoints("net-north", Locality("east-region"), 2, 2),))[0]
    rows = [
        *exported(traffic_distribution="PreferRegion"),
        msgspec.structs.replace(north, cluster="north", traffic_distribution="PreferRegion"),
        link(),
        link(name="north", peer="north", network="net-north", addresses=("172.18.0.9",)),
    ]
    made = mesh("east", cluster("east", "net-east", config=True), sleep().rows(), rows)
    far, near = REMOTE["peer"], REMOTE["peer"].replace(GATEWAYS["west"], "172.18.0.9")
    place = msgspec.structs.replace(caller(), name="placed")
    assert places(made, MESH_CLUSTER, place) == {near: 1.0, far: 0.0}
    assert places(made, MESH_CLUSTER, place, "net-north") == {near: 0.0, far: 1.0}


def test_the_namespace_says_it_and_peers_where_nobody_else_does() -> None:
    far = exported(traffic_distribution="Any")
    made = peered(*hello("east"), *far)
    assert weights(made) == (0.5, 0.5)
    made.apply([put(Namespace(cluster="east", name="sample", traffic_distribution="PreferNetwork"))])
    assert weights(made) == (1.0, 0.0)
    made.apply([put(hello("east", service={"traffic_distribution": "Any"})[0])])
    assert weights(made) == (0.5, 0.5)
