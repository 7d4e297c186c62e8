"""Server-side apply: merging what a manager wants into an object, and who owns which field.

The rules are those of Kubernetes' KEP-555 and structured-merge-diff, over one schema (versions are not converted here).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from isthmus_lab.apiserver import fieldset
from isthmus_lab.apiserver.errors import Cause, apply_conflict
from isthmus_lab.apiserver.fieldset import Tree
from isthmus_lab.apiserver.objects import JsonObject, decode, items, section
from isthmus_lab.apiserver.schema import ANY, Schema

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_UNTRACKED = (
    "name", "namespace", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation",
    "managedFields", "resourceVersion", "selfLink", "uid",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """Who, how and through which subresource: the identity of a set of fields."""

    name: str
    operation: str  # Apply or Update
    api_version: str
    subresource: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Apply sets are one per manager; update sets one per manager and version, which is one here."""
        return (self.name, self.operation, self.subresource)


@dataclass(slots=True)
class Owned:
    manager: Manager
    tree: Tree
    time: str = ""

    def entry(self) -> JsonObject:
        who = self.manager
        found: JsonObject = {"manager": who.name, "operation": who.operation, "apiVersion": who.api_version}
        if self.time:
            found["time"] = self.time
        found |= {"fieldsType": "FieldsV1", "fieldsV1": self.tree}
        if who.subresource:
            found["subresource"] = who.subresource
        return found


@dataclass(slots=True)
class Ownership:
    """All sets of one object."""

    sets: list[Owned] = field(default_factory=list)

    def of(self, manager: Manager) -> Owned | None:
        return next((owned for owned in self.sets if owned.manager.key == manager.key), None)

    def others(self, manager: Manager) -> list[Owned]:
        return [owned for owned in self.sets if owned.manager.key != manager.key]

    def entries(self) -> list[JsonObject]:
        ordered = sorted(self.sets, key=lambda o: (o.manager.operation != "Apply", o.time, o.manager.name))
        return [owned.entry() for owned in ordered]

    def put(self, manager: Manager, tree: Tree | None, at: str) -> None:
        """Replaces a manager's set; its time changes only when the set does."""
        before = self.of(manager)
        self.sets = self.others(manager)
        if tree:
            same = before is not None and before.tree == tree
            self.sets.append(Owned(manager, tree, before.time if before is not None and same else at))

    def take(self, manager: Manager, tree: Tree) -> None:
        """Removes fields from everybody but `manager`."""
        kept = []
        for owned in self.sets:
            left = owned.tree if owned.manager.key == manager.key else fieldset.minus(owned.tree, tree)
            if left:
                kept.append(Owned(owned.manager, left, owned.time))
        self.sets = kept


def read(entries: list[Any]) -> Ownership:
    """From metadata.managedFields; what is malformed is left out."""
    found = Ownership()
    for entry in entries:
        tree = entry.get("fieldsV1") if isinstance(entry, dict) else None
        if not isinstance(tree, dict) or not tree:
            continue
        manager = Manager(
            name=str(entry.get("manager", "")),
            operation=str(entry.get("operation", "Update")),
            api_version=str(entry.get("apiVersion", "")),
            subresource=str(entry.get("subresource") or ""),
        )
        found.sets.append(Owned(manager, tree, str(entry.get("time") or "")))
    return found


def tracked(obj: JsonObject) -> JsonObject:
    """The part of an object that managers own."""
    kept = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
    metadata = {k: v for k, v in section(obj, "metadata").items() if k not in _UNTRACKED and v is not None}
    if metadata:
        kept["metadata"] = metadata
    return kept


# --- update


def track_update(
    old: JsonObject | None, new: JsonObject, schema: Schema, *, manager: Manager, at: str
) -> list[JsonObject]:
    """managedFields after `manager` turned `old` into `new` other than by apply. `at` is the time."""
    entries = items(section(new, "metadata"), "managedFields") or items(section(old or {}, "metadata"), "managedFields")
    ownership = read(entries)
    before, after = tracked(old or {}), tracked(new)
    changed = fieldset.changed(before, after, schema)
    vanished = fieldset.vanished(before, after, schema)
    nobody = Manager(name="", operation="", api_version="")
    if vanished:
        ownership.take(nobody, vanished)
    if changed:
        ownership.take(manager, changed)
        mine = ownership.of(manager)
        ownership.put(manager, fieldset.union(mine.tree, changed) if mine else changed, at)
    return ownership.entries()


# --- apply


@dataclass(frozen=True, slots=True)
class Applied:
    """The merged object and its managedFields."""

    obj: JsonObject
    managed: list[JsonObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Who applies, when, and whether others' fields may be taken."""

    manager: Manager
    at: str
    force: bool = False


def apply(live: JsonObject, wanted: JsonObject, schema: Schema, intent: Intent) -> Applied:
    """Merges `wanted` into `live`. Raises 409 when others own fields that would change, unless forced."""
    manager = intent.manager
    ownership = read(items(section(live, "metadata"), "managedFields"))
    config = _without_nulls(tracked(wanted))
    tree = fieldset.fields_of(config, schema)
    before = tracked(live)
    merged = merge(before, config, schema)
    changed = fieldset.changed(before, merged, schema) or None
    if changed is not None:
        conflicts = [] if intent.force else _conflicts(ownership.others(manager), changed)
        if conflicts and manager.name == "kubectl":
            conflicts = _beyond_last_applied(conflicts, live, schema)
        if conflicts:
            raise apply_conflict(conflicts)
        ownership.take(manager, changed)
    previous = ownership.of(manager)
    if previous is not None:
        gone = fieldset.without(previous.tree, tree)
        if gone is not None:
            # A map that was applied empty and is not now: the field that was owned holds what is wanted.
            kept = [tree, *(owned.tree for owned in ownership.others(manager))]
            merged = _prune(merged, gone, kept, schema)
    ownership.put(manager, tree, intent.at)
    return Applied(_with_tracked(live, wanted, merged), ownership.entries())


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(element) for key, element in value.items() if element is not None}
    if isinstance(value, list):
        return [_without_nulls(element) for element in value]
    return value


def _with_tracked(live: JsonObject, wanted: JsonObject, merged: JsonObject) -> JsonObject:
    """The whole object again: what managers own, and what the server keeps."""
    base = live or wanted
    kept = {key: value for key, value in section(base, "metadata").items() if key in _UNTRACKED}
    for key in ("resourceVersion", "uid"):
        if section(wanted, "metadata").get(key):
            kept[key] = wanted["metadata"][key]
    obj: JsonObject = {"apiVersion": base.get("apiVersion"), "kind": base.get("kind")}
    obj["metadata"] = {**kept, **section(merged, "metadata")}
    obj |= {key: value for key, value in merged.items() if key != "metadata"}
    return obj


def _conflicts(others: list[Owned], changed: Tree) -> list[Cause]:
    found = []
    for owned in others:
        common = fieldset.both(changed, owned.tree)
        if common:
            found += [
                Cause(fieldset.show(path), "FieldManagerConflict", f"conflict with {_show(owned)}")
                for path in fieldset.leaves(common)
            ]
    return found


def _beyond_last_applied(conflicts: list[Cause], live: JsonObject, schema: Schema) -> list[Cause]:
    """Conflicts but those about what the same user applied before, client-side: kubectl takes its own fields over."""
    text = section(section(live, "metadata"), "annotations").get(_LAST_APPLIED)
    try:
        last = decode(str(text).encode())
    except ValueError:
        return conflicts
    if not isinstance(last, dict):
        return conflicts
    config = tracked(last)
    now = tracked(live)
    applied = fieldset.fields_of(config, schema)
    since = fieldset.changed(now, merge(now, config, schema), schema)
    same = fieldset.minus(applied, since) if since is not None else applied
    mine = {fieldset.show(path) for path in fieldset.leaves(same)} if same else set()
    return [conflict for conflict in conflicts if conflict.field not in mine]


def _show(owned: Owned) -> str:
    who = owned.manager
    text = f'"{who.name}"'
    if who.subresource:
        text += f' with subresource "{who.subresource}"'
    if who.operation == "Update":
        text += f" using {who.api_version}" + (f" at {owned.time}" if owned.time else "")
    return text


def merge(live: Any, config: Any, schema: Schema) -> Any:
    """`config` laid over `live`."""
    if isinstance(config, dict) and isinstance(live, dict) and not schema.atomic:
        merged = dict(live)
        for key, value in config.items():
            merged[key] = merge(live.get(key), value, fieldset.child(schema, key))
        return merged
    if isinstance(config, list) and isinstance(live, list) and schema.list_type in ("map", "set"):
        shape = schema.items or ANY
        found = fieldset.elements(live, schema)
        for step, element in fieldset.elements(config, schema).items():
            found[step] = merge(found.get(step), element, shape)
        return list(found.values())
    return config


def _prune(value: Any, gone: Tree, others: list[Tree], schema: Schema) -> Any:
    """Without the fields in `gone` that are in none of the other sets."""
    if isinstance(value, dict):
        children = {f"f:{key}": (key, element, fieldset.child(schema, key)) for key, element in value.items()}
        result = {}
        for step, (key, element, shape) in children.items():
            kept, left = _prune_child(step, element, shape, gone=gone, others=others)
            if kept:
                result[key] = left
        return result
    if isinstance(value, list) and schema.list_type in ("map", "set"):
        shape = schema.items or ANY
        kept_elements = []
        for step, element in fieldset.elements(value, schema).items():
            kept, left = _prune_child(step, element, shape, gone=gone, others=others)
            if kept:
                kept_elements.append(left)
        return kept_elements
    return value


def _prune_child(step: str, element: Any, shape: Schema, *, gone: Tree, others: list[Tree]) -> tuple[bool, Any]:
    """Whether an element stays, and what is left of it."""
    if step not in gone:
        return True, element
    inside = gone[step]
    below = [tree[step] for tree in others if step in tree]
    whole = not inside or fieldset.SELF in inside
    if whole and not below:
        return False, None
    deeper = {key: tree for key, tree in inside.items() if key != fieldset.SELF}
    left = _prune(element, deeper, below, shape) if deeper else element
    emptied = left in ({}, []) and element not in ({}, [])
    return not (emptied and not below), left
