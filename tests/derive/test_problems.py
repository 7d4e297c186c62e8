"""What is reported, about which object, with which remedy."""

import msgspec
import pytest

from isthmus.derive import problems
from isthmus.derive.networks import gateways_of_service
from isthmus.derive.problems import Reach
from isthmus.model.mesh import Endpoint, MeshService, NetworkGateway, ServiceView, SliceEndpoints
from isthmus.model.rows import Protocol, Service, ServicePort, Workload, labels
from isthmus.model.settings import MeshSettings

SETTINGS = MeshSettings(config_cluster="east")
HTTP, TCP = ServicePort("http", 80, Protocol.HTTP), ServicePort("tcp", 90)
WEB = MeshService(namespace="ns", name="web", host="web.ns.svc.cluster.local", ports=(HTTP, TCP))
GATEWAY = NetworkGateway("b", "west", "1.1.1.1", 15443)


def service(cluster: str, *ports: ServicePort, **fields: object) -> Service:
    """A Service row."""
    return Service(cluster=cluster, namespace="ns", name="web", ports=ports, **fields)  # type: ignore[arg-type]


def test_reach_counts_ready_endpoints_by_network() -> None:
    def endpoint(network: str, **fields: object) -> Endpoint:
        return Endpoint(cluster="c", network=network, address="x", **fields)  # type: ignore[arg-type]

    found = SliceEndpoints(
        "c",
        (("http", 80), ("tcp", 90)),
        (
            endpoint("b", mtls=True),
            endpoint("b", mtls=True, plain_ports=(90,)),
            endpoint("b", ready=False),
            endpoint("a"),
        ),
    )
    assert problems.reach(found) == (Reach("c", "a", 1, 1), Reach("c", "b", 2, 1))


@pytest.mark.parametrize(
    ("found", "gateways", "texts"),
    [
        ([Reach("west", "b", 2, 0)], {"b": [GATEWAY]}, []),
        (
            [Reach("west", "b", 2, 1), Reach("west", "b", 1, 1)],
            {"b": [GATEWAY]},
            ["2 of 3 ready endpoints in network b"],
        ),
        ([Reach("west", "b", 2, 2)], {"b": []}, ["network b has no east-west gateway"]),
        ([Reach("west", "b", 0, 0)], {"b": []}, []),
        ([Reach("east", "a", 2, 2)], {}, []),
    ],
)
def test_endpoints_out_of_reach(
    found: list[Reach], gateways: dict[str, list[NetworkGateway]], texts: list[str]
) -> None:
    said = list(problems.out_of_reach(WEB, "a", found, gateways))
    assert [text in problem.message for problem, text in zip(said, texts, strict=True)] == [True] * len(texts)
    assert all(problem.remedy and problem.where.cluster == "west" for problem in said)


@pytest.mark.parametrize(
    ("other", "fields"),
    [
        (service("west", HTTP, TCP), []),
        (service("west", HTTP), ["spec.ports[90]"]),
        (service("west", HTTP, TCP, ServicePort("x", 91)), ["spec.ports[91]"]),
        (service("west", ServicePort("grpc", 80, Protocol.GRPC), TCP), ["spec.ports[80]"]),
        (service("west", HTTP, TCP, headless=True), ["spec.clusterIP"]),
        (service("west", external_name="example.com"), []),
    ],
)
def test_the_same_service_said_differently(other: Service, fields: list[str]) -> None:
    said = list(problems.differences([other, service("east", HTTP, TCP)], SETTINGS))
    assert [(problem.field, problem.where.cluster) for problem in said] == [(field, "west") for field in fields]


@pytest.mark.parametrize(("mine", "other", "count"), [(("*",), ("*",), 0), ((), (".",), 1), ((".",), ("a",), 1)])
def test_a_service_exported_differently(mine: tuple[str, ...], other: tuple[str, ...], count: int) -> None:
    rows = [
        msgspec.structs.replace(service(name, HTTP), export_to=words)
        for name, words in (("east", mine), ("west", other))
    ]
    said = list(problems.differences(rows, SETTINGS))
    assert [(one.where.cluster, "exportTo" in one.field) for one in said] == [("west", True)] * count


@pytest.mark.parametrize(
    ("blocked", "count"),
    [((), 0), ((("9.9.9.9", 90),), 1), ((("9.9.9.9", 80),), 0), ((("9.9.9.9", 80), ("9.9.9.9", 90)), 1)],
)
def test_a_borrowed_address_matters_only_to_tcp(blocked: tuple[tuple[str, int], ...], count: int) -> None:
    said = list(problems.borrowed(ServiceView(WEB, ("9.9.9.9",), blocked), "east"))
    assert len(said) == count
    assert all("9.9.9.9" in problem.message and "cluster east" in problem.remedy for problem in said)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (service("east", ServicePort("tls", 15443), ingress_addresses=("1.1.1.1",)), ""),
        (service("east", ServicePort("tls", 15443), ingress_addresses=("lb.example.com",)), "status.loadBalancer"),
        (service("east", ServicePort("tls", 15443)), "status.loadBalancer"),
        (service("east", HTTP, ingress_addresses=("1.1.1.1",)), "spec.ports"),
    ],
)
def test_services_that_are_no_usable_gateway(row: Service, field: str) -> None:
    marked = Service(
        cluster=row.cluster,
        namespace="ns",
        name="gw",
        ports=row.ports,
        ingress_addresses=row.ingress_addresses,
        labels=labels({"topology.istio.io/network": "n"}),
    )
    assert [problem.field for problem in problems.gateway_service(marked, gateways_of_service(marked))] == (
        [field] if field else []
    )


def test_one_address_in_one_network_twice() -> None:
    def pod(cluster: str, name: str) -> Workload:
        return Workload(cluster=cluster, namespace="ns", name=name, addresses=("10.0.0.1", "fd00::1"))

    rows = [
        ("a", pod("east", "x")),
        ("b", pod("west", "y")),
        ("a", pod("west", "z")),
        ("a", pod("east", "host-network")),
    ]
    said = list(problems.overlaps(rows))
    assert [str(problem.where) for problem in said] == ["Pod ns/z in cluster west"]
    assert "pod ns/x in cluster east" in said[0].message


@pytest.mark.parametrize(
    ("network", "cluster", "address", "said"),
    [
        ("a", "west", "10.0.0.1", True),
        ("b", "west", "10.0.0.1", False),
        ("a", "east", "10.0.0.1", False),
        ("a", "west", "10.0.0.2", False),
    ],
)
def test_a_service_at_the_address_of_another_clusters_pod(
    network: str, cluster: str, address: str, *, said: bool
) -> None:
    pod = Workload(cluster="east", namespace="ns", name="x", addresses=("10.0.0.1",))
    row = Service(cluster=cluster, namespace="ns", name="s", cluster_ips=(address,))
    found = list(problems.shadowed([("a", pod)], [(network, row)]))
    assert [str(problem.where) for problem in found] == (["Service ns/s in cluster west"] if said else [])
    assert all("pod ns/x in cluster east" in problem.message for problem in found)
