"""Who may do what, and how a refusal reads."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_lab.apiserver import rbac
from isthmus_lab.apiserver.identity import User
from isthmus_lab.apiserver.inprocess import InProcess
from isthmus_lab.apiserver.rbac import Attributes

ALICE = User("alice", ("devs", "system:authenticated"))
GROUP = "/apis/rbac.authorization.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"


def rule(**fields: list[str]) -> dict[str, list[str]]:
    return {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], **fields}


@pytest.mark.parametrize(
    ("given", "ask", "allowed"),
    [
        ({}, {}, True),
        ({}, {"verb": "list"}, False),
        ({"verbs": ["*"]}, {"verb": "list"}, True),
        ({}, {"group": "apps"}, False),
        ({"apiGroups": ["*"]}, {"group": "apps"}, True),
        ({}, {"subresource": "log"}, False),
        ({"resources": ["pods/log"]}, {"subresource": "log"}, True),
        ({"resources": ["pods/log"]}, {}, False),
        ({"resources": ["*"]}, {"subresource": "log"}, True),
        ({"resources": ["*/log"]}, {"subresource": "log"}, True),
        ({"resourceNames": ["a"]}, {"name": "a"}, True),
        ({"resourceNames": ["a"]}, {"name": "b"}, False),
        ({"resourceNames": ["a"]}, {"name": ""}, False),
        ({"nonResourceURLs": ["/metrics"]}, {"path": "/metrics"}, True),
        ({"nonResourceURLs": ["/api/*"]}, {"path": "/api/v1"}, True),
        ({"nonResourceURLs": ["/api/*"]}, {"path": "/apis"}, False),
        ({"nonResourceURLs": ["*"]}, {"path": "/x"}, True),
        ({"nonResourceURLs": []}, {"path": "/x"}, False),
    ],
)
def test_rules(given: dict[str, list[str]], ask: dict[str, str], allowed: bool) -> None:
    asked = Attributes(**{"verb": "get", "resource": "pods", **ask})
    assert rbac.rule_allows(rule(**given), asked) is allowed


async def bind(api: InProcess, kind: str, subject: dict[str, str], rules: list[Any], namespace: str = "") -> None:
    where = f"/namespaces/{namespace}" if namespace else ""
    plural = "roles" if kind == "Role" else "clusterroles"
    role_at = where if kind == "Role" else ""
    role = {"metadata": {"name": "r"}, "rules": rules}
    assert (await api.request("POST", f"{GROUP}{role_at}/{plural}", role)).status == 201
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "r"},
        "subjects": [subject],
    }
    bindings = "rolebindings" if namespace else "clusterrolebindings"
    assert (await api.request("POST", f"{GROUP}{where}/{bindings}", binding)).status == 201


READ = [rule(verbs=["get", "list"], resources=["configmaps"])]


@pytest.mark.parametrize(
    ("kind", "namespace", "subject", "allowed"),
    [
        ("Role", "default", {"kind": "User", "name": "alice"}, True),
        ("ClusterRole", "default", {"kind": "Group", "name": "devs"}, True),
        ("ClusterRole", "", {"kind": "User", "name": "alice"}, True),
        ("Role", "kube-system", {"kind": "User", "name": "alice"}, False),
        ("Role", "default", {"kind": "User", "name": "bob"}, False),
        ("Role", "default", {"kind": "ServiceAccount", "name": "alice", "namespace": "default"}, False),
    ],
)
async def test_bindings(api: InProcess, kind: str, namespace: str, subject: dict[str, str], allowed: bool) -> None:
    await bind(api, kind, subject, READ, namespace)
    ask = Attributes(verb="list", resource="configmaps", namespace="default")
    assert api.server.authorizer.allows(ALICE, ask) is allowed


async def test_a_service_account_by_its_binding(api: InProcess) -> None:
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
    reply = await api.request("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}})
    token = reply.body["status"]["token"]
    refused = await api.request("GET", MAPS, token=token)
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["message"] == (
        'configmaps is forbidden: User "system:serviceaccount:default:default" cannot list resource "configmaps" in '
        'API group "" in the namespace "default"'
    )
    await bind(api, "Role", subject, READ, "default")
    assert (await api.request("GET", MAPS, token=token)).status == 200
    assert (await api.request("DELETE", f"{MAPS}/x", token=token)).status == 403
    everywhere = await api.request("GET", "/api/v1/configmaps", token=token)
    assert everywhere.body["message"].endswith('cannot list resource "configmaps" in API group "" at the cluster scope')


async def test_who_is_nobody(api: InProcess) -> None:
    assert (await api.request("GET", "/healthz", token=None)).status == 200
    assert (await api.request("GET", "/version", token=None)).status == 200
    refused = await api.request("GET", MAPS, token=None)
    assert refused.status == 403
    assert 'User "system:anonymous" cannot list' in refused.body["message"]
    path = await api.request("GET", "/metrics", token=None)
    assert path.body["message"] == 'forbidden: User "system:anonymous" cannot get path "/metrics"'
    assert (await api.request("GET", MAPS, token="wrong")).status == 401


async def test_anybody_reads_how_to_reach_the_cluster(api: InProcess) -> None:
    info = await api.request("GET", "/api/v1/namespaces/kube-public/configmaps/cluster-info", token=None)
    assert "certificate-authority-data" in info.body["data"]["kubeconfig"]
    assert "server: https://10.0.0.5:6443" in info.body["data"]["kubeconfig"]


async def test_impersonation_needs_the_right_to_it(api: InProcess) -> None:
    found = await api.request("GET", MAPS, impersonate_user="alice")
    assert (found.status, "alice" in found.body["message"]) == (403, True)
    await bind(api, "Role", {"kind": "Group", "name": "devs"}, READ, "default")
    assert (await api.request("GET", MAPS, impersonate_user="alice", impersonate_group="devs,x")).status == 200
    reply = await api.request("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}})
    refused = await api.request("GET", MAPS, token=reply.body["status"]["token"], impersonate_user="alice")
    assert 'cannot impersonate resource "users"' in refused.body["message"]


ACCESS = "/apis/authorization.k8s.io/v1"


async def test_access_reviews(api: InProcess) -> None:
    await bind(api, "Role", {"kind": "User", "name": "alice"}, READ, "default")

    async def may(verb: str, **spec: Any) -> bool:
        attributes = {"verb": verb, "resource": "configmaps", "namespace": "default"}
        body = {"spec": {"user": "alice", "resourceAttributes": attributes, **spec}}
        return bool((await api.request("POST", f"{ACCESS}/subjectaccessreviews", body)).body["status"]["allowed"])

    assert await may("list")
    assert not await may("delete")
    path = {
        "spec": {
            "nonResourceAttributes": {"verb": "get", "path": "/healthz"},
            "user": "x",
            "groups": ["system:authenticated"],
        }
    }
    assert (await api.request("POST", f"{ACCESS}/subjectaccessreviews", path)).body["status"]["allowed"]
    both = await api.request("POST", f"{ACCESS}/subjectaccessreviews", {"spec": {"user": "x"}})
    assert both.status == 422
    nobody = await api.request("POST", f"{ACCESS}/subjectaccessreviews", {"spec": {}})
    assert "at least one of user or group must be specified" in nobody.body["message"]


async def test_my_own_rights(api: InProcess) -> None:
    await bind(api, "Role", {"kind": "User", "name": "alice"}, READ, "default")
    own = {"spec": {"resourceAttributes": {"verb": "get", "resource": "configmaps", "namespace": "default"}}}
    reply = await api.request("POST", f"{ACCESS}/selfsubjectaccessreviews", own, impersonate_user="alice")
    assert reply.body["status"]["allowed"]
    rules = {"spec": {"namespace": "default"}}
    reply = await api.request("POST", f"{ACCESS}/selfsubjectrulesreviews", rules, impersonate_user="alice")
    assert READ[0] in reply.body["status"]["resourceRules"]
    who = await api.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, impersonate_user="alice")
    assert who.body["status"]["userInfo"] == {"username": "alice", "groups": ["system:authenticated"]}


@pytest.mark.parametrize(
    ("resource", "body", "says"),
    [
        ("clusterroles", {"rules": [{"verbs": []}]}, "rules[0].verbs: Required value"),
        ("clusterroles", {"rules": [{"verbs": ["get"]}]}, "rules[0].apiGroups: Required value"),
        (
            "clusterrolebindings",
            {"roleRef": {"kind": "Group", "name": "x"}, "subjects": [{"kind": "Robot", "name": "x"}]},
            'subjects[0].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"',
        ),
        ("clusterrolebindings", {}, "roleRef: Required value"),
    ],
)
async def test_roles_that_cannot_be(api: InProcess, resource: str, body: dict[str, Any], says: str) -> None:
    reply = await api.request("POST", f"{GROUP}/{resource}", {"metadata": {"name": "x"}, **body})
    assert reply.status == 422
    assert says in reply.body["message"]


async def test_a_binding_keeps_its_role(api: InProcess) -> None:
    await bind(api, "ClusterRole", {"kind": "User", "name": "alice"}, READ)
    found = (await api.request("GET", f"{GROUP}/clusterrolebindings/b")).body
    found["roleRef"]["name"] = "cluster-admin"
    reply = await api.request("PUT", f"{GROUP}/clusterrolebindings/b", found)
    assert "cannot change roleRef" in reply.body["message"]
