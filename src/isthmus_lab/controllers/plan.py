"""What a controller wants done: the vocabulary between the pure decisions and the loop that carries them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from isthmus_lab.apiserver.objects import JsonObject
from isthmus_lab.controllers.client import Kind
from isthmus_lab.controllers.view import Key, Moment, View


@dataclass(frozen=True, slots=True)
class Create:
    """Make an object. `owner` is told of a failure by an event."""

    kind: Kind
    obj: JsonObject
    owner: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Replace:
    """Write the whole object; its resourceVersion makes a concurrent change a conflict, which is tried again."""

    kind: Kind
    obj: JsonObject


@dataclass(frozen=True, slots=True)
class Patch:
    """A merge patch of a known object, bound to the version the decision was taken on unless `loose`."""

    kind: Kind
    obj: JsonObject
    patch: JsonObject
    subresource: str = ""
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Bind:
    """Give a pod its node."""

    pod: JsonObject
    node: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete this very object (by uid)."""

    kind: Kind
    obj: JsonObject
    grace_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """Write an Event about an object. `type` is Normal or Warning."""

    about: JsonObject
    reason: str
    message: str
    type: str = "Normal"


Action = Create | Replace | Patch | Bind | Delete | Record


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in order, and after how many seconds to look again although nothing changed (None: never)."""

    actions: tuple[Action, ...] = ()
    again: float | None = None


Desired = Callable[[View, Key, Moment], Plan]
Keys = Callable[[View, JsonObject], Iterable[Key]]


@dataclass(frozen=True, slots=True)
class Controller:
    """A decision and when it is due: `triggers` maps a changed object to the keys that must be decided again."""

    name: str
    desired: Desired
    triggers: Mapping[Kind, Keys] = field(default_factory=dict)


def own_key(_view: View, obj: JsonObject) -> Iterable[Key]:
    """The trigger of a kind that is decided by itself."""
    meta = obj["metadata"]
    return ((str(meta.get("namespace") or ""), str(meta["name"])),)
