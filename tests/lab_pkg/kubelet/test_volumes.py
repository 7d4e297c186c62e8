"""Volumes: which files belong into them, and that readers never see half of a change."""

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.kubelet import volumes
from isthmus_lab.kubelet.container import Mount
from isthmus_lab.kubelet.env import ConfigError

POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "x"}},
    "spec": {"serviceAccountName": "sa", "containers": [{"name": "c"}]},
}
OBJECTS = {
    ("ConfigMap", "ns", "cm"): {"kind": "ConfigMap", "data": {"a": "1", "b": "2"}},
    ("Secret", "ns", "s"): {"kind": "Secret", "data": {"k": base64.b64encode(b"\x00v").decode()}},
}


def lookup(kind: str, namespace: str, name: str) -> dict[str, Any] | None:
    return OBJECTS.get((kind, namespace, name))


PROJECTED = {
    "name": "v",
    "projected": {
        "sources": [
            {"serviceAccountToken": {"path": "token", "audience": "istio-ca", "expirationSeconds": 600}},
            {"configMap": {"name": "cm", "items": [{"key": "a", "path": "deep/a"}]}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        ]
    },
}


@pytest.mark.parametrize(
    ("volume", "files"),
    [
        ({"name": "v", "emptyDir": {}}, None),
        ({"name": "v", "configMap": {"name": "cm"}}, {"a": b"1", "b": b"2"}),
        ({"name": "v", "configMap": {"name": "none", "optional": True}}, {}),
        ({"name": "v", "secret": {"secretName": "s"}}, {"k": b"\x00v"}),
        ({"name": "v", "secret": {"secretName": "s", "items": [{"key": "k", "path": "f"}]}}, {"f": b"\x00v"}),
        (PROJECTED, {"token": b"T", "deep/a": b"1", "labels": b'app="x"'}),
    ],
)
def test_contents(volume: dict[str, Any], files: dict[str, bytes] | None) -> None:
    assert volumes.payload(volume, POD, lookup, {"token": "T"}) == files


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"name": "v", "configMap": {"name": "none"}}, "ConfigMap 'none' not found in namespace ns"),
        ({"name": "v", "configMap": {"name": "cm", "items": [{"key": "z", "path": "z"}]}}, "has no key z"),
        ({"name": "v", "nfs": {"path": "/"}}, "volume v: nfs is not supported. Use emptyDir"),
        ({"name": "v", "projected": {"sources": [{"clusterTrustBundle": {}}]}}, "clusterTrustBundle is not supported"),
    ],
)
def test_what_cannot_be_filled_is_said(volume: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        volumes.payload(volume, POD, lookup, {})


def test_token_requests() -> None:
    (request,) = volumes.token_requests(PROJECTED)
    assert (request.path, request.audience, request.seconds) == ("token", "istio-ca", 600)
    body = volumes.token_request_body(request, POD)
    assert body["spec"]["audiences"] == ["istio-ca"]
    assert body["spec"]["boundObjectRef"]["uid"] == "u"
    assert volumes.refresh_after(600) == 480


def test_a_pod_gets_the_token_of_its_account_unless_it_says_no_or_has_it() -> None:
    (container,) = volumes.with_service_account(POD)["spec"]["containers"]
    assert container["volumeMounts"] == [
        {"name": "kube-api-access", "mountPath": volumes.TOKEN_DIRECTORY, "readOnly": True}
    ]
    refusing = {**POD, "spec": {**POD["spec"], "automountServiceAccountToken": False}}
    assert volumes.with_service_account(refusing) is refusing
    mounted = {"name": "c", "volumeMounts": [{"name": "x", "mountPath": volumes.TOKEN_DIRECTORY}]}
    admitted = {**POD, "spec": {**POD["spec"], "containers": [mounted]}}
    assert volumes.with_service_account(admitted) is admitted


def test_files_change_at_one_moment(tmp_path: Path) -> None:
    assert volumes.write_atomically(tmp_path, {"a": b"1", "deep/b": b"2"})
    generation = os.readlink(tmp_path / "..data")
    assert (tmp_path / "a").read_bytes() == b"1"
    assert (tmp_path / "deep" / "b").read_bytes() == b"2"
    assert not volumes.write_atomically(tmp_path, {"a": b"1", "deep/b": b"2"})
    assert os.readlink(tmp_path / "..data") == generation

    assert volumes.write_atomically(tmp_path, {"a": b"3"})
    assert (tmp_path / "a").read_bytes() == b"3"
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("..")) == ["a"]
    assert not (tmp_path / generation).exists()
    assert volumes.write_atomically(tmp_path, {})
    assert not (tmp_path / "a").exists()


def test_mounts(tmp_path: Path) -> None:
    container = {
        "volumeMounts": [
            {"name": "v", "mountPath": "/var/run/x", "readOnly": True},
            {"name": "v", "mountPath": "/var/run/y", "subPath": "f", "mountPropagation": "HostToContainer"},
        ]
    }
    assert list(volumes.mounts_of(container, {"v": tmp_path})) == [
        Mount(str(tmp_path), "/var/run/x", read_only=True),
        Mount(str(tmp_path / "f"), "/var/run/y", propagation="HostToContainer"),
    ]
    with pytest.raises(ConfigError, match="no such volume"):
        list(volumes.mounts_of(container, {}))


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/opt/cni/bin", "{host}/opt/cni/bin"),
        ("/etc/cni/net.d/", "{host}/etc/cni/net.d"),
        ("/run/isthmus", "/run/isthmus"),
        ("/var/run/netns", "/run/netns"),
        ("/var/running", "{host}/var/running"),
        ("/proc", "/proc"),
    ],
)
def test_a_host_path_is_the_nodes_and_not_this_machines(tmp_path: Path, path: str, place: str) -> None:
    assert volumes.host_path(path, tmp_path) == Path(place.format(host=tmp_path))


@pytest.mark.parametrize("path", ["etc", "/etc/../home"])
def test_a_host_path_cannot_leave_the_node(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="absolute path"):
        volumes.host_path(path, tmp_path)


def test_what_a_host_path_names_is_made_or_must_be_there(tmp_path: Path) -> None:
    def ensure(kind: str, place: Path) -> None:
        volumes.ensure_host_path({"name": "v", "hostPath": {"path": "/x", "type": kind}}, place)

    ensure("DirectoryOrCreate", tmp_path / "made" / "here")
    ensure("FileOrCreate", tmp_path / "made" / "file")
    ensure("Directory", tmp_path / "made")
    ensure("File", tmp_path / "made" / "file")
    ensure("", tmp_path / "too")
    assert (tmp_path / "too").is_dir()
    for kind, place in (("Directory", "missing"), ("File", "made"), ("Socket", "made"), ("Nonsense", "made")):
        with pytest.raises(ConfigError, match="hostPath type"):
            ensure(kind, tmp_path / place)
