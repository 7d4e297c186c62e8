"""What the server says it serves: /api, /apis, per version, and aggregated in one document."""

from __future__ import annotations

import hashlib

from isthmus_lab.apiserver.objects import JsonObject, encode
from isthmus_lab.apiserver.resources import ALL_VERBS, Registry, Resource

VERSION: JsonObject = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+isthmus",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}

_UPDATE_VERBS = ("get", "patch", "update")
# subresource -> (verbs, group, version, kind); an empty kind means the resource's own
_SUBRESOURCES: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "status": (_UPDATE_VERBS, "", "", ""),
    "scale": (_UPDATE_VERBS, "autoscaling", "v1", "Scale"),
    "log": (("get",), "", "", ""),
    "exec": (("create", "get"), "", "v1", "PodExecOptions"),
    "portforward": (("create", "get"), "", "v1", "PodPortForwardOptions"),
    "binding": (("create",), "", "v1", "Binding"),
    "eviction": (("create",), "policy", "v1", "Eviction"),
    "token": (("create",), "authentication.k8s.io", "v1", "TokenRequest"),
    "finalize": (("update",), "", "", ""),
}


def etag(document: bytes) -> str:
    return hashlib.sha256(document).hexdigest()[:32].upper()


def core_versions(address: str) -> JsonObject:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(registry: Registry) -> JsonObject:
    groups = [_group(name, list(versions)) for name, versions in registry.groups().items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> JsonObject | None:
    versions = registry.groups().get(name)
    if not name or versions is None:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, list(versions))}


def _group(name: str, versions: list[str]) -> JsonObject:
    served = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": served, "preferredVersion": served[0]}


def resource_list(registry: Registry, group_name: str, version: str) -> JsonObject | None:
    found = registry.groups().get(group_name, {}).get(version)
    if found is None:
        return None
    rows: list[JsonObject] = []
    for resource in found:
        rows.append(_row(resource, version))
        rows += [_subresource_row(resource, version, name) for name in _subresources(resource, version)]
    api_version = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": rows}


def _subresources(resource: Resource, version: str) -> list[str]:
    if not resource.custom:
        return list(resource.subresources)
    served = resource.versions[version]
    return [name for name, there in (("status", served.status), ("scale", served.scale)) if there]


def _row(resource: Resource, version: str) -> JsonObject:
    row: JsonObject = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    if resource.verbs == ALL_VERBS:
        row["storageVersionHash"] = etag(f"{resource.group}/{version}/{resource.plural}".encode())[:12]
    return row


def _subresource_row(resource: Resource, version: str, name: str) -> JsonObject:
    verbs, group_name, group_version, kind = _SUBRESOURCES[name]
    row: JsonObject = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind or resource.kind,
        "verbs": list(verbs),
    }
    if kind and group_name:
        row |= {"group": group_name, "version": group_version}
    return row


# --- aggregated discovery (apidiscovery.k8s.io/v2)


def wants_aggregated(accept: str) -> str:
    """The version of aggregated discovery that the client prefers; empty when it wants the plain one."""
    for part in accept.split(","):
        if "g=apidiscovery.k8s.io" in part and "as=APIGroupDiscoveryList" in part:
            for version in ("v2", "v2beta1"):
                if f"v={version}" in part.replace(" ", "").split(";"):
                    return version
    return ""


def aggregated_type(version: str) -> str:
    return f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


def aggregated(registry: Registry, *, core: bool, version: str) -> bytes:
    """All groups but the core one, or the core one alone, with their resources."""
    groups = [_discovery_group(name, versions) for name, versions in registry.groups().items() if (name == "") == core]
    document: JsonObject = {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": groups,
    }
    return encode(document)


def _discovery_group(name: str, versions: dict[str, list[Resource]]) -> JsonObject:
    served = [
        {
            "version": version,
            "resources": [_discovery_resource(resource, version) for resource in found],
            "freshness": "Current",
        }
        for version, found in versions.items()
    ]
    return {"metadata": {"name": name, "creationTimestamp": None} if name else {}, "versions": served}


def _discovery_resource(resource: Resource, version: str) -> JsonObject:
    row: JsonObject = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    subresources = []
    for name in _subresources(resource, version):
        verbs, group_name, group_version, kind = _SUBRESOURCES[name]
        response = {
            "group": group_name if kind else resource.group,
            "version": group_version if kind else version,
            "kind": kind or resource.kind,
        }
        subresources.append({"subresource": name, "responseKind": response, "verbs": list(verbs)})
    if subresources:
        row["subresources"] = subresources
    return row
