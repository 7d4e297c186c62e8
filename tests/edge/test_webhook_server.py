"""The admission webhook: a review in, a review with a patch out; what it cannot inject it refuses."""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from isthmus.base.errors import UsageError
from isthmus.edge.webhook_server import Manifest, path_environment, webhook_app

POD = {"metadata": {"generateName": "sleep-"}, "spec": {"containers": []}}


def inject(pod: Manifest, request: Manifest, environment: Mapping[str, str]) -> list[Manifest]:
    """Adds what it was told as a label."""
    if request["namespace"] == "bad":
        raise UsageError("the annotation x is no number", "Write a number")
    if request["namespace"] == "plain":
        return []
    return [{"op": "add", "path": "/metadata/labels", "value": dict(environment)}]


def post(path: str, body: Any, *, waiting: str = "") -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=webhook_app(inject, ready=lambda: waiting))
        async with httpx.AsyncClient(transport=transport, base_url="https://istiod") as client:
            if body is None:
                return await client.get(path)
            return await client.post(path, content=body if isinstance(body, bytes) else json.dumps(body))

    return asyncio.run(run())


def review(namespace: str) -> dict[str, Any]:
    request = {"uid": "u1", "namespace": namespace, "object": POD, "operation": "CREATE"}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


@pytest.mark.parametrize(
    ("path", "environment"),
    [
        ("/inject", {}),
        ("/inject/", {}),
        ("/inject/cluster/west/net/n2", {"ISTIO_META_CLUSTER_ID": "west", "ISTIO_META_NETWORK": "n2"}),
        ("/inject/cluster/a--slash--b/foo/bar", {"ISTIO_META_CLUSTER_ID": "a/b", "FOO": "bar"}),
        ("/inject/cluster/west/lonely", {"ISTIO_META_CLUSTER_ID": "west"}),
    ],
)
def test_the_path_gives_environment_and_the_answer_is_a_patch(path: str, environment: dict[str, str]) -> None:
    """PR2"""
    answer = post(path, review("sample")).json()
    response = answer["response"]
    assert (answer["kind"], answer["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
    assert (response["uid"], response["allowed"], response["patchType"]) == ("u1", True, "JSONPatch")
    assert json.loads(base64.b64decode(response["patch"])) == [
        {"op": "add", "path": "/metadata/labels", "value": environment}
    ]


def test_a_pod_that_is_to_stay_as_it_is_has_no_patch() -> None:
    assert post("/inject", review("plain")).json()["response"] == {"uid": "u1", "allowed": True}


def test_what_cannot_be_injected_is_refused_with_the_reason() -> None:
    response = post("/inject", review("bad")).json()["response"]
    assert response["allowed"] is False
    assert response["status"]["message"] == "the annotation x is no number. Write a number"


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b"{}", b'{"request": {}}', b'{"request": 1}'])
def test_what_is_no_review_is_a_bad_request(body: bytes) -> None:
    assert post("/inject", body).status_code == 400


def test_a_huge_body_is_refused() -> None:
    assert post("/inject", b" " * 5_000_000).status_code == 413


def test_a_body_without_end_is_not_read_to_the_end() -> None:
    sent = 0

    async def endless() -> dict[str, Any]:
        nonlocal sent
        sent += 1
        assert sent < 100
        return {"type": "http.request", "body": b" " * 1_000_000, "more_body": True}

    answers: list[Any] = []

    async def answer(message: Any) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/inject", "headers": [], "query_string": b"", "root_path": ""}
    asyncio.run(webhook_app(inject, ready=lambda: "")(scope, endless, answer))
    assert (answers[0]["status"], sent) == (413, 5)


@pytest.mark.parametrize(("waiting", "status"), [("", 200), ("the clusters to be listed", 503)])
def test_readiness_is_told_here_for_kubelets(waiting: str, status: int) -> None:
    answer = post("/ready", None, waiting=waiting)
    assert (answer.status_code, answer.text) == (status, f"{waiting or 'ready'}\n")


def test_path_words_are_pairs() -> None:
    assert path_environment("") == {}
    assert path_environment("//net//n1/") == {"ISTIO_META_NETWORK": "n1"}
