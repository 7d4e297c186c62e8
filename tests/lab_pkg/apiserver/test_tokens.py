"""Service account tokens: what they say, and when they no longer hold."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from isthmus_lab.apiserver import pki
from isthmus_lab.apiserver.inprocess import InProcess
from isthmus_lab.apiserver.tokens import Signer, TokenError

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
SECRETS = "/api/v1/namespaces/default/secrets"
PODS = "/api/v1/namespaces/default/pods"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


def claims(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


async def request_token(api: InProcess, account: str = "default", **spec: Any) -> str:
    reply = await api.request("POST", f"{ACCOUNTS}/{account}/token", {"spec": spec})
    assert reply.status == 201, reply.body
    return str(reply.body["status"]["token"])


async def review(api: InProcess, token: str, *audiences: str) -> dict[str, Any]:
    body = {"spec": {"token": token, "audiences": list(audiences)}}
    return dict((await api.request("POST", REVIEWS, body)).body["status"])


def test_signatures() -> None:
    signer, other = Signer(pki.new_key()), Signer(pki.new_key())
    token = signer.sign({"sub": "x"})
    assert signer.claims(token) == {"sub": "x"}
    with pytest.raises(TokenError, match="not of this cluster's key"):
        other.claims(token)
    head, body, signature = token.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for broken in (f"{head}.{body}", f"{head}.{body}.", f"{none}.{body}.{signature}", "x", "", f"{head}.x.{signature}"):
        with pytest.raises(TokenError):
            signer.claims(broken)


async def test_what_a_token_says(api: InProcess) -> None:
    token = await request_token(api, audiences=["istio-ca"], expirationSeconds=1200)
    said = claims(token)
    assert said["aud"] == ["istio-ca"]
    assert said["sub"] == "system:serviceaccount:default:default"
    assert said["exp"] - said["iat"] == 1200
    assert said["kubernetes.io"]["namespace"] == "default"


async def test_a_token_for_another_audience_opens_nothing_here(api: InProcess) -> None:
    token = await request_token(api, audiences=["istio-ca"])
    assert (await api.request("GET", "/api", token=token)).status == 401
    assert (await review(api, token, "istio-ca", "x"))["audiences"] == ["istio-ca"]
    status = await review(api, token, "other")
    assert "authenticated" not in status
    assert "is invalid for the target audiences" in status["error"]
    assert (await api.request("GET", "/api", token=await request_token(api))).status == 200


async def test_a_token_ends(api: InProcess) -> None:
    token = await request_token(api, expirationSeconds=600)
    api.now += 599
    assert (await review(api, token))["authenticated"]
    api.now += 60
    assert "has expired" in (await review(api, token))["error"]
    assert (await api.request("GET", "/api", token=token)).status == 401


async def test_a_token_dies_with_its_account(api: InProcess) -> None:
    await api.request("POST", ACCOUNTS, {"metadata": {"name": "robot"}})
    token = await request_token(api, "robot")
    assert (await review(api, token))["user"]["username"] == "system:serviceaccount:default:robot"
    await api.request("DELETE", f"{ACCOUNTS}/robot")
    assert "serviceaccounts robot is gone" in (await review(api, token))["error"]
    await api.request("POST", ACCOUNTS, {"metadata": {"name": "robot"}})  # another one of that name
    assert "authenticated" not in await review(api, token)


async def test_a_token_dies_with_its_pod(api: InProcess) -> None:
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    pod = (await api.request("POST", PODS, body)).body
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]}
    token = await request_token(api, boundObjectRef=ref)
    extra = (await review(api, token))["user"]["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["p"]
    assert extra["authentication.kubernetes.io/pod-uid"] == [pod["metadata"]["uid"]]
    await api.request("DELETE", f"{PODS}/p")
    assert "pods p is gone" in (await review(api, token))["error"]


@pytest.mark.parametrize(
    ("spec", "code", "says"),
    [
        ({"expirationSeconds": 10}, 422, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 1 << 33}, 422, "larger than 2^32"),
        ({"boundObjectRef": {"kind": "Pod", "name": "none"}}, 404, 'pods "none" not found'),
        ({"boundObjectRef": {"kind": "ConfigMap", "name": "x"}}, 400, "cannot bind token to object of kind"),
        ({"boundObjectRef": {"kind": "Pod", "name": "p", "uid": "other"}}, 409, "does not match the UID in record"),
    ],
)
async def test_requests_that_cannot_be(api: InProcess, spec: dict[str, Any], code: int, says: str) -> None:
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await api.request("POST", PODS, body)
    reply = await api.request("POST", f"{ACCOUNTS}/default/token", {"spec": spec})
    assert reply.status == code, reply.body
    assert says in reply.body["message"]


async def test_a_pod_of_another_account(api: InProcess) -> None:
    await api.request("POST", ACCOUNTS, {"metadata": {"name": "robot"}})
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await api.request("POST", PODS, body)
    spec = {"boundObjectRef": {"kind": "Pod", "name": "p"}}
    reply = await api.request("POST", f"{ACCOUNTS}/robot/token", {"spec": spec})
    assert "different serviceaccount name" in reply.body["message"]


def token_secret(name: str, account: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": account}},
        "type": "kubernetes.io/service-account-token",
    }


async def test_token_secrets_are_filled_in_and_revoke_by_going(api: InProcess) -> None:
    await api.request("POST", ACCOUNTS, {"metadata": {"name": "reader"}})
    made = (await api.request("POST", SECRETS, token_secret("reader-token", "reader"))).body
    assert sorted(made["data"]) == ["ca.crt", "namespace", "token"]
    assert base64.b64decode(made["data"]["ca.crt"]).startswith(b"-----BEGIN CERTIFICATE")
    token = base64.b64decode(made["data"]["token"]).decode()
    assert (await api.request("GET", "/api", token=token)).status == 200
    assert (await review(api, token))["authenticated"]
    assert "authenticated" not in await review(api, token, "istio-ca")
    api.now += 10**8  # it has no end
    assert (await api.request("GET", "/api", token=token)).status == 200
    await api.request("DELETE", f"{SECRETS}/reader-token")
    assert (await api.request("GET", "/api", token=token)).status == 401
    again = (await api.request("POST", SECRETS, token_secret("reader-token", "reader"))).body
    assert base64.b64decode(again["data"]["token"]).decode() != ""


async def test_token_secrets_go_with_their_account(api: InProcess) -> None:
    await api.request("POST", ACCOUNTS, {"metadata": {"name": "reader"}})
    await api.request("POST", SECRETS, token_secret("reader-token", "reader"))
    await api.request("DELETE", f"{ACCOUNTS}/reader")
    await api.settle()
    assert (await api.request("GET", f"{SECRETS}/reader-token")).status == 404


async def test_token_secrets_need_an_account(api: InProcess) -> None:
    assert (await api.request("POST", SECRETS, token_secret("t", "none"))).status == 404
    body = {**token_secret("t", ""), "metadata": {"name": "t"}}
    refused = await api.request("POST", SECRETS, body)
    assert "metadata.annotations[kubernetes.io/service-account.name]: Required value" in refused.body["message"]


async def test_keys_are_published(api: InProcess) -> None:
    keys = (await api.request("GET", "/openid/v1/jwks")).body["keys"]
    assert (keys[0]["kty"], keys[0]["alg"]) == ("EC", "ES256")
    head = (await request_token(api)).split(".")[0]
    assert json.loads(base64.urlsafe_b64decode(head + "=="))["kid"] == keys[0]["kid"]
    issuer = (await api.request("GET", "/.well-known/openid-configuration")).body
    assert issuer["jwks_uri"] == "https://10.0.0.5:6443/openid/v1/jwks"


async def test_static_tokens_are_known_to_reviews(api: InProcess) -> None:
    status = await review(api, api.server.secrets.system_token)
    assert status["user"]["groups"] == ["system:masters", "system:authenticated"]
    assert "authenticated" not in await review(api, "nonsense")
