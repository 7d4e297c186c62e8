"""What draining a cluster would move, as told before it is done; and that it is what then happens."""

import pytest

from isthmus.derive.moves import Move
from isthmus.envoy.match import Connection
from isthmus.graph.mesh import Mesh
from isthmus.model.liveness import ClusterStanding
from isthmus.xds.resource import EDS
from tests.graph.calls import config
from tests.graph.world import App, mesh, port, put, router, sleep, two_networks


@pytest.fixture
def world() -> Mesh:
    only = App("west", "ledger", ["10.0.0.44"], vip="10.96.0.44", ports=(port(80),))
    headless = App("west", "quorum", ["10.0.0.45"], ports=(port(80),))
    plain = App("east", "plain", ["10.0.0.46"], vip="10.96.0.46", ports=(port(80),), mesh=False)
    far = App("west", "plain", ["10.0.0.47"], vip="10.96.0.46", ports=(port(80),))
    return mesh("east", two_networks(), only.rows(), headless.rows(), plain.rows(), far.rows())


def test_each_service_of_the_cluster_is_told(world: Mesh) -> None:
    assert world.drain_preview("west") == [
        Move(
            namespace="sample",
            name="helloworld",
            here=1,
            elsewhere=3,
            before=(("east", 0.75), ("west", 0.25)),
            after=(("east", 1.0),),
        ),
        Move(
            namespace="sample",
            name="ledger",
            here=1,
            elsewhere=0,
            before=(("west", 1.0),),
            after=(("west", 1.0),),
            stays=True,
        ),
        Move(
            namespace="sample",
            name="plain",
            here=1,
            elsewhere=1,
            before=(("east", 0.5), ("west", 0.5)),
            after=(("east", 1.0),),
        ),
        Move(namespace="sample", name="quorum", here=1, elsewhere=0, stays=True, headless=True),
    ]


def test_a_cluster_without_services_moves_nothing(world: Mesh) -> None:
    assert world.drain_preview("north") == []


def test_the_own_cluster_is_told_by_where_its_callers_go(world: Mesh) -> None:
    (hello, *_) = world.drain_preview("east")
    assert (hello.name, hello.after, hello.stays) == ("helloworld", (("west", 1.0),), False)


def test_looking_changes_nothing(world: Mesh) -> None:
    before = world.table("derive.assignments")
    world.drain_preview("west")
    assert world.table("derive.assignments") == before
    assert not world.table("standings")


@pytest.mark.parametrize("drained", ["west", "east"])
def test_what_was_told_is_what_happens(world: Mesh, drained: str) -> None:
    told = {move.name: move for move in world.drain_preview(drained)}["helloworld"]
    world.apply([put(ClusterStanding(cluster=drained, name=drained, weight=0, declared=True))])
    verdict = config(world, sleep().sidecar()).leaving(
        Connection(address="10.96.0.1", port=5000, http="http/1.1"), host="helloworld.sample:5000"
    )
    first = [target for target in verdict.targets if target.priority == 0 and target.share]
    found: dict[str, float] = {}
    for target in first:
        found[target.cluster] = found.get(target.cluster, 0.0) + target.share
    assert found == pytest.approx(dict(told.after))


def test_a_draining_cluster_gets_its_percentage(world: Mesh) -> None:
    world.apply([put(ClusterStanding(cluster="west", name="west", weight=50, declared=True))])
    (hello, *_) = world.drain_preview("north") or world.drain_preview("west")
    assert dict(hello.before) == pytest.approx({"east": 6 / 7, "west": 1 / 7})


def test_its_own_gateway_passes_on_what_still_arrives() -> None:
    world = mesh("east", two_networks())
    gateway = router("west", "net-west")
    world.connect(gateway)
    name = "outbound_.5000_._.helloworld.sample.svc.cluster.local"
    before = world.resource(gateway.id, EDS, name)
    world.apply([put(ClusterStanding(cluster="west", name="west", weight=0, declared=True))])
    assert before is not None
    assert world.resource(gateway.id, EDS, name) == before
