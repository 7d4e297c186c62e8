"""A container's environment and command line, out of its spec: pure."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Object = dict[str, Any]
Lookup = Callable[[str, str, str], Object | None]
"""(kind, namespace, name) -> ConfigMap or Secret as the API server holds it, or None."""

_REFERENCE = re.compile(r"\$(?:\$|\(([-._a-zA-Z0-9]+)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_SUFFIXES = {
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
}  # fmt: skip


class ConfigError(Exception):
    """The container cannot be configured yet; Kubernetes calls this CreateContainerConfigError."""


def expand(text: str, known: Mapping[str, str]) -> str:
    """Put values in place of `$(NAME)`; unknown names stay as they are and `$$` is a `$`, as in Kubernetes."""

    def one(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return "$"
        return known.get(match.group(1), match.group(0))

    return _REFERENCE.sub(one, text)


def field_value(pod: Object, path: str) -> str:
    """The downward API's field `path` of the pod. ConfigError: not one that Kubernetes offers."""
    meta, spec, status = pod["metadata"], pod.get("spec", {}), pod.get("status", {})
    match = _SUBSCRIPT.fullmatch(path)
    if match:
        return str(meta.get(match.group(1), {}).get(match.group(2), ""))
    if path in ("metadata.labels", "metadata.annotations"):
        values = meta.get(path.partition(".")[2]) or {}
        return "\n".join(f"{key}={_quoted(str(values[key]))}" for key in sorted(values))
    simple = {
        "metadata.name": meta.get("name"),
        "metadata.namespace": meta.get("namespace"),
        "metadata.uid": meta.get("uid"),
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.podIP": status.get("podIP"),
        "status.podIPs": status.get("podIP"),
        "status.hostIP": status.get("hostIP"),
        "status.hostIPs": status.get("hostIP"),
    }
    if path not in simple:
        raise ConfigError(f"fieldPath {path!r} is not offered. Use one of: {', '.join(simple)}")
    return str(simple[path] or "")


def _quoted(value: str) -> str:
    """As Go's %q, which the kubelet uses for label and annotation files."""
    out = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + out.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r") + '"'


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number: `500m` is 0.5, `1Gi` is 2^30."""
    for suffix, factor in _SUFFIXES.items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)


def resource_value(container: Object, reference: Object) -> str:
    """`limits.cpu`, `requests.memory`, …, in units of the divisor, rounded up; without a limit, a whole machine's."""
    kind, _, name = str(reference["resource"]).partition(".")
    default = {"cpu": "1", "memory": "1Gi"}.get(name, "0")
    value = (container.get("resources") or {}).get(kind, {}).get(name, default)
    divisor = str(reference.get("divisor") or "1")
    ratio = quantity(str(value)) / (quantity("1" if divisor == "0" else divisor))
    return str(-int(-ratio // 1))


def environment(container: Object, pod: Object, lookup: Lookup, base: Mapping[str, str]) -> dict[str, str]:
    """The container's variables in their order, over `base`. ConfigError: something it names is missing."""
    env = dict(base)
    for source in container.get("envFrom") or []:
        env.update(_from_source(source, pod, lookup))
    for item in container.get("env") or []:
        value = _value(item, container, pod, lookup)
        if value is not None:
            env[item["name"]] = expand(value, env) if "valueFrom" not in item else value
    return env


def _from_source(source: Object, pod: Object, lookup: Lookup) -> dict[str, str]:
    prefix = source.get("prefix", "")
    for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        if field in source:
            found = lookup(kind, pod["metadata"]["namespace"], source[field]["name"])
            if found is None and not source[field].get("optional"):
                raise ConfigError(f"{kind} {source[field]['name']!r} not found. Create it in the pod's namespace.")
            return {prefix + key: text for key, text in texts(found or {}).items()}
    return {}


def texts(obj: Object) -> dict[str, str]:
    """The data of a ConfigMap or Secret as text."""
    return {key: value.decode(errors="replace") for key, value in contents(obj).items()}


def contents(obj: Object) -> dict[str, bytes]:
    """The data of a ConfigMap or Secret as bytes."""
    import base64

    found = {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
    for key, value in (obj.get("data") or {}).items():
        found[key] = base64.b64decode(value) if obj.get("kind") == "Secret" else str(value).encode()
    return found


def _value(item: Object, container: Object, pod: Object, lookup: Lookup) -> str | None:
    source = item.get("valueFrom")
    if not source:
        return str(item.get("value", ""))
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_value(container, source["resourceFieldRef"])
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if field in source:
            reference = source[field]
            found = lookup(kind, pod["metadata"]["namespace"], reference["name"])
            value = texts(found or {}).get(reference["key"])
            if value is None and not reference.get("optional"):
                raise ConfigError(f"{kind} {reference['name']!r} has no key {reference['key']!r}. Create it.")
            return value
    raise ConfigError(f"env {item['name']}: valueFrom {', '.join(source)} is not supported in the lab")
