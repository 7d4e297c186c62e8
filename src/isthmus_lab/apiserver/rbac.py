"""May this user do this? Roles and bindings, as rbac.authorization.k8s.io/v1 says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from isthmus_lab.apiserver.identity import MASTERS, User
from isthmus_lab.apiserver.objects import JsonObject, items, section
from isthmus_lab.apiserver.store import Store

GROUP = "rbac.authorization.k8s.io"
_ROLES, _CLUSTER_ROLES = f"roles.{GROUP}", f"clusterroles.{GROUP}"
_BINDINGS, _CLUSTER_BINDINGS = f"rolebindings.{GROUP}", f"clusterrolebindings.{GROUP}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What is asked: an action on a resource, or on a path when `path` is set."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


def rule_allows(rule: JsonObject, ask: Attributes) -> bool:
    if not _has(rule, "verbs", ask.verb):
        return False
    if ask.path:
        return any(_path_matches(pattern, ask.path) for pattern in items(rule, "nonResourceURLs"))
    if not _has(rule, "apiGroups", ask.group) or not _resource_matches(rule, ask):
        return False
    names = items(rule, "resourceNames")
    return not names or (bool(ask.name) and ask.name in names)


def _has(rule: JsonObject, field: str, wanted: str) -> bool:
    found = items(rule, field)
    return wanted in found or "*" in found


def _resource_matches(rule: JsonObject, ask: Attributes) -> bool:
    combined = f"{ask.resource}/{ask.subresource}" if ask.subresource else ask.resource
    for pattern in items(rule, "resources"):
        if pattern in ("*", combined):
            return True
        if ask.subresource and pattern == f"*/{ask.subresource}":
            return True
    return False


def _path_matches(pattern: str, path: str) -> bool:
    if pattern in ("*", path):
        return True
    return pattern.endswith("*") and path.startswith(pattern[:-1])


class Authorizer:
    """Reads roles and bindings from the store; nothing is cached, they are few."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allows(self, user: User, ask: Attributes) -> bool:
        if MASTERS in user.groups:
            return True
        return any(rule_allows(rule, ask) for rule in self.rules(user, ask.namespace))

    def rules(self, user: User, namespace: str) -> Iterator[JsonObject]:
        """All rules the user has in a namespace; those for the whole cluster where it is empty."""
        for binding in self._store.list(_CLUSTER_BINDINGS):
            if _binds(binding.obj, user, ""):
                yield from self._role_rules(binding.obj, "")
        if not namespace:
            return
        for binding in self._store.list(_BINDINGS, namespace):
            if _binds(binding.obj, user, namespace):
                yield from self._role_rules(binding.obj, namespace)

    def _role_rules(self, binding: JsonObject, namespace: str) -> Iterator[JsonObject]:
        ref = section(binding, "roleRef")
        name = str(ref.get("name", ""))
        if ref.get("kind") == "Role":
            role = self._store.get(_ROLES, namespace, name)
        else:
            role = self._store.get(_CLUSTER_ROLES, "", name)
        if role is not None:
            yield from items(role.obj, "rules")


def _binds(binding: JsonObject, user: User, namespace: str) -> bool:
    return any(_is_subject(subject, user, namespace) for subject in items(binding, "subjects"))


def _is_subject(subject: JsonObject, user: User, namespace: str) -> bool:
    kind, name = subject.get("kind"), subject.get("name")
    if kind == "User":
        return name == user.name
    if kind == "Group":
        return name in user.groups
    if kind == "ServiceAccount":
        return user.name == f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
    return False


def denial(user: User, ask: Attributes) -> str:
    """Why, in the words of the API server."""
    if ask.path:
        return f'User "{user.name}" cannot {ask.verb} path "{ask.path}"'
    resource = f"{ask.resource}/{ask.subresource}" if ask.subresource else ask.resource
    where = f' in the namespace "{ask.namespace}"' if ask.namespace else " at the cluster scope"
    return f'User "{user.name}" cannot {ask.verb} resource "{resource}" in API group "{ask.group}"{where}'


def everything(user: User) -> list[JsonObject]:
    """The rules of somebody whom no role limits; empty for everybody else."""
    if MASTERS not in user.groups:
        return []
    every = ["*"]
    return [
        {"verbs": every, "apiGroups": every, "resources": every},
        {"verbs": every, "nonResourceURLs": every},
    ]
