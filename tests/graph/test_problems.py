"""Problems are kept up to date from the first time somebody asks, and defects are among them."""

import pytest

from isthmus.graph.mesh import Mesh, MeshSettings
from isthmus.graph.problems import Problems
from isthmus.model.rows import MtlsMode, PeerAuthentication, Protocol
from tests.graph.world import App, cluster, drop, gateway, helloworld, mesh, port, put, puts, two_networks


def test_a_good_world_has_none() -> None:
    assert mesh("east", two_networks()).problems() == []


def test_nothing_is_evaluated_before_somebody_asks() -> None:
    world = mesh("east", two_networks())
    world.apply([drop(gateway("west", "net-west")[0])])
    assert world.table("problems") == []
    assert len(world.problems()) == 1
    world.apply([put(gateway("west", "net-west", "172.18.0.2")[0])])
    assert "problems" in {table for table, _ in world.recomputed}
    assert world.problems() == []


def test_an_endpoint_that_changes_does_not_touch_the_others() -> None:
    world = mesh("east", two_networks())
    world.problems()
    world.apply([put(helloworld("west", "10.0.0.14").slice_row())])
    assert {table for table, _ in world.recomputed} == {"derive.endpoints", "problems.reach"}
    world.apply([put(helloworld("west", "10.0.0.14", ready=False).slice_row())])
    assert {table for table, _ in world.recomputed} == {"derive.endpoints", "problems.reach", "problems.of_service"}


@pytest.mark.parametrize(
    ("rows", "where", "field"),
    [
        pytest.param(
            [PeerAuthentication(cluster="east", namespace="sample", name="p", mode=MtlsMode.DISABLE)],
            "Service sample/helloworld in cluster west",
            "endpoints",
            id="no mTLS across networks",
        ),
        pytest.param(
            gateway("west", "net-west"),
            "Service istio-system/istio-eastwestgateway in cluster west",
            "status.loadBalancer",
            id="gateway without address",
        ),
        pytest.param(
            [helloworld("west", "10.0.0.11", ports=(port(5001),)).service_row()],
            "Service sample/helloworld in cluster west",
            "spec.ports[5000]",
            id="other ports",
        ),
        pytest.param(
            cluster("west", "net-east")[1:2],
            "Pod sample/helloworld-west-0 in cluster west",
            "status.podIP",
            id="two clusters with one range say they are one network",
        ),
        pytest.param(
            [
                *cluster("north", "net-east"),
                helloworld("north", vip="10.0.0.12").service_row(),
            ],
            "Service sample/helloworld in cluster north",
            "spec.clusterIP",
            id="a ClusterIP of one cluster is a pod of another on the same network",
        ),
    ],
)
def test_what_is_reported(rows: list, where: str, field: str) -> None:  # type: ignore[type-arg]
    world = mesh("east", two_networks())
    world.apply(puts(rows))
    assert (where, field) in [(str(problem.where), problem.field) for problem in world.problems()]


def test_what_the_mesh_itself_is_made_of_may_differ_between_clusters() -> None:
    world = mesh("east", two_networks())
    for name, protocol in (("east", Protocol.TLS), ("west", Protocol.TCP)):
        own = App(
            name, "istiod", ["10.0.0.77"], "istio-system", "10.96.0.7", ports=(port(15012, protocol),), mesh=False
        )
        world.apply(puts(own.rows()))
    assert world.problems() == []
    other = [App(name, "odd", [], "sample", "10.96.0.8", ports=(port(80, protocol),))
             for name, protocol in (("east", Protocol.HTTP), ("west", Protocol.TCP))]  # fmt: skip
    world.apply(puts(*(app.rows() for app in other)))
    assert [problem.field for problem in world.problems()] == ["spec.ports[80]"]


def test_a_defect_is_reported_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Problems, get: object, host: tuple[str, str]) -> None:
        raise RuntimeError(f"cannot do {host[1]}")

    monkeypatch.setattr(Problems, "_of_host", fail)
    world = Mesh(MeshSettings(config_cluster="east"))
    world.apply(puts(App("east", "web", ["1.1.1.1"], vip="10.96.0.1").rows()))
    world.apply(puts(App("east", "other", ["1.1.1.2"], vip="10.96.0.2").rows()))
    said = {str(problem.where.name): problem.message for problem in world.problems()}
    assert said == {
        f"problems.of_service ('sample', '{name}')": "could not be derived, its last good value stays: "
        f"RuntimeError: cannot do {name}"
        for name in ("web", "other")
    }


def test_a_headless_service_in_two_networks_is_reported_dn3() -> None:
    peers = App("west", "peers", ["10.0.0.21", "10.0.0.22"], vip="")
    world = mesh("east", two_networks(), App("east", "peers", ["10.0.0.21"], vip="").rows(), peers.rows())
    (found,) = world.problems()
    assert (str(found.where), found.field) == ("Service sample/peers in cluster west", "spec.clusterIP")
    assert found.message.startswith("2 ready pods in network net-west have no names in network net-east")
    world.apply([put(App("west", "peers", [], vip="").slice_row())])
    assert world.problems() == []
