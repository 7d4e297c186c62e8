"""What ztunnels are told, and what a change costs: workloads, services and policies through the mesh."""

from msgspec.structs import replace as changed

from isthmus.graph.mesh import Mesh
from isthmus.model.rows import (
    Namespace,
    Proxy,
    Row,
)
from isthmus.proto import authorization_pb2, workload_pb2
from isthmus.xds.resource import ADDRESS, AUTHORIZATION
from tests.graph.world import SYSTEM, App, cluster, helloworld, mesh, put, sleep

HELLO = "sample/helloworld.sample.svc.cluster.local"


def pod_name(app: App, index: int = 0) -> str:
    return f"{app.cluster}//Pod/{app.namespace}/{app.pod(index)}"


def ztunnel(name: str = "east", network: str = "") -> Proxy:
    return Proxy(
        cluster=name, namespace=SYSTEM, name=f"ztunnel-{name}", type="ztunnel", network=network, node=f"{name}-node"
    )


def follow(world: Mesh, proxy: Proxy | None = None) -> str:
    proxy = proxy or ztunnel()
    world.connect(proxy)
    for type_url in (ADDRESS, AUTHORIZATION):
        world.subscribe(proxy.id, type_url, ["*"])
    return proxy.id


def one_network(*more: Row) -> Mesh:
    """Two clusters on one network."""
    return mesh(
        "east",
        [*cluster("east", "n", config=True), *cluster("west", "n")],
        [Namespace(cluster=name, name="sample") for name in ("east", "west")],
        helloworld("east", "10.0.0.11", "10.0.0.12").rows(),
        helloworld("west", "10.0.1.11", vip="10.97.0.1").rows(),
        sleep().rows(),
        list(more),
    )


def workload(world: Mesh, name: str, proxy: str = "ztunnel-east.istio-system@east") -> workload_pb2.Workload:
    found = world.resource(proxy, ADDRESS, name)
    assert found is not None, f"{name} is not among {sorted(world.resources(proxy, ADDRESS))}"
    return workload_pb2.Address.FromString(found.body).workload


def service(world: Mesh, name: str = HELLO, proxy: str = "ztunnel-east.istio-system@east") -> workload_pb2.Service:
    found = world.resource(proxy, ADDRESS, name)
    assert found is not None, f"{name} is not among {sorted(world.resources(proxy, ADDRESS))}"
    return workload_pb2.Address.FromString(found.body).service


def policy(world: Mesh, name: str) -> authorization_pb2.Authorization:
    found = world.resource("ztunnel-east.istio-system@east", AUTHORIZATION, name)
    assert found is not None
    return authorization_pb2.Authorization.FromString(found.body)


def test_pods_of_all_clusters_on_the_network_are_workloads() -> None:
    """AM5, AM9"""
    world = one_network()
    follow(world)
    names = set(world.resources("ztunnel-east.istio-system@east", ADDRESS))
    assert names == {
        "east//Pod/sample/helloworld-east-0",
        "east//Pod/sample/helloworld-east-1",
        "west//Pod/sample/helloworld-west-0",
        "east//Pod/sample/sleep-east-0",
        HELLO,
        "sample/sleep.sample.svc.cluster.local",
    }
    found = workload(world, "west//Pod/sample/helloworld-west-0")
    assert dict(found.services) == {
        HELLO: workload_pb2.PortList(ports=[workload_pb2.Port(service_port=5000, target_port=5000)])
    }
    assert (found.cluster_id, found.network, found.service_account, found.node) == (
        "west", "n", "helloworld", "west-node",
    )  # fmt: skip
    assert found.locality.region == "west-region"
    assert list(found.addresses) == [bytes((10, 0, 1, 11))]


def test_a_captured_pod_takes_hbone() -> None:
    pod = helloworld("east", "10.0.0.11").pod_rows()[0]
    world = one_network(changed(pod, redirection="enabled"))
    follow(world)
    assert workload(world, "east//Pod/sample/helloworld-east-0").tunnel_protocol == workload_pb2.HBONE
    assert workload(world, "east//Pod/sample/helloworld-east-1").tunnel_protocol == workload_pb2.NONE
    world.apply([put(changed(pod, redirection="pending"))])
    assert workload(world, "east//Pod/sample/helloworld-east-0").tunnel_protocol == workload_pb2.NONE


def test_a_service_has_the_addresses_of_the_viewers_cluster() -> None:
    """Ranges of clusters may overlap: each is told only what its own workloads call."""
    world = one_network()
    follow(world)
    follow(world, ztunnel("west"))
    east, west = (service(world, HELLO, f"ztunnel-{name}.istio-system@{name}") for name in ("east", "west"))
    assert [bytes(one.address) for one in east.addresses] == [bytes((10, 96, 0, 1))]
    assert [bytes(one.address) for one in west.addresses] == [bytes((10, 97, 0, 1))]
    assert {one.network for one in (*east.addresses, *west.addresses)} == {"n"}
    assert east.canonical


def test_one_pod_that_changes_costs_one_workload() -> None:
    world = one_network()
    me = follow(world)
    pod = helloworld("east", "10.0.0.11").pod_rows()[0]
    assert world.apply([put(changed(pod, ready=False))]) == {me: {ADDRESS: {"east//Pod/sample/helloworld-east-0"}}}
    ours = [table for table, _ in world.recomputed if table.startswith("ztunnel.")]
    assert ours == ["ztunnel.workloads", "ztunnel.wrapped", "ztunnel.addresses"]
    assert workload(world, "east//Pod/sample/helloworld-east-0").status == workload_pb2.UNHEALTHY
