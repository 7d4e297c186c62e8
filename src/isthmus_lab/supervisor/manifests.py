"""Kubernetes manifests of an example: which files go to which cluster, and where in the API an object belongs."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from isthmus.base.errors import UsageError
from isthmus.base.labels import DATAPLANE_MODE_LABEL
from isthmus_lab.kubelet.client import ApiClient
from isthmus_lab.world import DataPlane, World

Object = dict[str, Any]
FIELD_MANAGER = "isthmus-lab"
_FIRST = ("Namespace", "CustomResourceDefinition")


def files_for(directory: Path, cluster: str, *, everywhere: bool = True) -> list[Path]:
    """`all/*.yaml` and then `<cluster>/*.yaml`, each in the order of their names."""
    return [path for part in ("all", cluster)[not everywhere :] for path in sorted((directory / part).glob("*.yaml"))]


INJECTION_LABEL = "istio-injection"


def objects_in(world: World, cluster: str) -> list[Object]:
    """All objects of one cluster of a lab; a management cluster, which is no part of the mesh, gets only its own.

    Where the data plane is ambient, namespaces that ask for sidecars are captured instead.
    """
    found = objects_for(world.directories, cluster, everywhere=world.role(cluster) != "management")
    if world.cluster(cluster).data_plane is DataPlane.SIDECAR:
        return found
    return [as_ambient(item) if item["kind"] == "Namespace" else item for item in found]


def as_ambient(namespace: Object) -> Object:
    """The namespace with its pods captured by the proxies of their nodes, if they were to get sidecars."""
    labels = dict(namespace["metadata"].get("labels") or {})
    if labels.pop(INJECTION_LABEL, None) != "enabled":
        return namespace
    labels.setdefault(DATAPLANE_MODE_LABEL, DataPlane.AMBIENT.value)
    return {**namespace, "metadata": {**namespace["metadata"], "labels": labels}}


def objects_for(directories: Iterable[Path], cluster: str, *, everywhere: bool = True) -> list[Object]:
    """All objects of one cluster, with those for every cluster unless told otherwise.

    Those of a later directory replace the same ones of an earlier directory.
    UsageError: a file is not made of Kubernetes objects, or one directory has the same object twice.
    """
    found: dict[tuple[str, ...], Object] = {}
    for directory in directories:
        mine: dict[tuple[str, ...], Object] = {}
        for item in read(files_for(directory, cluster, everywhere=everywhere)):
            key = identity(item)
            if key in mine:
                raise UsageError(f"{directory} has {' '.join(filter(None, key))} twice", "Remove one of them.")
            mine[key] = item
        found |= mine
    return list(found.values())


def identity(item: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """What makes two manifests the same object: group, kind, namespace, name."""
    group, _, _ = str(item["apiVersion"]).rpartition("/")
    meta = item["metadata"]
    return group, str(item["kind"]), str(meta.get("namespace") or ""), str(meta["name"])


def read(paths: Iterable[Path]) -> list[Object]:
    """All objects of the files. UsageError: a file is not made of Kubernetes objects."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    objects: list[Object] = []
    for path in paths:
        try:
            documents = list(yaml.load_all(path.read_text(), Loader=loader))
        except yaml.YAMLError as error:
            raise UsageError(f"{path} is not YAML: {error}", "Correct that line.") from error
        for document in documents:
            if document is None:
                continue
            items = document.get("items") if isinstance(document, dict) and "items" in document else [document]
            for item in items or []:
                if not isinstance(item, dict) or not {"apiVersion", "kind", "metadata"} <= item.keys():
                    raise UsageError(f"{path}: not a Kubernetes object", "Give apiVersion, kind and metadata.")
                objects.append(item)
    return objects


def in_order(objects: Iterable[Object]) -> list[Object]:
    """Namespaces and CRDs first, everything else as it stands."""
    return sorted(objects, key=lambda o: o["kind"] not in _FIRST)


def fingerprint(objects: Iterable[Object]) -> str:
    """Tells whether manifests changed since they were applied."""
    digest = hashlib.sha256()
    for item in objects:
        digest.update(yaml.safe_dump(item, sort_keys=True).encode())
    return digest.hexdigest()


class Applier:
    """Applies objects to one API server; asks its discovery where each kind lives."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}

    async def apply(self, objects: Iterable[Object]) -> None:
        """Server-side apply in order. ApiError: the API server refused one; UsageError: it does not know a kind."""
        for item in in_order(objects):
            path = await self.path(item)
            await self._client.apply(path, item, manager=FIELD_MANAGER)

    async def path(self, item: Mapping[str, Any]) -> str:
        """The object's path in the API."""
        version, kind = str(item["apiVersion"]), str(item["kind"])
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        found = (await self._resources(version, base)).get(kind)
        if found is None:
            self._kinds.pop(version, None)
            found = (await self._resources(version, base)).get(kind)
        if found is None:
            raise UsageError(f"the cluster knows no {kind} in {version}", "Correct apiVersion and kind.")
        plural, namespaced = found
        meta = item["metadata"]
        place = f"/namespaces/{meta.get('namespace') or 'default'}" if namespaced else ""
        return f"{base}{place}/{plural}/{meta['name']}"

    async def _resources(self, version: str, base: str) -> dict[str, tuple[str, bool]]:
        if version not in self._kinds:
            answer = await self._client.get(base)
            self._kinds[version] = {
                r["kind"]: (r["name"], bool(r["namespaced"])) for r in answer["resources"] if "/" not in r["name"]
            }
        return self._kinds[version]
