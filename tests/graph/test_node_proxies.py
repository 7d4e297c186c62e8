"""What the proxy of a node is told: its pods' listeners, services once for all, and who must be at the other end."""

from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from msgspec.structs import replace

from isthmus.graph.mesh import Mesh
from isthmus.model.rows import Proxy, Row, Service, Workload
from isthmus.xds.resource import CDS, EDS, LDS, RDS
from tests.envoy.acceptance import everything, validate
from tests.envoy.policies import policy
from tests.graph.world import App, cluster, drop, gateway, helloworld, mesh, port, put, sleep, two_networks

NAME = "outbound|5000||helloworld.sample.svc.cluster.local"


def node(name: str = "east", network: str = "net-east", **fields: Any) -> Proxy:
    """The proxy of a cluster's only node."""
    values: dict[str, Any] = {"addresses": ("172.16.0.1",), "node": f"{name}-node", "netns_dir": "/run/lab"}
    return Proxy(
        cluster=name, namespace="istio-system", name="isthmus-node", type="node", network=network, **(values | fields)
    )


def ambient(app: App, redirection: str = "enabled") -> list[Row]:
    """An application whose pods the proxy of their node captures."""
    return [
        replace(row, uid=f"uid-{row.name}", redirection=redirection, tls_mode="") if isinstance(row, Workload) else row
        for row in app.rows()
    ]


def world(*groups: Row | list[Row]) -> Mesh:
    """One cluster with a caller and a service that are ambient."""
    east = cluster("east", "net-east", config=True)
    return mesh("east", east, ambient(sleep()), ambient(helloworld("east", "10.0.0.11", "10.0.0.12")), *groups)


def members(found: Mesh, proxy: Proxy, name: str = NAME) -> dict[str, tuple[str, str, str]]:
    """endpoint id -> (internal listener, who must be there, what is asked for), of tunnelled endpoints."""
    one = found.resource(proxy.id, EDS, name)
    assert one is not None
    message = endpoint_pb2.ClusterLoadAssignment.FromString(one.body)
    result = {}
    for group in message.endpoints:
        for member in group.lb_endpoints:
            place = member.endpoint.address
            about = dict(member.metadata.filter_metadata["istio"].items())
            beyond = dict(about.get("double_hbone", {}).items())
            inner = place.envoy_internal_address
            at = (
                inner.endpoint_id.partition("#")[0]
                or f"{place.socket_address.address}:{place.socket_address.port_value}"
            )
            peers = str(about.get("peers", ""))
            result[at] = (inner.server_listener_name, peers, str(beyond.get("hbone_target_address", "")))
    return result


def test_endpoints_that_take_hbone_are_reached_by_it() -> None:
    found, proxy = world(), node()
    found.connect(proxy)
    who = "spiffe://cluster.local/ns/sample/sa/helloworld"
    assert members(found, proxy) == {
        "10.0.0.11:5000": ("to_hbone", who, ""),
        "10.0.0.12:5000": ("to_hbone", who, ""),
    }


def test_others_are_reached_plain_even_where_a_sidecar_takes_mutual_tls() -> None:
    east = cluster("east", "net-east", config=True)
    found = mesh("east", east, helloworld("east", "10.0.0.11").rows(), ambient(sleep(), "pending"))
    proxy = node()
    found.connect(proxy)
    assert members(found, proxy) == {"10.0.0.11:5000": ("to_plain", "", "")}
    assert members(found, proxy, "outbound|80||sleep.sample.svc.cluster.local") == {"10.0.0.2:80": ("to_plain", "", "")}


def test_listeners_are_those_of_the_nodes_pods_and_a_few_for_all() -> None:
    found, proxy = world(), node()
    found.connect(proxy)
    shared = {
        "to_hbone", "to_gateway", "to_plain", "outer_connect_originate", "outbound", "workloads"
    }  # fmt: skip
    pods = ("sleep-east-0", "helloworld-east-0", "helloworld-east-1")
    assert set(found.resources(proxy.id, LDS)) == shared | {
        f"pod/uid-{pod}/{kind}" for pod in pods for kind in ("outbound", "inbound", "hbone")
    }
    one = found.resource(proxy.id, LDS, "pod/uid-sleep-east-0/hbone")
    assert one is not None
    address = listener_pb2.Listener.FromString(one.body).address.socket_address
    assert (address.network_namespace_filepath, address.port_value) == ("/run/lab/uid-sleep-east-0", 15008)


def test_a_pod_comes_and_goes_with_its_annotation() -> None:
    found, proxy = world(), node()
    found.connect(proxy)
    found.subscribe(proxy.id, LDS, ["*"])
    found.subscribe(proxy.id, EDS, [NAME])
    row = next(one for one in ambient(helloworld("east", "10.0.0.11", "10.0.0.12")) if isinstance(one, Workload))
    listeners = {f"pod/{row.uid}/{kind}" for kind in ("outbound", "inbound", "hbone")}
    # Out of it: nobody is told to come by HBONE any more, but its listeners stay until nothing is redirected to them.
    dirty = found.apply([put(replace(row, redirection="pending"))])
    assert dirty[proxy.id] == {LDS: {"workloads"}, EDS: {NAME}}
    assert members(found, proxy)["10.0.0.11:5000"] == ("to_plain", "", "")
    assert listeners <= set(found.resources(proxy.id, LDS))
    dirty = found.apply([put(replace(row, redirection=""))])
    assert dirty[proxy.id] == {LDS: listeners}
    assert not listeners & set(found.resources(proxy.id, LDS))
    dirty = found.apply([put(row)])
    assert dirty[proxy.id] == {LDS: listeners | {"workloads"}, EDS: {NAME}}


def test_a_policy_of_a_pod_changes_its_routes_at_once_and_its_chain_so_that_it_drains() -> None:
    found, proxy = world(), node()
    found.connect(proxy)
    name = "pod/uid-sleep-east-0/hbone"
    found.subscribe(proxy.id, LDS, ["*"])
    found.subscribe(proxy.id, RDS, [name])

    def chain() -> str:
        one = found.resource(proxy.id, LDS, name)
        assert one is not None
        return str(listener_pb2.Listener.FromString(one.body).filter_chains[0].name)

    before, row = chain(), policy("closed", "sample", selector={"matchLabels": {"app": "sleep"}})
    dirty = found.apply([put(row)])
    assert dirty[proxy.id][RDS] == {name}
    assert name in dirty[proxy.id][LDS]
    assert chain() != before
    found.apply([drop(row)])
    assert chain() == before


def test_a_change_of_one_pod_concerns_its_node_only() -> None:
    found = world()
    here, there = node(), node(node="other", name="isthmus-node-2")
    for proxy in (here, there):
        found.connect(proxy)
        found.subscribe(proxy.id, LDS, ["*"])
    row = next(one for one in ambient(sleep()) if isinstance(one, Workload))
    dirty = found.apply([put(replace(row, redirection=""))])
    assert {name.partition("/")[0] for name in dirty[here.id][LDS]} == {"pod", "workloads"}
    assert dirty[there.id] == {LDS: {"workloads"}}


def chains(found: Mesh, proxy: Proxy, name: str) -> dict[str, list[str]]:
    """Filter chains with the addresses that they match, with ports if there are any."""
    one = found.resource(proxy.id, LDS, name)
    assert one is not None
    message = listener_pb2.Listener.FromString(one.body)
    return {
        chain.name: [
            f"{prefix.address_prefix}/{prefix.prefix_len.value}" + (f":{number}" if number else "")
            for prefix in chain.filter_chain_match.prefix_ranges
            for number in (chain.filter_chain_match.destination_port.value,)
        ]
        for chain in message.filter_chains
    }


def test_services_are_told_apart_by_address_and_port_and_pods_by_identity() -> None:
    found, proxy = world(), node()
    found.connect(proxy)
    assert chains(found, proxy, "outbound") == {
        NAME: ["10.96.0.1/32:5000"],
        "outbound|80||sleep.sample.svc.cluster.local": ["10.96.0.2/32:80"],
    }
    assert chains(found, proxy, "workloads") == {
        "spiffe://cluster.local/ns/sample/sa/helloworld": ["10.0.0.11/32", "10.0.0.12/32"],
        "spiffe://cluster.local/ns/sample/sa/sleep": ["10.0.0.2/32"],
    }


def test_what_two_services_claim_one_keeps() -> None:
    """Envoy would refuse the listener of all services."""
    again = App("east", "zebra", ["10.0.0.30"], vip="10.96.0.1", ports=(port(5000), port(6000)))
    found, proxy = world(again.rows()), node()
    found.connect(proxy)
    got = chains(found, proxy, "outbound")
    assert got[NAME] == ["10.96.0.1/32:5000"]
    assert got["outbound|6000||zebra.sample.svc.cluster.local"] == ["10.96.0.1/32:6000"]
    assert "outbound|5000||zebra.sample.svc.cluster.local" not in got


def hbone_gateway(name: str, network: str, address: str) -> Service:
    """A way into a network by HBONE only."""
    row = gateway(name, network, address)[0]
    assert isinstance(row, Service)
    return replace(row, ports=(replace(row.ports[0], name="hbone", port=15008, target="15008"),))


def test_other_networks_are_reached_by_double_hbone_to_whoever_the_service_may_be() -> None:
    rows = [
        *cluster("east", "net-east", config=True),
        *cluster("west", "net-west", trust_domain="west.local"),
        *ambient(helloworld("east", "10.0.0.11")),
        *ambient(helloworld("west", "10.0.0.11")),
        hbone_gateway("west", "net-west", "172.18.0.2"),
    ]
    wide = (("solo.io/service-scope", "global"),)
    scoped: list[Row] = [
        replace(row, labels=wide) if isinstance(row, Service) and row.name == "helloworld" else row for row in rows
    ]
    found, proxy = mesh("east", scoped), node()
    found.connect(proxy)
    both = "spiffe://cluster.local/ns/sample/sa/helloworld,spiffe://west.local/ns/sample/sa/helloworld"
    got = members(found, proxy)
    assert got["10.0.0.11:5000"] == ("to_hbone", both.partition(",")[0], "")
    host = "helloworld.sample.svc.cluster.local:5000"
    assert got["172.18.0.2:15008"] == ("to_gateway", both, host)


def test_what_is_reached_by_sni_only_is_hidden_from_node_proxies() -> None:
    found, proxy = mesh("east", two_networks(), ambient(sleep())), node()
    found.connect(proxy)
    assert set(members(found, proxy)) == {"10.0.0.11:5000", "10.0.0.12:5000", "10.0.0.13:5000"}


def test_configuration_grows_with_pods_plus_services() -> None:
    sizes = []
    for count in (1, 2, 3):
        apps = [App("east", f"s{i}", [f"10.0.1.{i}"], vip=f"10.96.1.{i}") for i in range(count * 10)]
        found, proxy = world(*(ambient(app) for app in apps)), node()
        found.connect(proxy)
        sizes.append(sum(len(one.body) for t in (CDS, EDS, LDS, RDS) for one in found.resources(proxy.id, t).values()))
    assert sizes[2] - sizes[1] == pytest.approx(sizes[1] - sizes[0], rel=0.05)


def test_the_real_envoy_takes_it(tmp_path: Path) -> None:
    found, proxy = world(), node()
    found.connect(proxy)
    resources = everything(found, proxy.id)
    assert all(cluster_pb2.Cluster.FromString(one.body).name for one in resources[CDS])
    assert validate(tmp_path, resources) == ""


def test_with_the_last_proxy_nothing_is_left() -> None:
    found, proxy = world(), node()
    found.connect(proxy)
    found.subscribe(proxy.id, LDS, ["*"])
    found.disconnect(proxy.id)
    for table in ("derive.ambient_pod", "derive.captured", "envoy.node_chains", "envoy.listeners"):
        assert found.table(table) == []


def test_a_pod_that_is_gone_has_no_listeners() -> None:
    found, proxy = world(), node()
    found.connect(proxy)
    row = next(one for one in ambient(sleep()) if isinstance(one, Workload))
    found.apply([drop(row)])
    assert not [name for name in found.resources(proxy.id, LDS) if row.uid in name]
