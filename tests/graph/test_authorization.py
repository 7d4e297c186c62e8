"""AuthorizationPolicy from objects to what Envoy does: who may call what, over both protocols and any cluster."""

from collections.abc import Iterable
from typing import Any

import pytest

from isthmus.envoy.match import Connection
from isthmus.graph.mesh import Mesh
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.rows import Cluster, MtlsMode, PeerAuthentication, Protocol, Proxy
from tests.envoy.policies import operation, policy, source, when
from tests.graph.calls import config
from tests.graph.world import App, cluster, mesh, port, put

HTTP, TCP = 8080, 9000
APP = App("east", "web", ["10.0.0.1"], vip="10.96.0.1", ports=(port(HTTP), port(TCP, Protocol.TCP)))
SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"
OTHER = "spiffe://cluster.local/ns/other/sa/sleep"


def world(*rows: AuthorizationPolicy, **settings: Any) -> Mesh:
    """A mesh with these policies."""
    return mesh("east", cluster("east", config=True), APP.rows(), list(rows), **settings)


def call(made: Mesh, number: int, peer: str = "", **request: str) -> str:
    """Why a call is refused, empty if it is taken. `peer` calls with mesh mTLS, nobody in plaintext."""
    return call_of(APP.sidecar(), made, number, peer, **request)


def call_of(proxy: Proxy, made: Mesh, number: int, peer: str = "", **request: str) -> str:
    """The same of any workload at that address."""
    arriving = Connection(
        address="10.0.0.1",
        port=number,
        tls=bool(peer),
        alpn=("istio",) if peer else (),
        sni=request.pop("sni", ""),
        peer=peer,
        source=request.pop("source", "10.0.0.2"),
    )
    return config(made, proxy).arriving(arriving, at=15006, **request).closed


def refused(made: Mesh, peer: str = "", **request: str) -> tuple[bool, bool]:
    """Whether an HTTP call and a TCP connection of this caller are refused."""
    return bool(call(made, HTTP, peer, **request)), bool(call(made, TCP, peer))


NOTED = ("dry_run_deny", "dry_run_deny_rule", "dry_run_allow", "dry_run_allow_rule", "audit")
RULE_NAME = "ns[sample]-policy[p]-rule[0]"


def test_without_policies_everybody_may() -> None:
    assert refused(world(), SLEEP) == refused(world()) == (False, False)


def test_the_rule_that_refuses_is_named() -> None:
    made = world(policy("p", action="DENY", rules=[source(principals=["*/ns/sample/sa/sleep"])]))
    assert call(made, HTTP, SLEEP) == f"403: RBAC: {RULE_NAME}"
    assert call(made, TCP, SLEEP) == f"RBAC: {RULE_NAME}"
    assert call(made, HTTP, OTHER) == ""


def test_an_allow_policy_refuses_the_rest() -> None:
    made = world(policy("p", rules=[source(principals=["cluster.local/ns/sample/sa/sleep"])]))
    assert refused(made, SLEEP) == (False, False)
    assert refused(made, OTHER) == refused(made) == (True, True)
    assert call(made, HTTP, OTHER) == "403: RBAC: none"


def test_an_empty_spec_allows_nothing_and_an_empty_rule_everything() -> None:
    assert refused(world(policy("p")), SLEEP) == (True, True)
    assert refused(world(policy("p", rules=[{}]))) == (False, False)


def test_deny_beats_allow_and_custom_refuses() -> None:
    rules = [source(namespaces=["sample"])]
    allow = policy("a", rules=[{}])
    assert refused(world(allow, policy("b", action="DENY", rules=rules)), SLEEP) == (True, True)
    assert refused(world(allow, policy("b", action="DENY", rules=rules)), OTHER) == (False, False)
    custom = AuthorizationPolicy(
        cluster="east",
        namespace="sample",
        name="c",
        action=policy("x").action.CUSTOM,
        rules=policy("x", rules=rules).rules,
    )
    assert refused(world(allow, custom), SLEEP) == (True, True)
    assert refused(world(allow, custom), OTHER) == (False, False)


@pytest.mark.parametrize(
    ("rule", "request_", "yes"),
    [
        (operation(methods=["GET"]), {"method": "GET"}, True),
        (operation(methods=["GET"]), {"method": "POST"}, False),
        (operation(notMethods=["GET"]), {"method": "POST"}, True),
        (operation(paths=["/a"]), {"path": "/a?x=1"}, True),
        (operation(paths=["/a"]), {"path": "/a/b"}, False),
        (operation(paths=["/a*"]), {"path": "/a/b"}, True),
        (operation(paths=["*/b"]), {"path": "/a/b"}, True),
        (operation(paths=["*"]), {"path": "/"}, True),
        (operation(notPaths=["/healthz"]), {"path": "/healthz"}, False),
        (operation(paths=["/u/{*}/x"]), {"path": "/u/7/x"}, True),
        (operation(paths=["/u/{*}/x"]), {"path": "/u/7/8/x"}, False),
        (operation(paths=["/u/{**}"]), {"path": "/u/7/8/x"}, True),
        (operation(hosts=["Web.example"]), {"host": "web.EXAMPLE"}, True),
        (operation(hosts=["*.example"]), {"host": "web.example"}, True),
        (operation(hosts=["web.example"]), {"host": "web.example:80"}, False),
        (when("request.headers[X-Team]", "a", "b*"), {"x_team": "blue"}, True),
        (when("request.headers[X-Team]", "a"), {}, False),
        (when("request.headers[X-Team]", nots=["a"]), {"x_team": "b"}, True),
        (when("request.headers[X-Team]", "*"), {"x_team": "b"}, True),
        (when("request.auth.claims[groups]", "a"), {}, False),
        (source(requestPrincipals=["*"]), {}, False),
    ],
)
def test_what_only_requests_have(rule: dict[str, Any], request_: dict[str, str], yes: bool) -> None:
    """On a TCP port such an ALLOW rule never matches, and such a DENY rule always does."""
    allow, deny = world(policy("p", rules=[rule])), world(policy("p", action="DENY", rules=[rule]))
    assert refused(allow, SLEEP, **request_) == (not yes, True)
    assert refused(deny, SLEEP, **request_) == (yes, True)


def test_a_deny_rule_keeps_what_a_connection_has() -> None:
    rule = source(namespaces=["sample"]) | operation(paths=["/admin*"], ports=[str(TCP)])
    made = world(policy("p", action="DENY", rules=[rule]))
    assert refused(made, SLEEP) == (False, True)
    assert refused(made, OTHER) == (False, False)


@pytest.mark.parametrize(
    ("rule", "request_", "yes"),
    [
        (source(principals=["cluster.local/ns/sample/sa/sleep"]), {}, True),
        (source(principals=["cluster.local/ns/sample/*"]), {}, True),
        (source(principals=["*/sa/sleep"]), {}, True),
        (source(principals=["*"]), {}, True),
        (source(principals=["cluster.local/ns/sample/sa/slee"]), {}, False),
        (source(notPrincipals=["cluster.local/ns/sample/sa/sleep"]), {}, False),
        (source(notPrincipals=["cluster.local/ns/other/sa/sleep"]), {}, True),
        (source(namespaces=["sam*"]), {}, True),
        (source(namespaces=["ample"]), {}, False),
        (source(notNamespaces=["sample"]), {}, False),
        (source(serviceAccounts=["sleep"]), {}, True),
        (source(serviceAccounts=["other/sleep"]), {}, False),
        (source(notServiceAccounts=["other/sleep"]), {}, True),
        (source(trustDomains=["cluster.local"]), {}, True),
        (source(trustDomains=["cluster*"]), {}, True),
        (source(trustDomains=["cluster"]), {}, False),
        (source(notTrustDomains=["west.example"]), {}, True),
        (source(ipBlocks=["10.0.0.0/8"]), {}, True),
        (source(ipBlocks=["10.0.0.3"]), {}, False),
        (source(notIpBlocks=["10.0.0.2"]), {}, False),
        (source(principals=["*"], notNamespaces=["sample"]), {}, False),
        (when("source.namespace", "sample"), {}, True),
        (when("destination.port", str(HTTP)), {}, True),
        (when("destination.ip", "10.0.0.1"), {}, True),
        (when("connection.sni", "*.local"), {"sni": "x.local"}, True),
        (when("connection.sni", "*.local"), {"sni": "x.other"}, False),
        (operation(ports=[str(TCP)]), {}, False),
        (operation(notPorts=[str(TCP)]), {}, True),
        (source(namespaces=["sample"]) | operation(ports=[str(HTTP)]) | when("source.ip", "10.0.0.9"), {}, False),
    ],
)
def test_what_connections_have(rule: dict[str, Any], request_: dict[str, str], yes: bool) -> None:
    made = world(policy("p", rules=[rule]))
    assert bool(call(made, HTTP, SLEEP, **request_)) is not yes


def test_who_shows_no_certificate_is_nobody() -> None:
    assert refused(world(policy("p", rules=[source(principals=["*"])]))) == (True, True)
    assert refused(world(policy("p", action="DENY", rules=[source(notPrincipals=["*"])]))) == (True, True)


@pytest.mark.parametrize(
    ("where", "selector", "guarded"),
    [
        ("sample", {}, True),
        ("other", {}, False),
        ("istio-system", {}, True),
        ("istio-system", {"app": "web"}, True),
        ("istio-system", {"app": "x"}, False),
        ("sample", {"app": "web"}, True),
        ("sample", {"app": "x"}, False),
    ],
)
def test_whom_a_policy_is_for(where: str, selector: dict[str, str], guarded: bool) -> None:
    spec = {"selector": {"matchLabels": selector}} if selector else {}
    assert refused(world(policy("p", where, **spec)), SLEEP) == (guarded, guarded)


def test_policies_of_the_config_cluster_hold_in_every_cluster_and_others_nowhere() -> None:
    """TE5."""
    west = App("west", "web", ["10.0.0.1"], vip="10.96.0.1", ports=APP.ports)
    made = world(policy("p"))
    made.apply([put(row) for row in (*cluster("west"), *west.rows())])
    assert call_of(west.sidecar(), made, HTTP, SLEEP)
    foreign = AuthorizationPolicy(cluster="west", namespace="sample", name="p")
    assert not call(world(foreign), HTTP, SLEEP)


def test_a_dry_run_refuses_nobody() -> None:
    assert refused(world(policy("p", dry_run=True)), SLEEP) == (False, False)
    assert refused(world(policy("p", action="DENY", rules=[{}], dry_run=True)), SLEEP) == (False, False)


def test_audit_refuses_nobody() -> None:
    assert refused(world(policy("p", action="AUDIT", rules=[{}])), SLEEP) == (False, False)


def test_policies_hold_for_every_way_to_connect() -> None:
    """Also for TLS that is passed on as bytes, and for ports that no service names."""
    made = world(policy("p", rules=[source(principals=["*"])]))
    passed_on = Connection(address="10.0.0.1", port=HTTP, tls=True, sni="x")
    assert config(made, APP.sidecar()).arriving(passed_on, at=15006).closed == "RBAC: none"
    assert call(made, 1234) == "RBAC: none"
    assert call(made, 1234, SLEEP) == ""


@pytest.mark.parametrize("mode", [MtlsMode.STRICT, MtlsMode.PERMISSIVE, MtlsMode.DISABLE])
def test_modes(mode: MtlsMode) -> None:
    made = world(policy("p"))
    made.apply([put(PeerAuthentication(cluster="east", namespace="sample", name="m", mode=mode))])
    assert refused(made) == (True, True)


def test_open_http_connections_follow_a_changed_policy() -> None:
    """Rules for requests are in the routes: the filter chains of HTTP ports stay, so nothing is drained."""

    def chains(made: Mesh) -> dict[str, bytes]:
        listener = config(made, APP.sidecar()).listeners["virtualInbound"]
        return {chain.name: chain.SerializeToString(deterministic=True) for chain in listener.filter_chains}

    before, after = chains(world()), chains(world(policy("p", rules=[source(principals=["*"])])))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"inbound_{port}_{kind}" for port in (TCP, "any") for kind in ("mtls", "plain", "tls")} | {
        f"inbound_{HTTP}_tls"
    }


@pytest.mark.parametrize(
    ("rows", "fields"),
    [
        ([policy("p", action="DENY", rules=[{}])], set()),
        ([policy("p", action="DENY", rules=[{}], dry_run=True)], {"dry_run_deny", "dry_run_deny_rule"}),
        ([policy("p", dry_run=True)], {"dry_run_allow", "dry_run_allow_rule"}),
        ([policy("p", action="AUDIT", rules=[{}])], {"audit"}),
    ],
)
def test_what_is_only_noted_is_in_the_access_log(rows: list[AuthorizationPolicy], fields: set[str]) -> None:
    listener = config(world(*rows), APP.sidecar()).listeners["virtualInbound"]
    found = {field for field in NOTED if f"{field}\x12".encode() in listener.SerializeToString()}
    assert found == fields


# -- trust domains ------------------------------------------------------------------------------------------------


def west(trust_domain: str) -> Iterable[Cluster]:
    return [Cluster(cluster="west", name="west", trust_domain=trust_domain)]


def test_callers_of_every_known_clusters_trust_domain_are_taken() -> None:
    """TR4, TR6."""
    made = world()
    stranger = "spiffe://west.example/ns/sample/sa/sleep"
    assert call(made, HTTP, stranger).startswith("TLS")
    made.apply([put(row) for row in west("west.example")])
    assert call(made, HTTP, stranger) == ""


def test_aliases_are_the_same_caller_and_another_clusters_domain_is_not() -> None:
    """TR7."""
    rules = [source(principals=["cluster.local/ns/sample/sa/sleep"])]
    made = world(policy("p", rules=rules), trust_domain="east.example", trust_domain_aliases=("old.example",))
    made.apply([put(row) for row in west("west.example")])
    for domain, closed in (("east.example", ""), ("old.example", ""), ("west.example", "403: RBAC: none")):
        assert call(made, HTTP, f"spiffe://{domain}/ns/sample/sa/sleep") == closed


# -- what is recomputed -------------------------------------------------------------------------------------------


def test_equal_proxies_share_and_a_changed_rule_changes_no_scope() -> None:
    two = App("east", "web", ["10.0.0.1", "10.0.0.3"], vip="10.96.0.1", ports=APP.ports)
    made = mesh("east", cluster("east", config=True), two.rows(), [policy("p")])
    for index in (0, 1):
        config(made, two.sidecar(index))
    before = dict(made.table("derive.scopes"))
    assert len({scopes[0] for scopes in before.values()}) == 1
    made.apply([put(policy("p", rules=[{}]))])
    assert dict(made.table("derive.scopes")) == before
    assert not call_of(two.sidecar(), made, HTTP, SLEEP)
