"""What users lay over the objects that are made for a Gateway: the ConfigMap of `spec.infrastructure.parametersRef`.

Its keys are kinds, its values parts of objects in YAML. Objects are merged, null takes a field away, and lists of named
things (containers, ports, volumes, variables) are merged by name, as a strategic merge patch does; other lists are
replaced.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from isthmus.base.errors import UsageError
from isthmus.install.values import Manifest

KINDS = {
    "serviceAccount": "ServiceAccount",
    "service": "Service",
    "deployment": "Deployment",
    "horizontalPodAutoscaler": "HorizontalPodAutoscaler",
    "podDisruptionBudget": "PodDisruptionBudget",
}
"""Key of the ConfigMap -> kind."""


def overlays(data: Mapping[str, str]) -> dict[str, Manifest]:
    """Kind -> what is laid over it. Raises UsageError, with the key, for what is unknown or no object."""
    found: dict[str, Manifest] = {}
    for key, text in data.items():
        if key not in KINDS:
            raise UsageError(f"data.{key} is not known", f"Use {', '.join(KINDS)}")
        try:
            part = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"data.{key} is no YAML: {' '.join(str(error).split())}", "Correct it") from None
        if not isinstance(part, dict):
            raise UsageError(f"data.{key} is no object", "Write a part of the object, such as spec: …")
        found[KINDS[key]] = part
    return found


def laid_over(base: Any, part: Any) -> Any:
    """The base with the part merged into it."""
    if isinstance(base, dict) and isinstance(part, dict):
        merged = {**base, **{key: laid_over(base.get(key), value) for key, value in part.items()}}
        return {key: value for key, value in merged.items() if value is not None}
    if isinstance(part, dict):
        return {key: laid_over(None, value) for key, value in part.items() if value is not None}
    if isinstance(base, list) and isinstance(part, list) and _named(base) and _named(part):
        known = {one["name"]: one for one in base}
        return list({**known, **{one["name"]: laid_over(known.get(one["name"]), one) for one in part}}.values())
    return part


def _named(items: list[Any]) -> bool:
    return all(isinstance(one, dict) and "name" in one for one in items)
