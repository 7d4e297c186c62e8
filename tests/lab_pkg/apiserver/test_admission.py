"""Admission webhooks: which are called, what they get, what their answers do. Real ones over TLS on the loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.apiserver import pki, webhooks
from isthmus_lab.apiserver.httpd import HttpServer, Request, Response
from isthmus_lab.apiserver.inprocess import InProcess
from isthmus_lab.apiserver.webhookclient import Target
from isthmus_lab.apiserver.webhooks import WebhookError

HOOKS = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
NOW = 1_700_000_000.0

Answerer = Callable[[dict[str, Any]], dict[str, Any] | bytes]


class Hook:
    """A webhook server; `answer` makes the response from the request, `seen` are the requests."""

    def __init__(self, directory: Path) -> None:
        self.seen: list[dict[str, Any]] = []
        self.answer: Answerer = lambda _request: {"allowed": True}
        self.authority = pki.new_authority("hooks", NOW, serial=1)
        pair = pki.server_certificate(self.authority, ["127.0.0.1", "hook.default.svc"], NOW, serial=2)
        path = directory / "hook.pem"
        path.write_bytes(pair.key + pair.certificate)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(path)

    @property
    def ca_bundle(self) -> str:
        return base64.b64encode(self.authority.certificate).decode()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/hook"

    async def _handle(self, request: Request) -> Response:
        review = json.loads(request.body)
        self.seen.append(review["request"])
        said = self.answer(review["request"])
        if isinstance(said, bytes):
            return Response(200, said)
        response = {"uid": review["request"]["uid"], **said}
        return Response(200, json.dumps({"kind": "AdmissionReview", "response": response}).encode())

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Hook]:
        import socket

        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        server = HttpServer(self._handle)
        await server.listen(sock, self._tls)
        try:
            yield self
        finally:
            await server.close()


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hook:
    real = ssl.create_default_context

    def lenient(**options: Any) -> ssl.SSLContext:
        """The certificates of the test are of the test's time, not of today's."""
        context = real(**options)
        context.verify_flags |= ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME
        return context

    monkeypatch.setattr(ssl, "create_default_context", lenient)
    return Hook(tmp_path)


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    encoded = base64.b64encode(json.dumps(list(operations)).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


async def register(api: InProcess, hook: Hook, kind: str = "mutating", **fields: Any) -> None:
    spec = {
        "name": "hook.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"url": hook.url, "caBundle": hook.ca_bundle},
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps", "pods"]}],
        **fields,
    }
    reply = await api.request(
        "POST", f"{HOOKS}/{kind}webhookconfigurations", {"metadata": {"name": spec["name"]}, "webhooks": [spec]}
    )
    assert reply.status == 201, reply.body


async def create(api: InProcess, name: str = "a", **metadata: Any) -> Any:
    return await api.request("POST", MAPS, {"metadata": {"name": name, **metadata}})


async def test_a_mutating_webhook_changes_the_object(api: InProcess, hook: Hook) -> None:
    hook.answer = lambda _request: patch({"op": "add", "path": "/data", "value": {"added": "yes"}})
    async with hook.serving():
        await register(api, hook)
        made = (await create(api)).body
    assert made["data"] == {"added": "yes"}
    (request,) = hook.seen
    assert (request["operation"], request["name"], request["namespace"]) == ("CREATE", "a", "default")
    assert request["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert request["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert request["userInfo"]["username"] == "kubernetes-admin"
    assert request["object"]["metadata"]["uid"] == made["metadata"]["uid"]
    assert request["oldObject"] is None
    assert request["dryRun"] is False


async def test_injected_containers_get_defaults_and_the_token(api: InProcess, hook: Hook) -> None:
    sidecar = {"name": "proxy", "image": "p:1", "restartPolicy": "Always", "ports": [{"containerPort": 15090}]}
    hook.answer = lambda _request: patch({"op": "add", "path": "/spec/initContainers", "value": [sidecar]})
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    async with hook.serving():
        await register(api, hook)
        made = (await api.request("POST", PODS, body)).body
    (proxy,) = made["spec"]["initContainers"]
    assert proxy["ports"] == [{"containerPort": 15090, "protocol": "TCP"}]
    assert proxy["volumeMounts"] == made["spec"]["containers"][0]["volumeMounts"]
    assert len(made["spec"]["volumes"]) == 1
    # The webhook saw what the server itself had filled in.
    assert hook.seen[0]["object"]["spec"]["serviceAccountName"] == "default"


async def test_a_denial_is_the_answer(api: InProcess, hook: Hook) -> None:
    hook.answer = lambda _request: {"allowed": False, "status": {"message": "not like this", "code": 400}}
    async with hook.serving():
        await register(api, hook, "validating")
        refused = await create(api)
        assert refused.status == 400
        assert refused.body["message"] == 'admission webhook "hook.example.com" denied the request: not like this'
        hook.answer = lambda _request: {"allowed": False}
        refused = await create(api)
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["message"].endswith("denied the request without explanation")


async def test_validating_webhooks_see_updates_and_deletions(api: InProcess, hook: Hook) -> None:
    await create(api)
    async with hook.serving():
        await register(api, hook, "validating")
        merge = {"content_type": "application/merge-patch+json"}
        await api.request("PATCH", f"{MAPS}/a", {"data": {"x": "1"}}, **merge)
        await api.request("DELETE", f"{MAPS}/a")
    update, delete = hook.seen
    assert (update["operation"], update["object"]["data"]) == ("UPDATE", {"x": "1"})
    assert "data" not in update["oldObject"]
    assert (delete["operation"], delete["object"], delete["oldObject"]["data"]) == ("DELETE", None, {"x": "1"})


async def test_warnings_reach_the_client(api: InProcess, hook: Hook) -> None:
    hook.answer = lambda _request: {"allowed": True, "warnings": ["mind\nthe gap"]}
    async with hook.serving():
        await register(api, hook)
        assert ("warning", '299 - "mind the gap"') in (await create(api)).headers


@pytest.mark.parametrize(
    ("fields", "called"),
    [
        ({"objectSelector": {"matchLabels": {"on": "yes"}}}, True),
        ({"objectSelector": {"matchLabels": {"on": "no"}}}, False),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
        ({"namespaceSelector": {"matchExpressions": [{"key": "injection", "operator": "Exists"}]}}, False),
    ],
)
async def test_selectors(api: InProcess, hook: Hook, fields: dict[str, Any], called: bool) -> None:
    async with hook.serving():
        await register(api, hook, **fields)
        assert (await create(api, labels={"on": "yes"})).status == 201
    assert bool(hook.seen) is called


@pytest.mark.parametrize(
    ("rule", "called"),
    [
        ({}, True),
        ({"operations": ["UPDATE"]}, False),
        ({"operations": ["UPDATE", "CREATE"]}, True),
        ({"apiGroups": ["apps"]}, False),
        ({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}, True),
        ({"apiVersions": ["v2"]}, False),
        ({"resources": ["configmaps/status"]}, False),
        ({"resources": ["configmaps/*"]}, True),  # the object itself too, as in Kubernetes
        ({"scope": "Cluster"}, False),
        ({"scope": "Namespaced"}, True),
    ],
)
async def test_rules(api: InProcess, hook: Hook, rule: dict[str, Any], called: bool) -> None:
    whole = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], **rule}
    async with hook.serving():
        await register(api, hook, rules=[whole])
        assert (await create(api)).status == 201
    assert bool(hook.seen) is called


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"not json", "its answer is not JSON"),
        (b"{}", "webhook response was absent"),
        (b'{"response": {"uid": "other", "allowed": true}}', 'got "other"'),
    ],
)
async def test_answers_that_make_no_sense(api: InProcess, hook: Hook, answer: bytes, says: str) -> None:
    hook.answer = lambda _request: answer
    async with hook.serving():
        await register(api, hook)
        refused = await create(api)
        assert refused.status == 500
        assert 'failed calling webhook "hook.example.com"' in refused.body["message"]
        assert says in refused.body["message"]


async def test_a_patch_that_cannot_be_applied(api: InProcess, hook: Hook) -> None:
    hook.answer = lambda _request: patch({"op": "remove", "path": "/nothing"})
    async with hook.serving():
        await register(api, hook)
        assert "its patch cannot be applied" in (await create(api)).body["message"]


async def test_a_webhook_that_is_not_there(api: InProcess, hook: Hook) -> None:
    async with hook.serving():
        pass  # its port is closed again
    await register(api, hook)
    refused = await create(api)
    assert refused.status == 500
    assert f'Post "{hook.url}?timeout=10s": connect: connection refused' in refused.body["message"]
    await api.request("DELETE", f"{HOOKS}/mutatingwebhookconfigurations/hook.example.com")
    await register(api, hook, failurePolicy="Ignore")
    assert (await create(api)).status == 201


async def test_a_webhook_that_does_not_answer_in_time(api: InProcess, hook: Hook) -> None:
    over, closed = asyncio.Event(), asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()
        closed.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    hook.port = server.sockets[0].getsockname()[1]
    await register(api, hook, timeoutSeconds=1)
    assert "context deadline exceeded" in (await create(api)).body["message"]
    over.set()
    await closed.wait()
    server.close()


async def test_a_certificate_of_somebody_else(api: InProcess, hook: Hook) -> None:
    other = base64.b64encode(pki.new_authority("other", NOW, serial=9).certificate).decode()
    async with hook.serving():
        await register(api, hook, clientConfig={"url": hook.url, "caBundle": other})
        assert "failed to verify certificate" in (await create(api)).body["message"]


async def test_webhook_configurations_are_not_up_for_admission(api: InProcess, hook: Hook) -> None:
    every = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    hook.answer = lambda _request: {"allowed": False}
    async with hook.serving():
        await register(api, hook, "validating", rules=[every])
        target = f"{HOOKS}/validatingwebhookconfigurations/hook.example.com"
        assert (await api.request("DELETE", target)).status == 200
    assert not hook.seen


async def test_services_are_dialled_by_their_cluster_ip(api: InProcess) -> None:
    admission = api.server.admission
    client: dict[str, Any] = {
        "service": {"name": "hook", "namespace": "default", "path": "/inject"},
        "caBundle": "Q0E=",
    }
    with pytest.raises(WebhookError, match='service "hook" not found'):
        admission.resolve(client, 10)
    body = {"metadata": {"name": "hook"}, "spec": {"clusterIP": "10.96.5.5", "ports": [{"port": 443}]}}
    await api.request("POST", "/api/v1/namespaces/default/services", body)
    assert admission.resolve(client, 10) == Target(
        address="10.96.5.5", port=443, host="hook.default.svc", path="/inject?timeout=10s", authority="Q0E="
    )
    client["service"]["port"] = 9443
    with pytest.raises(WebhookError, match="no service port 9443"):
        admission.resolve(client, 10)
    body = {"metadata": {"name": "headless"}, "spec": {"clusterIP": "None", "ports": [{"port": 443}]}}
    await api.request("POST", "/api/v1/namespaces/default/services", body)
    with pytest.raises(WebhookError, match="has no cluster IP"):
        admission.resolve({"service": {"name": "headless", "namespace": "default"}}, 10)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/p?x=1", "https://h:443/p?x=1&timeout=3s"),
        ("https://h:9443", "https://h:9443/?timeout=3s"),
        ("http://h/p", None),
    ],
)
def test_urls(url: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(WebhookError, match="is not an https URL"):
            Target.of_url(url, "", 3)
    else:
        assert str(Target.of_url(url, "", 3)) == expected


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "short"}, "should be a domain with at least three segments"),
        ({"sideEffects": "Some"}, 'webhooks[0].sideEffects: Unsupported value: "Some"'),
        ({"admissionReviewVersions": ["v1beta1"]}, "must include at least one of v1"),
        ({"timeoutSeconds": 60}, "between 1 and 30 seconds"),
        ({"clientConfig": {}}, "exactly one of url or service is required"),
        ({"failurePolicy": "Maybe"}, 'webhooks[0].failurePolicy: Unsupported value: "Maybe"'),
    ],
)
async def test_configurations_that_cannot_be(api: InProcess, fields: dict[str, Any], says: str) -> None:
    hook = {
        "name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {"url": "https://x"},
        **fields,
    }  # fmt: skip
    body = {"metadata": {"name": "x"}, "webhooks": [hook]}
    reply = await api.request("POST", f"{HOOKS}/validatingwebhookconfigurations", body)
    assert reply.status == 422, reply.body
    assert says in reply.body["message"]


def test_a_patch_needs_an_object_and_the_right_type() -> None:
    answer = {"response": {"uid": "u", "allowed": True, "patchType": "Merge", "patch": "e30="}}
    with pytest.raises(WebhookError, match=r"unexpected response\.patchType"):
        webhooks.verdict(answer, name="n", uid="u", obj={})
