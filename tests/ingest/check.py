"""`check(kind, object)`: what the control plane makes of one object, through the same way as the watchers take."""

import json
from typing import Any

from isthmus.ingest.kinds import KINDS, Observation, observer
from isthmus.ingest.place import Place

PLACE = Place("east")
_OBSERVERS = {kind.name: observer(kind, PLACE) for kind in KINDS}


def check(kind: str, obj: dict[str, Any]) -> Observation:
    """Encode, decode and read an object; it gets name `x` in namespace `a` unless it has its own."""
    metadata = {"name": "x", "namespace": "a"} | obj.get("metadata", {})
    return _OBSERVERS[kind](json.dumps(obj | {"metadata": metadata}).encode())


def complaints(found: Observation) -> list[tuple[str, str]]:
    """(field, message) of the problems."""
    return [(problem.field, problem.message) for problem in found.problems]
