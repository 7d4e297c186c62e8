"""The scenario `tenancy`: two teams with a trust domain each; what one exposes, and whom of the other it lets in."""

import base64
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.trust.authority import Authority, from_secret, secret_data, workload_names
from isthmus.trust.issue import DAY, PemPair, Validity, make_intermediate, serial_from
from isthmus.trust.pem import key_to_pem, new_key
from tests.lab.harness import Lab, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "tenancy"
STOREFRONT, INTERN = "team-a/shop/storefront", "team-a/shop/intern"
BATCH, LOOKALIKE = "team-b/billing/batch", "team-b/shop/storefront"
IDENTITY = "spiffe://{}.example/ns/{}/sa/{}"
A_STOREFRONT = IDENTITY.format("team-a", "shop", "storefront")
HELLO = "http://{}:5000/hello"
BILLING = HELLO.format("billing.billing")
CATALOG = HELLO.format("catalog.shared")


def statuses(lab: Lab, caller: str, url: str, *options: str) -> set[int]:
    """The HTTP statuses of a few calls; 0 without an answer."""
    return {call.status for call in lab.call(caller, url, "--count", "4", *options).calls}


def becomes(lab: Lab, caller: str, url: str, status: int) -> None:
    """Wait until all calls have this status."""
    eventually(lambda: statuses(lab, caller, url) == {status}, within=20, what=f"{caller} gets {status} at {url}")


def logged(lab: Lab, cluster: str, namespace: str, workload: str) -> list[dict[str, Any]]:
    """The access log of a workload's proxy."""
    text = lab.kubectl(cluster, "logs", "-n", namespace, f"deployment/{workload}", "-c", "istio-proxy")
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@contextmanager
def policy(lab: Lab, name: str, spec: str, **metadata: str) -> Iterator[None]:
    """A policy of team b for billing while the body runs; `metadata` are annotations."""
    annotations = json.dumps(metadata)
    text = (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}, namespace: billing, annotations: {annotations}}}\n"
        f"spec: {{selector: {{matchLabels: {{app: billing}}}}, {spec}}}\n"
    )
    lab.kubectl("team-b", "apply", "--validate=false", "-f", "-", stdin=text)
    try:
        yield
    finally:
        lab.kubectl("team-b", "delete", "authorizationpolicy", "-n", "billing", name)


# -- who may call whom --------------------------------------------------------------------------------------------


def test_who_is_named_comes_through_the_gateway_with_its_identity(model: Lab) -> None:
    becomes(model, STOREFRONT, BILLING, 200)
    (way,) = model.ways(STOREFRONT, BILLING)
    assert (way.cluster, way.identity) == ("team-b", A_STOREFRONT)
    assert way.gateway.startswith("team-b/istio-eastwestgateway")
    assert model.call(BATCH, BILLING, "--count", "4").identities == {IDENTITY.format("team-b", "billing", "batch")}


@pytest.mark.parametrize(
    ("caller", "url", "identity"),
    [
        pytest.param(INTERN, BILLING, IDENTITY.format("team-a", "shop", "intern"), id="not named"),
        pytest.param(LOOKALIKE, BILLING, IDENTITY.format("team-b", "shop", "storefront"), id="other trust domain"),
        pytest.param(STOREFRONT, BILLING.replace("hello", "admin"), A_STOREFRONT, id="path not allowed"),
    ],
)
def test_others_get_403_and_the_log_says_who(model: Lab, caller: str, url: str, identity: str) -> None:
    assert statuses(model, caller, url) == {403}

    def denied() -> bool:
        return any(
            line["downstream_peer_uri_san"] == identity
            and line["response_code"] == 403
            and line["response_code_details"] == "rbac_access_denied_matched_policy[none]"
            for line in logged(model, "team-b", "billing", "billing")
        )

    eventually(denied, within=20, what=f"the proxy of billing logs that it refused {identity}")


def test_a_tcp_connection_of_somebody_else_is_closed(model: Lab) -> None:
    assert model.probe(STOREFRONT, "talk", "ledger.billing", "9000") == "answered"
    assert model.probe(INTERN, "talk", "ledger.billing", "9000") == "closed"
    eventually(
        lambda: [
            line
            for line in logged(model, "team-b", "billing", "ledger")
            if line["connection_termination_details"] == "rbac_access_denied_matched_policy[none]"
            and line["downstream_peer_uri_san"] == IDENTITY.format("team-a", "shop", "intern")
        ],
        within=20,
        what="the proxy of ledger logs the closed connection",
    )


def test_what_both_teams_run_is_one_service(model: Lab) -> None:
    calls = model.answered_by(STOREFRONT, CATALOG, {"team-a", "team-b"})
    assert calls.identities == {A_STOREFRONT}


def test_what_is_not_exposed_stops_at_the_gateway(model: Lab) -> None:
    payroll = HELLO.format("payroll.billing")
    assert statuses(model, BATCH, payroll) == {200}
    assert statuses(model, STOREFRONT, payroll) == {503}
    assert not [line for line in logged(model, "team-b", "billing", "payroll") if "team-a" in json.dumps(line)]


def test_what_is_not_exported_does_not_exist_elsewhere(model: Lab) -> None:
    vault = HELLO.format("vault.billing")
    assert statuses(model, BATCH, vault) == {200}
    (error,) = {call.error for call in model.call(STOREFRONT, vault, "--count", "2").calls}
    assert "not known" in error
    # In its own cluster the name is Kubernetes', but the mesh carries nobody there: without mutual TLS it is closed.
    assert 200 not in statuses(model, LOOKALIKE, vault)


def test_a_namespace_is_told_of_what_its_sidecar_lets_through(model: Lab) -> None:
    listed = model.run("proxy-config", "cluster", "--context", "team-a", "deploy/storefront.shop", "-o", "json").stdout
    hosts = {one["name"].split("|")[3] for one in json.loads(listed) if one["name"].startswith("outbound|")}
    names = ("cart.shop", "catalog.shared", "billing.billing", "ledger.billing", "payroll.billing")
    assert hosts == {f"{name}.svc.cluster.local" for name in names}


# -- policies change ----------------------------------------------------------------------------------------------


def test_a_deny_policy_takes_effect_under_load_and_goes_again(model: Lab) -> None:
    with model.under_load(STOREFRONT, BILLING, 6) as calls:
        with policy(model, "closed", "action: DENY, rules: [{}]"):
            becomes(model, STOREFRONT, BILLING, 403)
            becomes(model, BATCH, BILLING, 403)
        becomes(model, STOREFRONT, BILLING, 200)
        # Connections that were open all the time follow at once, too: none answers by the old rules.
        assert statuses(model, BATCH, BILLING) == {200}
    assert {call.status for call in calls.calls} == {200, 403}


def test_a_broken_policy_closes_and_is_reported(model: Lab) -> None:
    becomes(model, STOREFRONT, BILLING, 200)
    with policy(model, "broken", 'action: DENY, rules: [{from: [{source: {principal: ["x"]}}]}]'):
        becomes(model, STOREFRONT, BILLING, 403)
        problems = [one for one in json.loads(model.ask("team-b", "/debug/problems")) if "broken" in str(one)]
        assert "spec.rules[0].from[0].source.principal" in {one["field"] for one in problems}
    becomes(model, STOREFRONT, BILLING, 200)


def test_a_dry_run_only_logs(model: Lab) -> None:
    outcome = {"istio.io/dry-run": "true"}
    with policy(model, "dry", "action: DENY, rules: [{}]", **outcome):
        eventually(
            lambda: (
                statuses(model, STOREFRONT, BILLING) == {200}
                and [
                    line
                    for line in logged(model, "team-b", "billing", "billing")
                    if line.get("dry_run_deny") == "denied"
                ]
            ),
            within=20,
            what="the access log has the outcome of the dry run",
        )


# -- trust domains ------------------------------------------------------------------------------------------------


def authority_of(lab: Lab, cluster: str) -> Authority:
    """The authority of a cluster's control plane, key and all: what who took the cluster over would have."""
    found = lab.get(cluster, "secret", "-n", "istio-system", "cacerts")["data"]
    return from_secret({name: base64.b64decode(value) for name, value in found.items()}, now=time.time())


def certificate(signer: Authority, identity: str, directory: Path) -> str:
    """A file with a certificate for this identity, its chain and key."""
    key = new_key()
    validity = Validity(time.time(), DAY)
    issued = signer.issue(
        key.public_key(), workload_names(identity), validity=validity, serial=serial_from(os.urandom(19))
    )
    file = directory / f"{serial_from(os.urandom(19))}.pem"
    file.write_bytes(issued.presented + key_to_pem(key))
    return str(file)


def shown(lab: Lab, file: str) -> str:
    """What a caller in team b's network meets at billing's proxy with this certificate."""
    address = lab.get("team-b", "pods", "-n", "billing", "-l", "app=billing")["items"][0]["status"]["podIP"]
    return lab.probe(LOOKALIKE, "tls", address, "5000", "billing", "istio", file)


def test_a_bound_authority_cannot_make_identities_of_another_trust_domain(model: Lab, tmp_path: Path) -> None:
    team_b = authority_of(model, "team-b")
    own = certificate(team_b, IDENTITY.format("team-b", "billing", "batch"), tmp_path)
    forged = certificate(team_b, A_STOREFRONT, tmp_path)
    assert shown(model, own) == "answered"
    assert shown(model, forged) == "handshake refused"
    # An authority without a bound, of the same root, would have been believed: the bound alone refuses.
    keys = model.state / "ca"
    root = PemPair((keys / "root-cert.pem").read_bytes(), (keys / "root-key.pem").read_bytes())
    pair = make_intermediate(root, new_key(), now=time.time(), serial=serial_from(os.urandom(19)), cluster="team-b")
    unbound = from_secret(secret_data(pair, b"", root.certificate), now=time.time())
    assert shown(model, certificate(unbound, A_STOREFRONT, tmp_path)) == "answered"
    assert shown(model, certificate(unbound, "spiffe://team-c.example/ns/a/sa/b", tmp_path)) == "handshake refused"


def test_control_planes_tell_for_whom_they_sign(model: Lab) -> None:
    told = json.loads(model.ask("team-b", "/debug/trust"))
    assert told["constrained"]
    assert [one["trustDomains"] for one in told["chain"]] == [["team-b.example"]]
    assert {one["cluster"]: one["signs"] for one in told["clusters"]} == {"team-a": False, "team-b": True}


# -- parts are killed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["team-b/istiod", "team-b/apiserver"])
def test_policies_hold_while_control_is_dead(model: Lab, part: str) -> None:
    becomes(model, STOREFRONT, BILLING, 200)
    with model.under_load(STOREFRONT, BILLING, 4) as calls, model.killed(part):
        assert statuses(model, INTERN, BILLING) == {403}
        assert statuses(model, STOREFRONT, BILLING) == {200}
    assert not calls.failures


def test_without_team_bs_gateway_each_team_has_its_own(model: Lab) -> None:
    model.answered_by(STOREFRONT, CATALOG, {"team-a", "team-b"})
    with model.killed("team-b/gateway"), model.under_load(STOREFRONT, CATALOG, 4) as calls:
        model.answered_by(STOREFRONT, CATALOG, {"team-a"})
        assert statuses(model, BATCH, BILLING) == {200}
        assert 200 not in statuses(model, STOREFRONT, BILLING, "--timeout", "3")
    assert len(calls.failures) <= 0.02 * len(calls.calls)
    becomes(model, STOREFRONT, BILLING, 200)
