"""What a request is about: verb, group, version, namespace, resource, name, subresource."""

from __future__ import annotations

from dataclasses import dataclass

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}
_NAMESPACE_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestInfo:
    """`is_resource` is false for paths such as /healthz; then only `path` and `verb` mean something."""

    path: str
    verb: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""  # what follows a subresource, as for proxy


def parse(method: str, path: str, *, watch: bool = False) -> RequestInfo:
    """`path` is decoded, without the query; `watch` is the query's flag."""
    verb = _VERBS.get(method, method.lower())
    other = RequestInfo(path=path, verb=verb)
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return other
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and not (len(rest) == 3 and rest[2] in _NAMESPACE_SUBRESOURCES):
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    if not name:
        verb = {"get": "watch" if watch else "list", "delete": "deletecollection"}.get(verb, verb)
    elif verb == "get" and watch:
        verb = "watch"
    return RequestInfo(
        path=path, verb=verb, is_resource=True, group=group, version=version, namespace=namespace, plural=rest[0],
        name=name, subresource=rest[2] if len(rest) > 2 else "", rest="/".join(rest[3:]),
    )  # fmt: skip


def selected_name(field_selector: str) -> str:
    """The one name that a list or watch is narrowed to: a right bound to that name suffices, as in Kubernetes."""
    for term in field_selector.split(","):
        field, _, value = term.partition("=")
        if field.strip() == "metadata.name":
            return value.removeprefix("=").strip()
    return ""
