"""Kubeconfig documents."""

import base64
from typing import Any

import pytest

from isthmus.kube.kubeconfig import Access, KubeconfigError, contexts, parse, select, server_host


def document(**changes: Any) -> dict[str, Any]:
    """Two clusters, two users, two contexts."""
    ca = base64.b64encode(b"CA").decode()
    return {
        "clusters": [
            {"name": "c1", "cluster": {"server": "https://one:6443/", "certificate-authority-data": ca}},
            {"name": "c2", "cluster": {"server": "https://two", "tls-server-name": "t", "proxy-url": "http://p"}},
        ],
        "users": [{"name": "u1", "user": {"token": "t1"}}, {"name": "u2", "user": {"tokenFile": "f"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c1", "user": "u1", "namespace": "n"}},
            {"name": "two", "context": {"cluster": "c2", "user": "u2"}},
        ],
        "current-context": "one",
    } | changes


def test_the_current_context_or_the_one_that_is_named() -> None:
    assert select(document()) == Access(server="https://one:6443", ca=b"CA", token="t1", namespace="n")
    assert select(document(), "two") == Access(
        server="https://two", tls_server_name="t", proxy_url="http://p", token_file="f"
    )


def test_an_only_context_need_not_be_current() -> None:
    only = document(**{"current-context": "", "contexts": document()["contexts"][:1]})
    assert select(only).server == "https://one:6443"


@pytest.mark.parametrize(
    ("context", "changes", "words"),
    [
        ("three", {}, "there is no context 'three'. Choose one of: one, two"),
        ("", {"current-context": ""}, "current-context: is not set. Choose one with --context: one, two"),
        ("", {"current-context": "", "contexts": []}, "(the file has none)"),
        ("", {"clusters": []}, "clusters: there is no entry 'c1'"),
        ("", {"users": None}, "users: there is no entry 'u1'"),
        ("", {"clusters": [{"name": "c1"}]}, "clusters[].cluster.server: is missing"),
        ("", {"clusters": [{"name": "c1", "cluster": {"server": "one"}}]}, "'one' is no URL"),
        ("", {"users": [{"name": "u1", "user": {"token": 1}}]}, "users[].user.token: is no string"),
        ("", {"users": [{"name": "u1", "user": {"client-key-data": "%"}}]}, "is no base64"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(context: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(KubeconfigError) as error:
        select(document(**changes), context)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"), [("a: [", "no YAML in line"), ("[]", "no kubeconfig"), (b"\xff\xfe\x00", "is no")]
)
def test_what_is_no_document(text: str | bytes, words: str) -> None:
    with pytest.raises(KubeconfigError, match=words):
        parse(text)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.example:6443", "api.example"),
        ("http://10.0.0.1", "10.0.0.1"),
        ("https://[fd00::1]:6443/", "fd00::1"),
        ("https://rancher/k8s/clusters/c-1", "rancher"),
        ("https://a:99999", ""),
        ("https://a:0", ""),
        ("https://", ""),
        ("a:6443", ""),
        ("https://user@a", ""),
        ("ftp://a", ""),
        ("https://a b", ""),
    ],
)
def test_servers(url: str, host: str) -> None:
    assert server_host(url) == host


def test_names_and_credentials() -> None:
    assert contexts(document()) == ("one", "two")
    assert select(document()).has_credentials
    assert not Access(server="https://x").has_credentials
    assert "t1" not in repr(select(document()))
