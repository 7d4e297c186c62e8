"""OpenAPI v3 per group and version, and v2 in one document: what kubectl validates, merges and explains with."""

from __future__ import annotations

from isthmus_lab.apiserver.discovery import VERSION, etag
from isthmus_lab.apiserver.objects import JsonObject, encode
from isthmus_lab.apiserver.resources import CREATE_ONLY, Registry, Resource, builtin_types
from isthmus_lab.apiserver.schema import Schema, reachable

_TYPES = "io.k8s.types."
_TYPE_TEXT = (
    ("apiVersion", "APIVersion defines the versioned schema of this representation of an object."),
    ("kind", "Kind is a string value representing the REST resource this object represents."),
)


def schema_name(resource: Resource, version: str) -> str:
    """`io.k8s.api.apps.v1.Deployment`; a custom kind is named after its group reversed."""
    if resource.custom:
        return ".".join([*reversed(resource.group.split(".")), version, resource.kind])
    return f"io.k8s.api.{resource.group.split('.')[0] or 'core'}.{version}.{resource.kind}"


class OpenApi:
    """Documents by path, made when first asked for and again after the served resources change."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision = -1
        self._made: dict[str, bytes] = {}

    def _cached(self, key: str) -> bytes | None:
        if self._revision != self._registry.revision:
            self._revision = self._registry.revision
            self._made.clear()
        return self._made.get(key)

    def index(self) -> bytes:
        """/openapi/v3: where each group's document is; the hash changes with its content."""
        found = self._cached("index")
        if found is None:
            paths = {}
            for group, versions in self._registry.groups().items():
                for version in versions:
                    path = f"apis/{group}/{version}" if group else f"api/{version}"
                    body = self.group(group, version) or b""
                    paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={etag(body)}"}
            found = self._made["index"] = encode({"paths": paths})
        return found

    def group(self, group: str, version: str) -> bytes | None:
        """The v3 document of one group version; None when it is not served."""
        key = f"v3/{group}/{version}"
        found = self._cached(key)
        if found is None:
            resources = self._registry.groups().get(group, {}).get(version)
            if resources is None:
                return None
            writer = _Writer("#/components/schemas/")
            document = {
                "openapi": "3.0.0",
                "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
                "paths": _paths(resources, version, writer, v3=True),
                "components": {"schemas": writer.schemas(resources, version)},
            }
            found = self._made[key] = encode(document)
        return found

    def v2(self) -> bytes:
        """Everything in one Swagger 2.0 document."""
        found = self._cached("v2")
        if found is None:
            writer = _Writer("#/definitions/")
            paths: JsonObject = {}
            definitions: JsonObject = {}
            for versions in self._registry.groups().values():
                for version, resources in versions.items():
                    paths |= _paths(resources, version, writer, v3=False)
                    definitions |= writer.schemas(resources, version)
            document = {
                "swagger": "2.0",
                "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
                "paths": paths,
                "definitions": definitions,
            }
            found = self._made["v2"] = encode(document)
        return found


class _Writer:
    """Schemas in OpenAPI; `prefix` is where references point."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def ref(self, name: str) -> JsonObject:
        return {"$ref": self._prefix + name}

    def schemas(self, resources: list[Resource], version: str) -> JsonObject:
        found: JsonObject = {}
        types = builtin_types()
        needed = {"ObjectMeta", "ListMeta", "Status"}
        for resource in resources:
            shape = resource.versions[version].schema
            root = self.root(resource, version)
            found[schema_name(resource, version)] = root
            needed |= {"ObjectMeta"} if resource.custom else set(reachable(types, shape.ref)) - {shape.ref}
        for name in sorted({ref for start in needed for ref in reachable(types, start)}):
            found[_TYPES + name] = self.node(types[name], top=True)
        return found

    def root(self, resource: Resource, version: str) -> JsonObject:
        """A kind's schema, with the fields that every object has."""
        node = resource.versions[version].schema
        found = self.node(node, top=True)
        own = {key: {"type": "string", "description": text} for key, text in _TYPE_TEXT}
        found["properties"] = own | {k: v for k, v in (found.get("properties") or {}).items() if k not in own}
        found["properties"]["metadata"] = {
            "description": "Standard object's metadata.",
            "default": {},
            "allOf": [self.ref(_TYPES + "ObjectMeta")],
        }
        found["x-kubernetes-group-version-kind"] = [_gvk(resource, version)]
        return found

    def node(self, schema: Schema, *, top: bool = False) -> JsonObject:
        """`top` writes a type out; elsewhere it is referred to."""
        if schema.source is not None:
            return dict(schema.source)
        found: JsonObject = {}
        if schema.description:
            found["description"] = schema.description
        if schema.ref and not top:
            found["allOf"] = [self.ref(_TYPES + schema.ref)]
            return found | self._extensions(schema)
        if schema.int_or_string:
            found |= {"oneOf": [{"type": "string"}, {"type": "integer" if schema.format != "quantity" else "number"}]}
        elif schema.type:
            found["type"] = schema.type
        if schema.format:
            found["format"] = schema.format
        if schema.properties:
            found["properties"] = {key: self.node(sub) for key, sub in schema.properties.items()}
        if schema.items is not None:
            found["items"] = self.node(schema.items)
        if schema.values is not None:
            found["additionalProperties"] = self.node(schema.values)
        if schema.required:
            found["required"] = list(schema.required)
        if schema.default is not None:
            found["default"] = schema.default
        if schema.enum:
            found["enum"] = list(schema.enum)
        return found | self._extensions(schema)

    def _extensions(self, schema: Schema) -> JsonObject:
        found: JsonObject = {}
        if schema.type == "array":
            found["x-kubernetes-list-type"] = schema.list_type or "atomic"
        if schema.list_type == "map":
            found |= {
                "x-kubernetes-list-map-keys": list(schema.keys),
                "x-kubernetes-patch-merge-key": schema.merge_key,
                "x-kubernetes-patch-strategy": "merge,retainKeys" if schema.retain_keys else "merge",
            }
        elif schema.list_type == "set":
            found["x-kubernetes-patch-strategy"] = "merge"
        elif schema.retain_keys:
            found["x-kubernetes-patch-strategy"] = "retainKeys"
        if schema.atomic and schema.type == "object":
            found["x-kubernetes-map-type"] = "atomic"
        if schema.preserve:
            found["x-kubernetes-preserve-unknown-fields"] = True
        return found


def _gvk(resource: Resource, version: str) -> JsonObject:
    return {"group": resource.group, "kind": resource.kind, "version": version}


def _paths(resources: list[Resource], version: str, writer: _Writer, *, v3: bool) -> JsonObject:
    paths: JsonObject = {}
    for resource in resources:
        prefix = f"/apis/{resource.group}/{version}" if resource.group else f"/api/{version}"
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        collection = f"{prefix}{scope}/{resource.plural}"
        if resource.verbs == CREATE_ONLY:
            paths[collection] = _operations(resource, version, ["post"], writer, v3=v3)
            continue
        paths[collection] = _operations(resource, version, ["get", "post", "delete"], writer, v3=v3)
        paths[collection + "/{name}"] = _operations(resource, version, ["get", "put", "patch", "delete"], writer, v3=v3)
        if scope:
            paths[f"{prefix}/{resource.plural}"] = _operations(resource, version, ["get"], writer, v3=v3)
    return paths


_QUERY = {
    "post": ("dryRun", "fieldManager", "fieldValidation"),
    "put": ("dryRun", "fieldManager", "fieldValidation"),
    "patch": ("dryRun", "fieldManager", "fieldValidation", "force"),
    "delete": ("dryRun", "gracePeriodSeconds", "propagationPolicy"),
    "get": ("labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch"),
}


def _operations(resource: Resource, version: str, methods: list[str], writer: _Writer, *, v3: bool) -> JsonObject:
    return {method: _operation(resource, version, method, writer, v3=v3) for method in methods}


def _operation(resource: Resource, version: str, method: str, writer: _Writer, *, v3: bool) -> JsonObject:
    body = writer.ref(schema_name(resource, version))
    parameters: list[JsonObject] = []
    for name in _QUERY[method]:
        shape: JsonObject = {"schema": {"type": "string", "uniqueItems": True}} if v3 else {"type": "string"}
        parameters.append({"name": name, "in": "query", **shape})
    content = {"content": {"application/json": {"schema": body}}} if v3 else {"schema": body}
    operation: JsonObject = {
        "operationId": f"{method}{resource.group.title().replace('.', '')}{version.title()}{resource.kind}",
        "parameters": parameters,
        "responses": {"200": {"description": "OK", **content}},
        "x-kubernetes-action": method,
        "x-kubernetes-group-version-kind": _gvk(resource, version),
    }
    if method in ("post", "put", "patch") and v3:
        operation["requestBody"] = {"content": {"*/*": {"schema": body}}, "required": True}
    return operation
