"""The name table: DN1-DN5."""

from isthmus.envoy import names
from isthmus.model.mesh import Endpoint, MeshService, ServiceView
from isthmus.proto import nds_pb2

WEB = MeshService(namespace="ns", name="web", host="web.ns.svc.cluster.local", ports=())
DB = MeshService(namespace="ns", name="db", host="db.ns.svc.cluster.local", ports=(), headless=True)


def table(*entries: tuple[names.Entry, ...]) -> dict[str, tuple[list[str], str, str]]:
    """Host -> (addresses, short name, namespace)."""
    made = names.name_table(entry for some in entries for entry in some)
    assert made.name == "nds"
    found = nds_pb2.NameTable.FromString(made.body).table
    return {host: (list(info.ips), info.shortname, info.namespace) for host, info in found.items()}


def pod(address: str, *, cluster: str = "east", network: str = "a", hostname: str = "", ready: bool = True) -> Endpoint:
    """A pod of the headless service."""
    return Endpoint(cluster=cluster, network=network, address=address, hostname=hostname, ready=ready)


def test_a_service_has_its_addresses() -> None:
    entries = names.service_entries(ServiceView(WEB, ("10.0.0.1", "fd00::1")), "a", [])
    assert table(entries) == {"web.ns.svc.cluster.local": (["10.0.0.1", "fd00::1"], "web", "ns")}
    assert names.service_entries(ServiceView(WEB), "a", []) == ()


def test_a_headless_service_has_its_ready_pods_of_this_network() -> None:
    pods = [
        pod("1.1.1.1"),
        pod("1.1.1.1"),
        pod("1.1.1.2", cluster="west"),
        pod("1.1.1.3", network="b"),
        pod("1.1.1.4", ready=False),
        pod("1.1.1.5", network=""),
    ]
    assert table(names.service_entries(ServiceView(DB), "a", pods)) == {
        "db.ns.svc.cluster.local": (["1.1.1.1", "1.1.1.2", "1.1.1.5"], "db", "ns")
    }
    assert names.service_entries(ServiceView(DB), "c", [pod("1.1.1.1")]) == ()


def test_an_endpoint_of_another_network_hides_nothing() -> None:
    far_first = [pod("1.1.1.1", network="b", hostname="db-0", cluster="west"), pod("1.1.1.1", hostname="db-0")]
    found = table(names.service_entries(ServiceView(DB), "a", far_first))
    assert found["db-0.db.ns.svc.cluster.local"] == (["1.1.1.1"], "db-0.db", "ns")


def test_of_pods_with_one_name_the_first_clusters_win() -> None:
    pods = [
        pod("1.1.1.1", hostname="db-0"),
        pod("1.1.1.2", hostname="db-0"),
        pod("2.2.2.2", hostname="db-0", cluster="west"),
    ]
    found = table(names.service_entries(ServiceView(DB), "a", pods))
    assert found["db-0.db.ns.svc.cluster.local"][0] == ["1.1.1.1", "1.1.1.2"]


def test_order_does_not_matter() -> None:
    entries = names.service_entries(ServiceView(WEB, ("10.0.0.1",)), "a", [])
    others = names.service_entries(ServiceView(DB), "a", [pod("1.1.1.1")])
    assert names.name_table([*entries, *others]) == names.name_table([*others, *entries])
