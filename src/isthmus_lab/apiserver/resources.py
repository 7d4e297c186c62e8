"""What is served: the built-in resources and those that CustomResourceDefinitions add."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from isthmus_lab.apiserver import types
from isthmus_lab.apiserver.objects import JsonObject, items, lookup, section
from isthmus_lab.apiserver.schema import Schema, custom_root, parse_types

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CREATE_ONLY = ("create",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Version:
    """One served version of a resource."""

    name: str
    schema: Schema
    columns: tuple[JsonObject, ...] = ()  # of a custom resource
    status: bool = False  # has a status subresource
    scale: JsonObject | None = None  # paths of a custom resource's scale
    selectable: tuple[str, ...] = ()
    warning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resource:
    """One resource. `storage` is the name its objects are stored under; two groups may share one (events)."""

    group: str
    plural: str
    kind: str
    singular: str
    list_kind: str
    namespaced: bool
    versions: dict[str, Version]
    storage_version: str
    storage: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    custom: bool = False

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def api_version(self, version: str) -> str:
        return f"{self.group}/{version}" if self.group else version


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table of built-in resources."""

    api: str
    kind: str
    plural: str
    namespaced: bool = True
    short: str = ""
    categories: str = ""
    sub: str = ""
    schema: str = ""
    verbs: tuple[str, ...] = ALL_VERBS
    storage: str = ""


_CLUSTER = False
_EXTENSIONS = "api-extensions"
_ADMISSION = "admissionregistration.k8s.io/v1"
_RBAC = "rbac.authorization.k8s.io/v1"

_TABLE = (
    _Row("v1", "ConfigMap", "configmaps", short="cm"),
    _Row("v1", "Endpoints", "endpoints", short="ep"),
    _Row("v1", "Event", "events", short="ev"),
    _Row("v1", "Namespace", "namespaces", _CLUSTER, short="ns", sub="status finalize"),
    _Row("v1", "Node", "nodes", _CLUSTER, short="no", sub="status"),
    _Row(
        "v1", "Pod", "pods", short="po", categories="all",
        sub="status log exec portforward binding eviction",
    ),
    _Row("v1", "Secret", "secrets"),
    _Row("v1", "ServiceAccount", "serviceaccounts", short="sa", sub="token"),
    _Row("v1", "Service", "services", short="svc", categories="all", sub="status"),
    _Row("apps/v1", "Deployment", "deployments", short="deploy", categories="all", sub="status scale"),
    _Row("apps/v1", "ReplicaSet", "replicasets", short="rs", categories="all", sub="status scale"),
    _Row("apps/v1", "DaemonSet", "daemonsets", short="ds", categories="all", sub="status"),
    _Row("apps/v1", "StatefulSet", "statefulsets", short="sts", categories="all", sub="status scale"),
    _Row(
        "autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers",
        short="hpa", categories="all", sub="status",
    ),
    _Row("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", short="pdb", sub="status"),
    _Row("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
    _Row("coordination.k8s.io/v1", "Lease", "leases"),
    _Row("events.k8s.io/v1", "Event", "events", short="ev", schema="NewEvent", storage="events"),
    _Row(_RBAC, "Role", "roles"),
    _Row(_RBAC, "RoleBinding", "rolebindings"),
    _Row(_RBAC, "ClusterRole", "clusterroles", _CLUSTER),
    _Row(_RBAC, "ClusterRoleBinding", "clusterrolebindings", _CLUSTER),
    _Row(_ADMISSION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", _CLUSTER, categories=_EXTENSIONS),
    _Row(
        _ADMISSION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", _CLUSTER,
        categories=_EXTENSIONS,
    ),
    _Row(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", _CLUSTER,
        short="crd,crds", categories=_EXTENSIONS, sub="status",
    ),
    _Row("authentication.k8s.io/v1", "TokenReview", "tokenreviews", _CLUSTER, verbs=CREATE_ONLY),
    _Row("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews", _CLUSTER, verbs=CREATE_ONLY),
    _Row("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews", _CLUSTER, verbs=CREATE_ONLY),
    _Row("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", _CLUSTER, verbs=CREATE_ONLY),
    _Row("authorization.k8s.io/v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", _CLUSTER, verbs=CREATE_ONLY),
    _Row("authorization.k8s.io/v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", verbs=CREATE_ONLY),
)  # fmt: skip


@cache
def builtin_types() -> dict[str, Schema]:
    """All built-in types by name; read once."""
    return parse_types(types.SOURCES)


def split_api_version(text: str) -> tuple[str, str]:
    """`apps/v1` -> group and version; `v1` is of the core group."""
    group, _, version = text.rpartition("/")
    return group, version


def _builtin(row: _Row) -> Resource:
    group, version = split_api_version(row.api)
    subresources = tuple(row.sub.split())
    shape = builtin_types()[row.schema or row.kind]
    return Resource(
        group=group,
        plural=row.plural,
        kind=row.kind,
        singular=row.kind.lower(),
        list_kind=f"{row.kind}List",
        namespaced=row.namespaced,
        versions={version: Version(name=version, schema=shape, status="status" in subresources)},
        storage_version=version,
        storage=row.storage or (f"{row.plural}.{group}" if group else row.plural),
        short_names=tuple(filter(None, row.short.split(","))),
        categories=tuple(filter(None, row.categories.split(","))),
        subresources=subresources,
        verbs=row.verbs,
    )


def from_definition(crd: JsonObject) -> Resource:
    """The resource that a valid CustomResourceDefinition describes."""
    spec = crd["spec"]
    names = spec["names"]
    versions = {v["name"]: _custom_version(v) for v in spec["versions"] if v.get("served")}
    stored = next((v["name"] for v in spec["versions"] if v.get("storage")), "")
    subresources = []
    if any(version.status for version in versions.values()):
        subresources.append("status")
    if any(version.scale for version in versions.values()):
        subresources.append("scale")
    return Resource(
        group=spec["group"],
        plural=names["plural"],
        kind=names["kind"],
        singular=names.get("singular") or names["kind"].lower(),
        list_kind=names.get("listKind") or f"{names['kind']}List",
        namespaced=spec["scope"] == "Namespaced",
        versions=dict(sorted(versions.items(), key=lambda item: version_priority(item[0]))),
        storage_version=stored,
        storage=f"{names['plural']}.{spec['group']}",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(subresources),
        custom=True,
    )


def _custom_version(version: JsonObject) -> Version:
    shape = lookup(version, "schema", "openAPIV3Schema")
    subresources = section(version, "subresources")
    warning = ""
    if version.get("deprecated"):
        warning = str(version.get("deprecationWarning") or f"{version['name']} is deprecated")
    return Version(
        name=version["name"],
        schema=custom_root(shape, builtin_types()["ObjectMeta"]),
        columns=tuple(items(version, "additionalPrinterColumns")),
        status="status" in subresources,
        scale=subresources.get("scale"),
        selectable=tuple(str(f.get("jsonPath", "")).lstrip(".") for f in items(version, "selectableFields")),
        warning=warning,
    )


def version_priority(name: str) -> tuple[int, int, int, str]:
    """Sort key of versions as Kubernetes prefers them: v2, v1, v1beta2, v1beta1, v1alpha1, others by name."""
    import re

    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", name)
    if not found:
        return (3, 0, 0, name)
    stage = {None: 0, "beta": 1, "alpha": 2}[found.group(2)]
    return (stage, -int(found.group(1)), -int(found.group(3) or 0), "")


class Registry:
    """All resources now served. `revision` changes whenever they do."""

    def __init__(self) -> None:
        self._builtin = tuple(_builtin(row) for row in _TABLE)
        self._custom: dict[str, Resource] = {}
        self.revision = 0
        self._index()

    def _index(self) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        for resource in self.all():
            self._by_kind[resource.group, resource.kind] = resource
            for version in resource.versions:
                self._by_path[resource.group, version, resource.plural] = resource
        self.revision += 1

    def all(self) -> Iterable[Resource]:
        yield from self._builtin
        yield from self._custom.values()

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_path.get((group, version, plural))

    def by_kind(self, group: str, kind: str) -> Resource | None:
        return self._by_kind.get((group, kind))

    def by_storage(self, storage: str) -> Resource | None:
        if found := self._custom.get(storage):
            return found
        return next((r for r in self._builtin if r.storage == storage), None)

    def groups(self) -> dict[str, dict[str, list[Resource]]]:
        """Group -> version -> resources; groups and versions in order of preference."""
        found: dict[str, dict[str, list[Resource]]] = {}
        for resource in self.all():
            for version in resource.versions:
                found.setdefault(resource.group, {}).setdefault(version, []).append(resource)
        ordered = {
            group: found[group] for group in found if not any(r.custom for v in found[group].values() for r in v)
        }
        ordered |= {group: found[group] for group in sorted(found) if group not in ordered}
        return {
            group: dict(sorted(versions.items(), key=lambda item: version_priority(item[0])))
            for group, versions in ordered.items()
        }

    def add_custom(self, resource: Resource) -> None:
        self._custom[resource.storage] = resource
        self._index()

    def remove_custom(self, storage: str) -> None:
        if self._custom.pop(storage, None) is not None:
            self._index()
