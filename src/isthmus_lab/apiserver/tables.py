"""Server-side tables: what `kubectl get` prints."""

from __future__ import annotations

from typing import Any

from isthmus_lab.apiserver import printers, views
from isthmus_lab.apiserver.objects import JsonObject
from isthmus_lab.apiserver.resources import Resource, Version


class Tabler:
    """Makes Table objects of one resource. `include`: None, Metadata or Object, what each row carries of its object."""

    def __init__(self, resource: Resource, version: Version, *, include: str, now: float) -> None:
        self._include = include
        self._printer = printers.printer(resource, version)
        self._now = now

    def table(self, objects: list[JsonObject], metadata: JsonObject) -> JsonObject:
        return {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "columnDefinitions": self._printer.definitions(),
            "rows": [self._row(obj) for obj in objects],
        }

    def _row(self, obj: JsonObject) -> JsonObject:
        row: JsonObject = {"cells": self._printer.cells(obj, self._now)}
        carried = self._carried(obj)
        if carried is not None:
            row["object"] = carried
        return row

    def _carried(self, obj: JsonObject) -> Any:
        if self._include == "None":
            return None
        if self._include == "Object":
            return obj
        return views.metadata_only(obj)
