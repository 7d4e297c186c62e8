"""Request builders: what to ask an API server, as data. Sending is the edge's part."""

from dataclasses import dataclass

import msgspec

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
JSON = "application/json"

Query = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the API names it in paths."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def root(self) -> str:
        """`/api/v1` for the core group, `/apis/<group>/<version>` for the others."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of the collection, of one object, or of a part of it."""
        parts = [self.root]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects of a kind: a namespace (empty: all), labels, fields."""

    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""

    @property
    def query(self) -> Query:
        """The selectors as query parameters."""
        pairs = (("labelSelector", self.label_selector), ("fieldSelector", self.field_selector))
        return tuple(pair for pair in pairs if pair[1])


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to an API server; `path` is below the server's address."""

    method: str
    path: str
    query: Query = ()
    body: bytes | None = None
    content_type: str = JSON


NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
NODES = Resource("", "v1", "nodes", namespaced=False)
SERVICES = Resource("", "v1", "services")
PODS = Resource("", "v1", "pods")
SECRETS = Resource("", "v1", "secrets")
CONFIG_MAPS = Resource("", "v1", "configmaps")
EVENTS = Resource("", "v1", "events")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices")
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", namespaced=False)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings")
WORKLOAD_ENTRIES = Resource("networking.istio.io", "v1", "workloadentries")
SERVICE_ENTRIES = Resource("networking.istio.io", "v1", "serviceentries")
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", namespaced=False)


def list_request(resource: Resource, scope: Scope = Scope(), *, limit: int = 0, continued: str = "") -> Request:
    """List a collection; `limit` objects a page, `continued` from the page before."""
    query = scope.query
    if limit:
        query += (("limit", str(limit)),)
    if continued:
        query += (("continue", continued),)
    return Request("GET", resource.path(scope.namespace), query)


def watch_request(resource: Resource, scope: Scope, *, version: str, timeout_seconds: int) -> Request:
    """Watch a collection from a resource version on, with bookmarks."""
    query = (
        *scope.query,
        ("watch", "1"),
        ("resourceVersion", version),
        ("allowWatchBookmarks", "true"),
        ("timeoutSeconds", str(timeout_seconds)),
    )
    return Request("GET", resource.path(scope.namespace), query)


def get_request(resource: Resource, namespace: str, name: str, subresource: str = "") -> Request:
    """Read one object, or a part of it."""
    return Request("GET", resource.path(namespace, name, subresource))


def create_request(
    resource: Resource, body: object, *, namespace: str = "", name: str = "", subresource: str = ""
) -> Request:
    """Create an object, or post to a subresource of one."""
    return Request("POST", resource.path(namespace, name, subresource), body=msgspec.json.encode(body))


def replace_request(resource: Resource, body: object, *, namespace: str, name: str, subresource: str = "") -> Request:
    """Replace an object; the server compares `metadata.resourceVersion` if it is given."""
    return Request("PUT", resource.path(namespace, name, subresource), body=msgspec.json.encode(body))


def patch_request(
    resource: Resource,
    body: object,
    *,
    namespace: str,
    name: str,
    content_type: str = MERGE_PATCH,
    subresource: str = "",
) -> Request:
    """Change an object, or a part of it, by a merge, strategic merge or JSON patch."""
    path = resource.path(namespace, name, subresource)
    return Request("PATCH", path, body=msgspec.json.encode(body), content_type=content_type)


def apply_request(
    resource: Resource, body: object, *, namespace: str, name: str, manager: str, force: bool = True
) -> Request:
    """Server-side apply in the name of a field manager."""
    query = (("fieldManager", manager), ("force", "true" if force else "false"))
    path = resource.path(namespace, name)
    return Request("PATCH", path, query, msgspec.json.encode(body), APPLY_PATCH)


def delete_request(resource: Resource, namespace: str, name: str, *, version: str = "") -> Request:
    """Delete one object; with `version` only if it is still that resourceVersion (409 otherwise)."""
    body = msgspec.json.encode({"preconditions": {"resourceVersion": version}}) if version else None
    return Request("DELETE", resource.path(namespace, name), body=body)
