"""Definitions: structural, served in the versions that users write, and as strict as they should be."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from isthmus.ingest.kinds import KINDS
from isthmus.install.crds import definitions

Json = dict[str, Any]
ALL = definitions(gateway_api=True)


def by_name(name: str) -> Json:
    (found,) = [item for item in ALL if item["metadata"]["name"] == name]
    return found


def nodes(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    yield path, schema
    for key, value in schema.get("properties", {}).items():
        yield from nodes(value, f"{path}.{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[{key}]")


@pytest.mark.parametrize("crd", ALL, ids=lambda item: str(item["metadata"]["name"]))
def test_definitions_are_structural(crd: Json) -> None:
    spec = crd["spec"]
    assert crd["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"
    assert [version["storage"] for version in spec["versions"]].count(True) == 1
    for version in spec["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        jsonschema.Draft202012Validator.check_schema(schema)
        for path, node in nodes(schema, crd["metadata"]["name"]):
            assert "type" in node or node.get("x-kubernetes-int-or-string"), path
            assert not {"properties", "additionalProperties"} <= node.keys(), path


def test_protected_groups_say_that_they_were_not_reviewed() -> None:
    for crd in ALL:
        if crd["spec"]["group"].endswith(".k8s.io"):
            assert crd["metadata"]["annotations"]["api-approved.kubernetes.io"].startswith("unapproved")


def test_everything_that_is_read_is_defined_in_the_version_it_is_read_in() -> None:
    served = {
        (crd["spec"]["group"], crd["spec"]["names"]["plural"], version["name"])
        for crd in definitions(gateway_api=True)
        for version in crd["spec"]["versions"]
    }
    read = {(kind.resource.group, kind.resource.plural, kind.resource.version) for kind in KINDS if kind.config_only}
    assert read <= served


@pytest.mark.parametrize(
    ("name", "versions", "short"),
    [
        ("gateways.networking.istio.io", ["v1", "v1beta1", "v1alpha3"], ["gw"]),
        ("destinationrules.networking.istio.io", ["v1", "v1beta1", "v1alpha3"], ["dr"]),
        ("peerauthentications.security.istio.io", ["v1", "v1beta1"], ["pa"]),
    ],
)
def test_versions_and_short_names(name: str, versions: list[str], short: list[str]) -> None:
    spec = by_name(name)["spec"]
    assert [version["name"] for version in spec["versions"]] == versions
    assert spec["names"]["shortNames"] == short


def problems(name: str, spec: Json) -> list[str]:
    schema = by_name(name)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found = jsonschema.Draft202012Validator(schema).iter_errors({"spec": spec})
    return sorted(".".join(str(step) for step in error.absolute_path) for error in found)


SERVER = {"port": {"number": 15443, "name": "tls", "protocol": "TLS"}, "hosts": ["*.local"]}


@pytest.mark.parametrize(
    ("name", "spec", "where"),
    [
        ("gateways.networking.istio.io", {"servers": [SERVER], "selector": {"istio": "x"}}, []),
        ("gateways.networking.istio.io", {"servers": [SERVER | {"tls": {"mode": "?"}}]}, ["spec.servers.0.tls.mode"]),
        ("gateways.networking.istio.io", {"servers": [{"hosts": []}]}, ["spec.servers.0"]),
        ("gateways.networking.istio.io", {"selector": {"a": 1}}, ["spec.selector.a"]),
        ("gateways.networking.istio.io", {"servers": [SERVER], "future": {"field": 1}}, []),
        ("destinationrules.networking.istio.io", {"host": "a", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}, []),
        ("destinationrules.networking.istio.io", {"subsets": []}, ["spec"]),
        ("destinationrules.networking.istio.io", {"host": "a", "subsets": [{"labels": {}}]}, ["spec.subsets.0"]),
        ("peerauthentications.security.istio.io", {"mtls": {"mode": "STRICT"}}, []),
        ("peerauthentications.security.istio.io", {"portLevelMtls": {"80": {"mode": "DISABLE"}}}, []),
        ("peerauthentications.security.istio.io", {"portLevelMtls": {"80": "DISABLE"}}, ["spec.portLevelMtls.80"]),
        ("peerauthentications.security.istio.io", {"mtls": {"mode": "MAYBE"}}, ["spec.mtls.mode"]),
        ("serviceentries.networking.istio.io", {"resolution": "DNS"}, ["spec"]),
        ("workloadentries.networking.istio.io", {"address": "a", "ports": {"http": "eighty"}}, ["spec.ports.http"]),
        ("gatewayclasses.gateway.networking.k8s.io", {"controllerName": "isthmus.dev/gateway"}, []),
        ("gateways.gateway.networking.k8s.io", {"gatewayClassName": "x"}, ["spec"]),
    ],
)  # fmt: skip
def test_what_is_accepted(name: str, spec: Json, where: list[str]) -> None:
    assert problems(name, spec) == where


def test_who_applies_a_kind_without_effect_is_warned() -> None:
    read = {kind.name for kind in KINDS if kind.resource.group.endswith(".istio.io")}
    silent = {
        crd["spec"]["names"]["kind"]
        for crd in definitions(gateway_api=False)
        if crd["spec"]["group"].endswith(".istio.io")
        if not any(version.get("deprecated") for version in crd["spec"]["versions"])
    }
    assert silent == read
