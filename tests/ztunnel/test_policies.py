"""Policies as ztunnel reads them (§2.2): who gets in, said by the policies and asked of what was made of them."""

from typing import Any

import pytest

from isthmus.ingest.authorization_policy import authorization_policy
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.mesh import WorkloadMode
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.rows import MtlsMode
from isthmus.proto import authorization_pb2 as pb
from isthmus.ztunnel import policies
from tests.ztunnel.client import Ztunnel
from tests.ztunnel.client import pb as workload_pb2

SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"
WEST = "spiffe://west.example/ns/sample/sa/sleep"
NOBODY = ""


def row(spec: dict[str, Any], namespace: str = "sample", name: str = "p") -> AuthorizationPolicy:
    meta = objects.Metadata(name=name, namespace=namespace)
    rows, problems = authorization_policy(Place("east"), objects.Custom(metadata=meta, spec=spec))
    assert not problems
    [found] = rows
    assert isinstance(found, AuthorizationPolicy)
    return found


def made(spec: dict[str, Any], namespace: str = "sample") -> pb.Authorization:
    resource = policies.authorization(row(spec, namespace), "istio-system")
    assert resource is not None
    return pb.Authorization.FromString(resource.body)


def admits(spec: dict[str, Any], caller: str = SLEEP, source: str = "10.0.0.2", port: int = 80) -> bool:
    """What a workload at 10.0.0.9 makes of one policy of its namespace."""
    client = Ztunnel(policies={"sample/p": made(spec)})
    client.workloads["w"] = workload_pb2.Workload(uid="w", namespace="sample", addresses=[bytes((10, 0, 0, 9))])
    return client.admits("w", caller, source=source, port=port)


def rule(**source: Any) -> dict[str, Any]:
    return {"rules": [{"from": [{"source": source}]}]}


def to(**operation: Any) -> dict[str, Any]:
    return {"rules": [{"to": [{"operation": operation}]}]}


@pytest.mark.parametrize(
    ("spec", "callers"),
    [
        ({}, []),
        ({"rules": [{}]}, [SLEEP, WEST, NOBODY]),
        (rule(principals=["cluster.local/ns/sample/sa/sleep"]), [SLEEP]),
        (rule(principals=["*"]), [SLEEP, WEST]),
        (rule(principals=["*/sa/sleep"]), [SLEEP, WEST]),
        (rule(principals=["west.example/*"]), [WEST]),
        (rule(notPrincipals=["*"]), [NOBODY]),
        (rule(namespaces=["sample"]), [SLEEP, WEST]),
        (rule(namespaces=["other"]), []),
        (rule(notNamespaces=["other"]), [SLEEP, WEST, NOBODY]),
        (rule(serviceAccounts=["sleep"]), [SLEEP, WEST]),
        (rule(serviceAccounts=["other/sleep"]), []),
        (rule(trustDomains=["west.example"]), [WEST]),
        (rule(trustDomains=["west*"]), [WEST]),
        (rule(notTrustDomains=["west.example"]), [SLEEP, NOBODY]),
        (rule(trustDomains=["west.example"], namespaces=["other"]), []),
        (rule(trustDomains=["west.example"], principals=["cluster.local/*"]), []),
        (rule(trustDomains=["west.example"], principals=["*/sa/sleep"]), [WEST]),
        ({"rules": [{"when": [{"key": "source.principal", "notValues": ["west.example/*"]}]}]}, [SLEEP, NOBODY]),
    ],
)
def test_who_is_allowed(spec: dict[str, Any], callers: list[str]) -> None:
    assert [one for one in (SLEEP, WEST, NOBODY) if admits(spec, one)] == callers
    denied = {**spec, "action": "DENY"}
    if spec:
        assert [one for one in (SLEEP, WEST, NOBODY) if not admits(denied, one)] == callers


@pytest.mark.parametrize(
    ("spec", "source", "port", "allowed"),
    [
        (rule(ipBlocks=["10.0.0.0/24"]), "10.0.0.7", 80, True),
        (rule(ipBlocks=["10.0.0.0/24"]), "10.0.1.7", 80, False),
        (rule(notIpBlocks=["10.0.0.7"]), "10.0.0.7", 80, False),
        (rule(remoteIpBlocks=["10.0.0.0/24"]), "10.0.0.7", 80, True),
        (to(ports=["80", "81"]), "10.0.0.7", 81, True),
        (to(ports=["80"]), "10.0.0.7", 81, False),
        (to(notPorts=["80"]), "10.0.0.7", 80, False),
        ({"rules": [{"when": [{"key": "destination.ip", "values": ["10.0.0.9"]}]}]}, "10.0.0.7", 80, True),
        ({"rules": [{"when": [{"key": "destination.ip", "values": ["10.0.0.8"]}]}]}, "10.0.0.7", 80, False),
    ],
)
def test_from_and_to_where(spec: dict[str, Any], source: str, port: int, allowed: bool) -> None:
    assert admits(spec, source=source, port=port) is allowed


def test_all_of_from_to_and_when_must_match() -> None:
    spec = {
        "rules": [
            {
                "from": [{"source": {"namespaces": ["sample"]}}, {"source": {"principals": ["x"]}}],
                "to": [{"operation": {"ports": ["80"]}}],
                "when": [{"key": "source.ip", "values": ["10.0.0.0/8"]}],
            }
        ]
    }
    assert admits(spec)
    assert not admits(spec, port=81)
    assert not admits(spec, source="172.16.0.1")
    assert not admits(spec, NOBODY)


REQUESTS: list[dict[str, Any]] = [
    to(methods=["GET"]),
    to(paths=["/admin*"]),
    rule(requestPrincipals=["*"]),
    {"rules": [{"when": [{"key": "request.headers[x]", "values": ["y"]}]}]},
    {"rules": [{"when": [{"key": "connection.sni", "values": ["y"]}]}]},
    rule(trustDomains=["*example"]),
]


@pytest.mark.parametrize("spec", REQUESTS)
def test_what_is_about_requests_errs_on_the_closed_side(spec: dict[str, Any]) -> None:
    """ALLOW allows nothing, DENY denies everything that is otherwise meant: Istio's DENY would deny nothing."""
    assert not admits(spec)
    assert not admits({**spec, "action": "DENY"})


def test_the_rest_of_such_a_rule_still_counts() -> None:
    spec = {
        "action": "DENY",
        "rules": [{"from": [{"source": {"namespaces": ["other"]}}], "to": [{"operation": {"methods": ["GET"]}}]}],
    }
    assert admits(spec)
    assert not admits(spec, SLEEP.replace("sample", "other"))


@pytest.mark.parametrize(
    ("spec", "namespace", "scope"),
    [
        ({}, "sample", pb.NAMESPACE),
        ({}, "istio-system", pb.GLOBAL),
        ({"selector": {"matchLabels": {"app": "a"}}}, "sample", pb.WORKLOAD_SELECTOR),
        ({"selector": {"matchLabels": {"app": "a"}}}, "istio-system", pb.WORKLOAD_SELECTOR),
    ],
)
def test_the_scope_is_where_it_is_and_whom_it_selects(spec: dict[str, Any], namespace: str, scope: int) -> None:
    assert made(spec, namespace).scope == scope


def test_an_audit_is_nothing_that_ztunnel_could_do() -> None:
    assert policies.authorization(row({"action": "AUDIT", "rules": [{}]}), "istio-system") is None


def test_a_dry_run_refuses_nobody() -> None:
    found = made({})
    found.dry_run = True
    client = Ztunnel(policies={"sample/p": found})
    client.workloads["w"] = workload_pb2.Workload(uid="w", namespace="sample", addresses=[bytes((10, 0, 0, 9))])
    assert client.admits("w", NOBODY)


# -- PeerAuthentication -----------------------------------------------------------------------------------------------

STRICT, PERMISSIVE, DISABLE = MtlsMode.STRICT, MtlsMode.PERMISSIVE, MtlsMode.DISABLE


@pytest.mark.parametrize(
    ("mode", "plain_ports"),
    [
        (WorkloadMode(STRICT), None),
        (WorkloadMode(PERMISSIVE), None),
        (WorkloadMode(STRICT, ((80, STRICT),)), None),
        (WorkloadMode(DISABLE, ((80, PERMISSIVE),)), None),
        (WorkloadMode(STRICT, ((80, PERMISSIVE), (81, DISABLE), (82, STRICT))), {80, 81}),
        (WorkloadMode(PERMISSIVE, ((80, STRICT), (81, DISABLE))), {81, 82, 83}),
    ],
)
def test_ports_that_differ_make_one_policy(mode: WorkloadMode, plain_ports: set[int] | None) -> None:
    """AM19; without such ports the workload names the static policy, or none."""
    resource = policies.from_mode("sample", "pa", mode)
    if plain_ports is None:
        assert resource is None
        return
    assert resource is not None
    assert resource.name == "sample/converted_peer_authentication_pa"
    client = Ztunnel(policies={resource.name: pb.Authorization.FromString(resource.body)})
    client.workloads["w"] = workload_pb2.Workload(
        uid="w", namespace="sample", addresses=[bytes((10, 0, 0, 9))], authorization_policies=[resource.name]
    )
    assert {port for port in (80, 81, 82, 83) if client.admits("w", NOBODY, port=port)} == plain_ports
    assert all(client.admits("w", SLEEP, port=port) for port in (80, 81, 82, 83))


def test_the_static_policies() -> None:
    for resource, caller, admitted in (
        (policies.static_strict("istio-system"), SLEEP, True),
        (policies.static_strict("istio-system"), NOBODY, False),
        (policies.closed("istio-system"), SLEEP, False),
    ):
        client = Ztunnel(policies={resource.name: pb.Authorization.FromString(resource.body)})
        client.workloads["w"] = workload_pb2.Workload(
            uid="w", namespace="a", addresses=[bytes((10, 0, 0, 9))], authorization_policies=[resource.name]
        )
        assert client.admits("w", caller) is admitted
