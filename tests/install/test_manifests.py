"""The manifests hang together: selectors, ports, volumes, accounts, and exactly the rights that are used."""

from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from isthmus.ingest.kinds import KINDS, Kind
from isthmus.install import access
from isthmus.install.manifests import control_plane, east_west_gateway, render
from isthmus.install.values import ControlPlaneValues, GatewayValues, MeshValues, Scaling

Json = dict[str, Any]
MESH = MeshValues(cluster="east", network="net-east")
SCALED = Scaling(replicas=2, maximum=5, budget=True)


def control(**values: Any) -> list[Json]:
    return control_plane(ControlPlaneValues(mesh=MESH, crds=False, **values))


def gateway(**values: Any) -> list[Json]:
    return east_west_gateway(GatewayValues(mesh=MESH, **values))


def one(manifests: Iterable[Json], kind: str, name: str) -> Json:
    (found,) = [item for item in manifests if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


EVERYTHING = [*control(scaling=SCALED), *gateway(scaling=SCALED)]
DEPLOYMENTS = [item for item in EVERYTHING if item["kind"] == "Deployment"]


def test_what_is_written_is_what_was_meant() -> None:
    made = control_plane(ControlPlaneValues(mesh=MESH, gateway_api_crds=True)) + gateway()
    assert list(yaml.safe_load_all(render(made))) == made


def test_every_object_has_a_name_of_its_own() -> None:
    keys = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in EVERYTHING]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda item: str(item["metadata"]["name"]))
def test_deployments_hang_together(deployment: Json) -> None:
    template = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    spec = template["spec"]
    accounts = {item["metadata"]["name"] for item in EVERYTHING if item["kind"] == "ServiceAccount"}
    assert spec["serviceAccountName"] in accounts
    volumes = {item["name"] for item in spec["volumes"]}
    (container,) = spec["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert all(mount["mountPath"].startswith("/var/run/") for mount in container["volumeMounts"])
    ports = {port["containerPort"] for port in container["ports"]}
    assert container["readinessProbe"]["httpGet"]["port"] in ports
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["requests"]
    assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"


@pytest.mark.parametrize("name", ["istiod", "istio-eastwestgateway"])
def test_services_select_their_pods_and_name_ports_they_have(name: str) -> None:
    service, deployment = one(EVERYTHING, "Service", name), one(EVERYTHING, "Deployment", name)
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    targets = {port["targetPort"] for port in service["spec"]["ports"]}
    assert targets <= {port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}


def test_the_control_plane_offers_xds_webhooks_and_peering_but_no_debugging() -> None:
    ports = one(EVERYTHING, "Service", "istiod")["spec"]["ports"]
    assert {port["port"]: port["targetPort"] for port in ports} == {15012: 15012, 15013: 15013, 443: 15017}


def test_the_gateway_is_found_by_its_labels() -> None:
    service = one(EVERYTHING, "Service", "istio-eastwestgateway")
    labels = service["metadata"]["labels"]
    assert (labels["istio"], labels["topology.istio.io/network"]) == ("eastwestgateway", "net-east")
    assert service["spec"]["type"] == "LoadBalancer"
    assert [port["port"] for port in service["spec"]["ports"]] == [15021, 15443, 15012, 15017]


def test_the_gateway_lets_mutual_tls_through_for_local_hosts() -> None:
    exposed = one(EVERYTHING, "Gateway", "cross-network-gateway")
    (server,) = exposed["spec"]["servers"]
    assert server == {
        "port": {"number": 15443, "name": "tls", "protocol": "TLS"},
        "tls": {"mode": "AUTO_PASSTHROUGH"},
        "hosts": ["*.local"],
    }
    pods = one(EVERYTHING, "Deployment", "istio-eastwestgateway")["spec"]["template"]["metadata"]["labels"]
    assert exposed["spec"]["selector"].items() <= pods.items()
    assert not [item for item in gateway(expose=False) if item["kind"] == "Gateway"]


def test_the_gateway_sees_its_own_network_only() -> None:
    (container,) = one(EVERYTHING, "Deployment", "istio-eastwestgateway")["spec"]["template"]["spec"]["containers"]
    env = {item["name"]: item.get("value") for item in container["env"]}
    assert env["ISTIO_META_REQUESTED_NETWORK_VIEW"] == env["ISTIO_META_NETWORK"] == "net-east"
    assert container["args"] == ["proxy", "router", "--domain", "$(POD_NAMESPACE).svc.cluster.local"]


def test_annotations_are_those_that_were_asked_for() -> None:
    made = gateway(pod_annotations={"lab.isthmus.dev/wan": "true"}, service_annotations={"a": "b"})
    template = one(made, "Deployment", "istio-eastwestgateway")["spec"]["template"]
    assert template["metadata"]["annotations"] == {"lab.isthmus.dev/wan": "true"}
    assert one(made, "Service", "istio-eastwestgateway")["metadata"]["annotations"] == {"a": "b"}
    assert "annotations" not in one(gateway(), "Service", "istio-eastwestgateway")["metadata"]


def test_the_system_namespace_carries_the_network() -> None:
    labels = one(control(), "Namespace", "istio-system")["metadata"]["labels"]
    assert labels == {"topology.istio.io/network": "net-east"}
    bare = control_plane(ControlPlaneValues(mesh=MeshValues(cluster="one"), crds=False))
    assert one(bare, "Namespace", "istio-system")["metadata"]["labels"] == {}


def test_the_mesh_configuration_is_yaml_with_the_trust_domain() -> None:
    mesh = MeshValues(cluster="east", trust_domain="corp.example")
    made = control_plane(ControlPlaneValues(mesh=mesh, crds=False))
    config = yaml.safe_load(one(made, "ConfigMap", "istio")["data"]["mesh"])
    assert config["trustDomain"] == "corp.example"
    assert config["rootNamespace"] == "istio-system"


def test_scaling_is_one_owners_business() -> None:
    fixed, scaled = one(control(), "Deployment", "istiod"), one(EVERYTHING, "Deployment", "istiod")
    assert fixed["spec"]["replicas"] == 1
    assert "replicas" not in scaled["spec"]
    autoscaler = one(EVERYTHING, "HorizontalPodAutoscaler", "istiod")["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (2, 5)
    budget = one(EVERYTHING, "PodDisruptionBudget", "istiod")["spec"]
    assert budget["selector"]["matchLabels"] == scaled["spec"]["selector"]["matchLabels"]


def rights(rules: Iterable[Json]) -> set[tuple[str, str, str]]:
    """(group, resource, verb), with the names a right is bound to after the resource."""
    return {
        (group, resource + "".join(f"/{name}" for name in rule.get("resourceNames", ())), verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def watched(kinds: Iterable[Kind[Any]]) -> set[tuple[str, str, str]]:
    return {
        (kind.resource.group, kind.resource.plural, verb)
        for kind in kinds
        if kind.name != "ConfigMap" and kind.resource.group != "isthmus.dev"  # only in the system namespace
        for verb in ("get", "list", "watch")
    }


REVIEW = ("authentication.k8s.io", "tokenreviews", "create")
MESH_CONFIG = {("", "configmaps/istio", verb) for verb in ("get", "list", "watch")}


def test_the_reader_has_exactly_the_rights_to_what_is_read_in_another_cluster() -> None:
    assert rights(access.READER_RULES) == {REVIEW, *watched(kind for kind in KINDS if not kind.config_only)}
    assert rights(access.READER_SYSTEM_RULES) == MESH_CONFIG


def test_the_control_plane_has_exactly_the_rights_to_what_it_does() -> None:
    roots = {("", "configmaps/istio-ca-root-cert", verb) for verb in ("get", "list", "patch", "update")}
    distribution = {("", "configmaps", "create"), *roots}
    istio = "networking.istio.io"
    machines = {(istio, "workloadentries", verb) for verb in ("create", "update", "patch", "delete")}
    statuses = {(istio, f"{kind}/status", "patch") for kind in ("workloadentries", "serviceentries")}
    gateways = rights(access.GATEWAY_RULES)
    assert rights(access.ISTIOD_RULES) == {REVIEW, *watched(KINDS), *distribution, *machines, *statuses, *gateways}
    secrets = {("", "secrets", verb) for verb in ("get", "list", "watch", "create", "patch", "update")}
    own = {
        ("isthmus.dev", kind.resource.plural, verb)
        for kind in KINDS
        if kind.resource.group == "isthmus.dev"
        for verb in ("get", "list", "watch")
    }
    assert rights(access.SYSTEM_RULES) == secrets | MESH_CONFIG | own | {("", "events", "create")}


def test_the_control_plane_makes_and_changes_what_gateways_ask_for_but_deletes_nothing() -> None:
    api = "gateway.networking.k8s.io"
    made = {("", "services"), ("", "serviceaccounts"), ("apps", "deployments"), (api, "gatewayclasses")}
    made |= {("autoscaling", "horizontalpodautoscalers"), ("policy", "poddisruptionbudgets")}
    found = rights(access.GATEWAY_RULES)
    assert {(group, what) for group, what, verb in found if verb == "create"} == made
    assert {verb for _, _, verb in found} == {"get", "create", "patch"}
    assert {(api, "gateways/status", "patch"), (api, "gatewayclasses/status", "patch")} <= found


@pytest.mark.parametrize("kind", ["Role", "ClusterRole"])
def test_every_binding_binds_a_role_to_an_account_that_exist(kind: str) -> None:
    accounts = {
        (item["metadata"]["namespace"], item["metadata"]["name"])
        for item in EVERYTHING
        if item["kind"] == "ServiceAccount"
    }
    bindings = [item for item in EVERYTHING if item["kind"] == f"{kind}Binding"]
    assert len(bindings) == 2
    for binding in bindings:
        role = one(EVERYTHING, kind, binding["roleRef"]["name"])
        assert role["metadata"].get("namespace") == binding["metadata"].get("namespace")
        assert {(s["namespace"], s["name"]) for s in binding["subjects"]} <= accounts


@pytest.mark.parametrize(
    ("namespace", "pod", "hooks"),
    [
        ({}, {}, []),
        ({"istio-injection": "enabled"}, {}, ["namespace"]),
        ({"istio-injection": "enabled"}, {"sidecar.istio.io/inject": "false"}, []),
        ({"istio-injection": "disabled"}, {"sidecar.istio.io/inject": "true"}, []),
        ({}, {"sidecar.istio.io/inject": "true"}, ["object"]),
        ({"istio.io/rev": "default"}, {}, ["rev.namespace.default"]),
        ({"istio.io/rev": "canary"}, {}, []),
        ({"istio-injection": "enabled", "istio.io/rev": "default"}, {}, ["namespace"]),
        ({}, {"istio.io/rev": "default"}, ["rev.object.default"]),
        ({}, {"istio.io/rev": "default", "sidecar.istio.io/inject": "true"}, ["rev.object.default"]),
    ],
)
def test_each_pod_is_sent_to_one_webhook_at_most(
    namespace: dict[str, str], pod: dict[str, str], hooks: list[str]
) -> None:
    configuration = one(EVERYTHING, "MutatingWebhookConfiguration", "istio-sidecar-injector")
    called = [
        hook["name"].removesuffix(".sidecar-injector.istio.io")
        for hook in configuration["webhooks"]
        if _matches(hook["namespaceSelector"], namespace) and _matches(hook["objectSelector"], pod)
    ]
    assert called == hooks


def _matches(selector: Json, labels: dict[str, str]) -> bool:
    answers = {
        "In": lambda item: labels.get(item["key"]) in item["values"],
        "NotIn": lambda item: labels.get(item["key"]) not in item["values"],
        "DoesNotExist": lambda item: item["key"] not in labels,
    }
    return all(answers[item["operator"]](item) for item in selector["matchExpressions"])


def test_texts_of_several_lines_are_written_as_they_are() -> None:
    item = {"data": {"cert": "-----BEGIN\nabc\n-----END\n", "one": "5"}}
    assert render([item]) == "---\ndata:\n  cert: |\n    -----BEGIN\n    abc\n    -----END\n  one: '5'\n"
