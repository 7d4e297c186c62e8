"""Remote secrets (RS2, RS3, RS8)."""

import base64
import json
from typing import Any

import pytest

from isthmus.base.errors import Severity
from isthmus.ingest.place import Place
from isthmus.ingest.secrets import kubeconfig_files, observe_secret, remote_clusters, remote_secret
from isthmus.kube.objects import Metadata, Secret

PLACE = Place("east")


def encoded(text: bytes | str) -> str:
    """Base64."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def config(user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None) -> str:
    """A kubeconfig in base64."""
    return encoded(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": "https://w:6443"} | (cluster or {})}],
                "users": [{"name": "u", "user": {"token": "t"} if user is None else user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )


def secret(data: dict[str, str] | None, *, name: str = "s", created: str = "2026-01-01T00:00:00Z") -> Secret:
    """A remote secret."""
    return Secret(metadata=Metadata(name=name, namespace="istio-system", creation_timestamp=created), data=data)


def test_each_key_is_a_cluster() -> None:
    found, problems = remote_secret(PLACE, secret({"west": config(), "south": config({"token": "u"})}))
    assert problems == []
    assert [(c.id, c.secret, c.access and c.access.token) for c in found] == [
        ("south", "istio-system/s", "u"),
        ("west", "istio-system/s", "t"),
    ]
    assert found[0].digest != found[1].digest


def test_the_own_cluster_is_ignored_rs3() -> None:
    found, problems = remote_secret(PLACE, secret({"east": config()}))
    assert found == []
    assert [(p.field, p.severity) for p in problems] == [("data.east", Severity.WARNING)]


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({"token": "t", "exec": {"command": "sh"}}, "users[].user.exec"),
        ({"tokenFile": "/etc/shadow"}, "users[].user.tokenFile"),
        ({"client-certificate": "/a", "client-key-data": "aa=="}, "users[].user.client-certificate"),
        ({"client-certificate-data": "YQ==", "client-key": "/a"}, "users[].user.client-key"),
        ({"auth-provider": {"name": "gcp"}}, "users[].user.auth-provider"),
        ({"token": 5}, "users[].user.token"),
        ({}, "users[].user"),
    ],
)
def test_sanitisation_rs8(user: dict[str, Any], field: str) -> None:
    found, problems = remote_secret(PLACE, secret({"west": config(user)}))
    (cluster,) = found
    assert cluster.access is None
    assert cluster.error.startswith("kubeconfig: ")
    assert [p.field for p in problems] == [f"data.west.{field}"]
    assert problems[0].remedy


def test_allowed_credentials_rs8() -> None:
    oidc = {"auth-provider": {"name": "oidc", "config": {"id-token": "i"}}}
    certificate = {"client-certificate-data": "YQ==", "client-key-data": "Yg=="}
    found, problems = remote_secret(PLACE, secret({"a": config(oidc), "b": config(certificate)}))
    assert problems == []
    assert found[0].access is not None
    assert found[0].access.token == "i"
    assert found[1].access is not None
    assert (found[1].access.client_cert, found[1].access.client_key) == (b"a", b"b")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("%%%", "is no base64"),
        (encoded("}{"), "is no YAML"),
        (encoded("text"), "is no kubeconfig"),
        (encoded("{}"), "is not set"),
        (config(cluster={"server": "w:6443"}), "is no URL"),
        (config(cluster={"certificate-authority": "/ca"}), "names a file"),
        (config(cluster={"certificate-authority-data": "%"}), "is no base64"),
    ],
)
def test_unusable_kubeconfigs_are_told(value: str, words: str) -> None:
    found, problems = remote_secret(PLACE, secret({"west": value}))
    assert found[0].access is None
    assert words in found[0].error
    assert words in problems[0].message


@pytest.mark.parametrize("cluster", [{"insecure-skip-tls-verify": True}, {"server": "http://w:8080"}])
def test_insecure_connections_are_warned_of(cluster: dict[str, Any]) -> None:
    found, problems = remote_secret(PLACE, secret({"west": config(cluster=cluster)}))
    assert found[0].access is not None
    assert [p.severity for p in problems] == [Severity.WARNING]


def test_nothing_secret_is_shown() -> None:
    found, _ = remote_secret(PLACE, secret({"west": config({"token": "very-secret"})}))
    assert "very-secret" not in repr(found)


def test_an_empty_secret_is_told() -> None:
    found, problems = remote_secret(PLACE, secret(None))
    assert found == []
    assert problems[0].field == "data"


def test_the_older_of_two_secrets_counts_rs3() -> None:
    old = secret({"west": config()}, name="z", created="2026-01-01T00:00:00Z")
    new = secret({"west": config({"token": "n"}), "south": config()}, name="a", created="2026-02-01T00:00:00Z")
    for order in ([old, new], [new, old]):
        found, problems = remote_clusters(PLACE, order)
        assert {name: c.secret for name, c in found.items()} == {"west": "istio-system/z", "south": "istio-system/a"}
        assert [(p.where.name, p.field) for p in problems] == [("a", "data.west")]


def test_an_undecodable_secret_names_itself() -> None:
    found = observe_secret(PLACE)(b'{"metadata":{"name":"s","namespace":"n"},"data":{"west":5}}')
    assert found.key == ("n", "s")
    assert found.secret is None
    assert found.problem is not None
    assert found.problem.field == "data[...]"


FILE = b"""
clusters: [{name: west, cluster: {server: "https://w:6443"}}, {name: south, cluster: {server: "https://s:6443"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: south, user: u}}, {name: y, context: {cluster: west, user: u}}]
current-context: y
"""


@pytest.mark.parametrize(
    ("text", "cluster"),
    [
        (FILE, "west"),
        (FILE.replace(b"current-context: y", b""), "south"),
        (b'clusters: [{name: only, cluster: {server: "https://o"}}]', "only"),
    ],
)
def test_a_file_is_about_the_cluster_of_its_context(text: bytes, cluster: str) -> None:
    """RS9: the current context's cluster, else the first context's, else the first."""
    found, _ = kubeconfig_files(Place("east"), {"f": text}, taken=())
    assert [(one.id, one.secret) for one in found.values()] == [(cluster, "file f")]


def test_of_two_files_with_one_cluster_the_first_counts_and_the_other_is_reported() -> None:
    other = FILE.replace(b"token: t", b"token: other")
    found, problems = kubeconfig_files(Place("east"), {"b": other, "a": FILE}, taken=())
    assert found["west"].access is not None
    assert (found["west"].secret, found["west"].access.token) == ("file a", "t")
    assert [problem.where.name for problem in problems] == ["b"]


@pytest.mark.parametrize("taken", [{"west"}, set()])
def test_a_cluster_that_a_secret_gives_or_that_is_ours_is_not_taken_from_a_file(taken: set[str]) -> None:
    found, problems = kubeconfig_files(Place("east" if taken else "west"), {"a": FILE}, taken=taken)
    assert found == {}
    assert [problem.severity for problem in problems] == [Severity.WARNING]


@pytest.mark.parametrize("text", [b"\t", b"{}", FILE.replace(b"token: t", b"exec: {command: rm}")])
def test_a_file_that_is_not_usable_is_reported(text: bytes) -> None:
    """RS8: files are held to the same rules as secrets."""
    found, problems = kubeconfig_files(Place("east"), {"a": text}, taken=())
    assert not [one for one in found.values() if one.access]
    assert [problem.where.name for problem in problems] == ["a"]
