"""Whose certificate the proxy of a node may have (TR11)."""

from dataclasses import dataclass

import pytest
from msgspec.structs import replace as changed

from isthmus.model.rows import Workload
from isthmus.trust.caller import Caller
from isthmus.trust.impersonation import ImpersonationError, UnseenError, check_node_proxy, impersonated

TRUSTED = {("istio-system", "ztunnel")}
AGENT = Workload(
    cluster="east", namespace="istio-system", name="ztunnel-x", uid="u1", service_account="ztunnel", node="n1"
)
SLEEP = Workload(cluster="east", namespace="sample", name="sleep-1", uid="u2", service_account="sleep", node="n1")
CALLER = Caller("east", "istio-system", "ztunnel", "ztunnel-x", pod_uid="u1", node="n1")
WANTED = "spiffe://td/ns/sample/sa/sleep"


@dataclass
class Pods:
    rows: tuple[Workload, ...] = (AGENT, SLEEP)

    def pod(self, cluster: str, namespace: str, name: str) -> Workload | None:
        return next((row for row in self.rows if row.key == (cluster, namespace, name)), None)

    def pods_on(self, cluster: str, node: str) -> list[Workload]:
        return [row for row in self.rows if (row.cluster, row.node) == (cluster, node)]


def ask(caller: Caller = CALLER, wanted: str = WANTED, *rows: Workload) -> str:
    return impersonated(caller, wanted, "td", trusted=TRUSTED, pods=Pods(rows or (AGENT, SLEEP)))


def caller(**changes: str) -> Caller:
    fields = {"cluster": "east", "namespace": "istio-system", "service_account": "ztunnel", "pod": "ztunnel-x"}
    return Caller(**(fields | {"pod_uid": "u1", "node": "n1"} | changes))  # type: ignore[arg-type]


def test_a_pod_of_the_node_has_it() -> None:
    assert ask() == WANTED


def test_an_older_api_server_does_not_say_the_node() -> None:
    assert ask(caller(node="")) == WANTED


def test_its_own_is_one_of_them() -> None:
    assert ask(CALLER, "spiffe://td/ns/istio-system/sa/ztunnel").endswith("/ztunnel")


@pytest.mark.parametrize(
    ("who", "text"),
    [
        (caller(service_account="sleep"), "may not ask for a certificate of spiffe://td/ns/sample/sa/sleep"),
        (caller(namespace="sample"), "no trusted node account.*CA_TRUSTED_NODE_ACCOUNTS"),
        (caller(pod=""), "not bound to a pod"),
        (caller(pod_uid=""), "not bound to a pod"),
        (caller(node="n2"), "issued for node n2, but pod istio-system/ztunnel-x is on n1"),
    ],
)
def test_callers_that_may_not(who: Caller, text: str) -> None:
    with pytest.raises(ImpersonationError, match=text) as refused:
        ask(who)
    assert not isinstance(refused.value, UnseenError)


@pytest.mark.parametrize(
    "wanted",
    [
        "spiffe://other/ns/sample/sa/sleep",
        "spiffe://td/ns/sample/sa/",
        "spiffe://td/ns/sample/sa/sleep/more",
        "td/ns/sample/sa/sleep",
        "https://td/ns/sample/sa/sleep",
        "sleep",
    ],
)
def test_identities_that_nobody_gets(wanted: str) -> None:
    """The trust domain is checked, which Istio leaves out."""
    with pytest.raises(ImpersonationError, match="trust domain") as refused:
        ask(CALLER, wanted)
    assert not isinstance(refused.value, UnseenError)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ((SLEEP,), "pod istio-system/ztunnel-x .u1. was not seen"),
        ((changed(AGENT, uid="u9"), SLEEP), "was not seen"),
        ((changed(AGENT, node=""), SLEEP), "was not seen"),
        ((changed(AGENT, cluster="west"), SLEEP), "was not seen"),
        ((AGENT, changed(SLEEP, node="n2")), "no pod on node n1 of cluster east has the identity"),
        ((AGENT, changed(SLEEP, cluster="west")), "no pod on node n1"),
        ((AGENT, changed(SLEEP, namespace="other")), "no pod on node n1"),
        ((AGENT, changed(SLEEP, entry=True)), "no pod on node n1"),
    ],
)
def test_what_was_not_seen_may_be_so_later(rows: tuple[Workload, ...], text: str) -> None:
    with pytest.raises(UnseenError, match=text):
        ask(CALLER, WANTED, *rows)


def test_a_pod_that_runs_as_somebody_else_proves_nothing() -> None:
    with pytest.raises(ImpersonationError, match="pod istio-system/ztunnel-x runs as other"):
        ask(CALLER, WANTED, changed(AGENT, service_account="other"), SLEEP)


@pytest.mark.parametrize(
    ("who", "node"), [(CALLER, "n1"), (CALLER, ""), (caller(node=""), "n1"), (caller(pod=""), "n1")]
)
def test_the_proxy_of_a_node_is_known_by_its_account(who: Caller, node: str) -> None:
    check_node_proxy(who, node, trusted=TRUSTED, pods=Pods())


def test_nobody_gets_the_identity_of_the_control_plane() -> None:
    istiod = changed(SLEEP, namespace="istio-system", service_account="istiod")
    with pytest.raises(ImpersonationError, match="is the control plane"):
        ask(CALLER, "spiffe://td/ns/istio-system/sa/istiod", AGENT, istiod)
    assert ask(CALLER, "spiffe://td/ns/sample/sa/istiod", AGENT, changed(SLEEP, service_account="istiod"))


def test_whose_node_nobody_knows_must_come_again() -> None:
    for who, rows in ((caller(node=""), (SLEEP,)), (caller(node="", pod_uid="u9"), (AGENT,))):
        with pytest.raises(UnseenError, match="not seen yet"):
            check_node_proxy(who, "n1", trusted=TRUSTED, pods=Pods(rows))


@pytest.mark.parametrize(
    ("who", "node", "text"),
    [
        (caller(service_account="sleep"), "n1", "istio-system/sleep of cluster east is no trusted node account"),
        (CALLER, "n2", "is on node n1, but claims n2"),
        (caller(node=""), "n2", "is on node n1, but claims n2"),
    ],
)
def test_others_and_those_of_other_nodes_are_not_told_what_it_is(who: Caller, node: str, text: str) -> None:
    with pytest.raises(ImpersonationError, match=text):
        check_node_proxy(who, node, trusted=TRUSTED, pods=Pods())
