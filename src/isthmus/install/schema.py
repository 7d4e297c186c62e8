"""Words for OpenAPI v3 schemas of custom resources: structural, as Kubernetes demands."""

from collections.abc import Mapping, Sequence

from isthmus.install.values import Manifest


def text(description: str = "", *, choices: Sequence[str] = ()) -> Manifest:
    """A string, one of `choices` if given."""
    made: Manifest = {"type": "string", **({"description": description} if description else {})}
    return {**made, "enum": list(choices)} if choices else made


def integer(*, least: int | None = None, most: int | None = None) -> Manifest:
    """A whole number within limits."""
    limits = {key: value for key, value in (("minimum", least), ("maximum", most)) if value is not None}
    return {"type": "integer", **limits}


def boolean() -> Manifest:
    """true or false."""
    return {"type": "boolean"}


def listing(of: Manifest) -> Manifest:
    """An array."""
    return {"type": "array", "items": of}


def mapping(of: Manifest) -> Manifest:
    """An object with any keys."""
    return {"type": "object", "additionalProperties": of}


def anything() -> Manifest:
    """An object that is stored as it is given."""
    return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def record(properties: Mapping[str, Manifest], *, required: Sequence[str] = (), description: str = "") -> Manifest:
    """An object with these fields; others are kept, so that manifests written for Istio survive."""
    made: Manifest = {"type": "object", "properties": dict(properties), "x-kubernetes-preserve-unknown-fields": True}
    if description:
        made = {"description": description, **made}
    return {**made, "required": list(required)} if required else made


PORT_NUMBER = integer(least=0, most=65535)
STRINGS = listing(text())
LABELS = mapping(text())
CONDITIONS = listing(
    record({key: text() for key in ("type", "status", "reason", "message", "lastTransitionTime", "lastProbeTime")})
)
STATUS = record({"conditions": CONDITIONS, "observedGeneration": {"x-kubernetes-int-or-string": True}})
SELECTOR = record({"matchLabels": LABELS}, description="The workloads that this is for, by labels.")
