"""The mesh configuration: what it says of its cluster, of the mesh and of networks."""

from typing import Any

import pytest

from isthmus.model.locality import Distribution, LocalitySetting, Warmup
from isthmus.model.mesh_config import (
    MeshConfig,
    MeshNetworks,
    NetworkDefinition,
    NetworkEntry,
    Requirement,
    ScopeSelector,
    Selector,
    ServiceSetting,
)
from isthmus.model.rows import Cluster, OutlierDetection
from tests.ingest.check import check, complaints


def config_map(**data: str) -> dict[str, Any]:
    return {"metadata": {"name": "istio"}, "data": data}


def config(**fields: Any) -> MeshConfig:
    return MeshConfig(cluster="east", name="istio", **fields)


def test_trust_domain_tr6() -> None:
    found = check("ConfigMap", config_map(mesh="trustDomain: td.example\nother: 1\n"))
    assert found.rows == (Cluster(cluster="east", name="east", trust_domain="td.example"),)


@pytest.mark.parametrize(
    "data",
    [None, {}, {"mesh": ""}, {"mesh": "enableAutoMtls: true"}, {"meshNetworks": "networks: {}"}, {"meshNetworks": ""}],
)
def test_without_anything_that_matters_there_is_nothing_to_say(data: dict[str, str] | None) -> None:
    found = check("ConfigMap", {"metadata": {"name": "istio"}, "data": data})
    assert (found.rows, found.problems) == ((), ())


def test_other_config_maps_are_not_read() -> None:
    found = check("ConfigMap", {"metadata": {"name": "other"}, "data": {"mesh": "]["}})
    assert (found.rows, found.problems) == ((), ())


@pytest.mark.parametrize(
    ("mesh", "expected"),
    [
        ("outboundTrafficPolicy: {mode: REGISTRY_ONLY}", config(allow_any=False)),
        ("outboundTrafficPolicy: {mode: ALLOW_ANY}", config(allow_any=True)),
        ("trustDomainAliases: [old.example, older]", config(trust_domain_aliases=("old.example", "older"))),
        (
            "serviceSettings: [{settings: {clusterLocal: true}, hosts: ['*.Shop.svc.x', a.b]}, {hosts: [c]}]",
            config(
                service_settings=(
                    ServiceSetting(("*.shop.svc.x", "a.b"), cluster_local=True),
                    ServiceSetting(("c",)),
                )
            ),
        ),
        ("defaultServiceExportTo: ['.']", config(default_service_export_to=(".",))),
        ("defaultVirtualServiceExportTo: [a]", config(default_virtual_service_export_to=("a",))),
        ("defaultDestinationRuleExportTo: ['*']", config(default_destination_rule_export_to=("*",))),
        ("outlierDetection: {interval: 2s}", config(outlier_detection=OutlierDetection(interval=2))),
        ("warmup: {duration: 20s}", config(warmup=Warmup(20))),
        (
            "localityLbSetting: {distribute: [{from: r1/*, to: {r1/z1/*: 80, r2/*: 20}}]}",
            config(locality=LocalitySetting(distribute=(Distribution("r1/*", (("r1/z1/*", 80), ("r2/*", 20))),))),
        ),
        (
            "localityLbSetting: {enabled: false, failover: [{from: a, to: b}], failoverPriority: [k, n=v]}",
            config(locality=LocalitySetting(enabled=False, failover=(("a", "b"),), failover_priority=("k", "n=v"))),
        ),
        (
            "discoverySelectors: [{matchLabels: {mesh: on-it}}, {matchExpressions: [{key: env, operator: Exists}]}]",
            config(
                discovery_selectors=(
                    Selector(labels=(("mesh", "on-it"),)),
                    Selector(expressions=(Requirement("env", "Exists"),)),
                )
            ),
        ),
        (
            "serviceScopeConfigs: [{servicesSelector: {matchLabels: {a: b}}, scope: GLOBAL}, {scope: LOCAL}, "
            "{namespaceSelector: {matchExpressions: [{key: env, operator: Exists}]}, scope: GLOBAL}]",
            config(
                global_services=(
                    ScopeSelector(services=Selector(labels=(("a", "b"),))),
                    ScopeSelector(namespaces=Selector(expressions=(Requirement("env", "Exists"),))),
                )
            ),
        ),
    ],
)
def test_settings_of_the_mesh(mesh: str, expected: MeshConfig) -> None:
    found = check("ConfigMap", config_map(mesh=mesh))
    assert (found.rows, found.problems) == ((expected,), ())


def test_networks_nw7() -> None:
    text = """
networks:
  net-west:
    endpoints: [{fromRegistry: west}, {fromCidr: 10.9.1.2/16}]
    gateways:
    - {address: 172.18.0.2, port: 15443}
    - {address: gw.west.example, port: 443, locality: x}
  net-a:
    endpoints: [{fromRegistry: a}]
    gateways: [{registryServiceName: Gw.istio-system.svc.cluster.local, port: 15443}]
"""
    found = check("ConfigMap", config_map(meshNetworks=text))
    assert found.problems == ()
    assert found.rows == (
        MeshNetworks(
            cluster="east",
            name="istio",
            networks=(
                NetworkDefinition(
                    "net-a", ("a",), (), (NetworkEntry(15443, service="gw.istio-system.svc.cluster.local"),)
                ),
                NetworkDefinition(
                    "net-west",
                    ("west",),
                    ("10.9.0.0/16",),
                    (NetworkEntry(15443, address="172.18.0.2"), NetworkEntry(443, address="gw.west.example")),
                ),
            ),
        ),
    )


def test_a_cluster_in_two_networks_is_told_nw3() -> None:
    text = "networks: {b: {endpoints: [{fromRegistry: x}]}, a: {endpoints: [{fromRegistry: x}]}}"
    found = check("ConfigMap", config_map(meshNetworks=text))
    assert [message for _, message in complaints(found)] == ["cluster x is in network a already; that counts"]
    assert found.rows


@pytest.mark.parametrize(
    ("mesh", "field"),
    [
        ("trustDomain: [", "data.mesh"),
        ("just text", "data.mesh"),
        ("trustDomain: 5", "data.mesh.trustDomain"),
        ("trustDomain: a/b", "data.mesh.trustDomain"),
        ("trustDomainAliases: [a/b]", "data.mesh.trustDomainAliases"),
        ("x: 2001-13-45", "data.mesh"),
        ("outboundTrafficPolicy: {mode: SOME}", "data.mesh.outboundTrafficPolicy.mode"),
        ("serviceSettings: [{hosts: ['a b']}]", "data.mesh.serviceSettings[0].hosts"),
        ("discoverySelectors: [{matchExpressions: [{key: a}]}]", "data.mesh.discoverySelectors[0].matchExpressions[0]"),
        ("serviceScopeConfigs: [{scope: PLANET}]", "data.mesh.serviceScopeConfigs[0].scope"),
        ("serviceScopeConfigs: {}", "data.mesh.serviceScopeConfigs"),
        ("localityLbSetting: {distribute: [{from: a, to: {b: 99}}]}", "data.mesh.localityLbSetting.distribute[0].to"),
        ("localityLbSetting: {failover: [{from: a}]}", "data.mesh.localityLbSetting.failover[0]"),
    ],
)
def test_malformed_configuration_is_refused_and_told(mesh: str, field: str) -> None:
    found = check("ConfigMap", config_map(mesh=mesh))
    assert found.rows is None
    assert [name for name, _ in complaints(found)] == [field]


@pytest.mark.parametrize(
    ("network", "field"),
    [
        ("endpoints: [{}]", "endpoints[0]"),
        ("endpoints: [{fromCidr: 10.0.0.0/40}]", "endpoints[0].fromCidr"),
        ("gateways: [{port: 15443}]", "gateways[0]"),
        ("gateways: [{address: 1.2.3.4}]", "gateways[0].port"),
        ("gateways: [{address: 'a b', port: 1}]", "gateways[0].address"),
        ("gateways: [{registryServiceName: gw, port: 1}]", "gateways[0].registryServiceName"),
    ],
)
def test_malformed_networks_are_refused_and_told(network: str, field: str) -> None:
    found = check("ConfigMap", config_map(mesh="trustDomain: td", meshNetworks=f"networks: {{n: {{{network}}}}}"))
    assert found.rows is None
    assert [name for name, _ in complaints(found)] == [f"data.meshNetworks.networks.n.{field}"]
