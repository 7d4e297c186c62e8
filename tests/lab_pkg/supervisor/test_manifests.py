"""An example's manifests: which files, in which order, where they go."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from isthmus.base.errors import UsageError
from isthmus_lab.kubelet.client import ApiClient
from isthmus_lab.supervisor import manifests


def test_files_of_all_clusters_come_before_those_of_one(tmp_path: Path) -> None:
    for name in ("all/20-b.yaml", "all/10-a.yaml", "east/00.yaml", "west/00.yaml", "all/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = manifests.files_for(tmp_path, "east")
    assert [str(p.relative_to(tmp_path)) for p in found] == ["all/10-a.yaml", "all/20-b.yaml", "east/00.yaml"]
    assert manifests.files_for(tmp_path, "north") == found[:2]


def test_objects_lists_and_empty_documents(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\n"
        "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Namespace, metadata: {name: b}}]\n"
    )
    objects = manifests.read([path])
    assert [o["metadata"]["name"] for o in objects] == ["a", "b"]
    assert [o["kind"] for o in manifests.in_order(objects)] == ["Namespace", "ConfigMap"]
    assert manifests.fingerprint(objects) != manifests.fingerprint(objects[:1])


def config_map(name: str, value: str) -> str:
    return f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: n}}\ndata: {{key: {value}}}\n"


def test_an_object_of_a_later_directory_replaces_the_same_of_an_earlier_one(tmp_path: Path) -> None:
    for name, text in (("common/all/a.yaml", config_map("a", "common") + config_map("b", "common")),
                       ("mine/east/a.yaml", config_map("a", "mine"))):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    found = manifests.objects_for([tmp_path / "common", tmp_path / "mine"], "east")
    assert {o["metadata"]["name"]: o["data"]["key"] for o in found} == {"a": "mine", "b": "common"}


def test_an_object_twice_in_one_directory_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "a.yaml").write_text(config_map("a", "x") + config_map("a", "y"))
    with pytest.raises(UsageError, match="has ConfigMap n a twice"):
        manifests.objects_for([tmp_path], "east")


@pytest.mark.parametrize(("text", "said"), [("a: [", "is not YAML"), ("kind: Pod", "not a Kubernetes object")])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        manifests.read([path])


class FakeClient(ApiClient):
    """Discovery of two groups; notes what is applied."""

    def __init__(self) -> None:
        super().__init__("", "")
        self.applied: list[str] = []

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        resources = {
            "/api/v1": [("namespaces", "Namespace", False), ("pods", "Pod", True), ("pods/log", "Pod", True)],
            "/apis/apps/v1": [("deployments", "Deployment", True)],
        }[path]
        return {"resources": [{"name": n, "kind": k, "namespaced": s} for n, k, s in resources]}

    async def apply(self, path: str, body: dict[str, Any], *, manager: str) -> dict[str, Any]:
        self.applied.append(path)
        return body


def item(version: str, kind: str, namespace: str = "") -> dict[str, Any]:
    metadata = {"name": "x", **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def test_objects_find_their_place_by_discovery() -> None:
    client = FakeClient()
    objects = [item("v1", "Pod"), item("apps/v1", "Deployment", "ns"), item("v1", "Namespace")]
    asyncio.run(manifests.Applier(client).apply(objects))
    assert client.applied == [
        "/api/v1/namespaces/x",
        "/api/v1/namespaces/default/pods/x",
        "/apis/apps/v1/namespaces/ns/deployments/x",
    ]
    with pytest.raises(UsageError, match="knows no Gadget in v1"):
        asyncio.run(manifests.Applier(client).apply([item("v1", "Gadget")]))


def namespace(**labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": labels}}


@pytest.mark.parametrize(
    ("written", "ambient"),
    [
        ({"istio-injection": "enabled", "team": "a"}, {"team": "a", "istio.io/dataplane-mode": "ambient"}),
        (
            {"istio-injection": "enabled", "istio.io/dataplane-mode": "none"},
            {"istio.io/dataplane-mode": "none"},
        ),
        ({"istio-injection": "disabled"}, {"istio-injection": "disabled"}),
        ({}, {}),
    ],
)
def test_namespaces_that_ask_for_sidecars_are_captured_where_the_data_plane_is_ambient(
    written: dict[str, str], ambient: dict[str, str]
) -> None:
    assert manifests.as_ambient(namespace(**written)) == namespace(**ambient)
