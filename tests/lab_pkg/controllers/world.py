"""Objects for controller tests, and a stand-in for the API server that carries plans out on a view."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from isthmus_lab.controllers import client as kinds
from isthmus_lab.controllers.client import Kind
from isthmus_lab.controllers.plan import Action, Bind, Controller, Create, Delete, Patch, Record, Replace
from isthmus_lab.controllers.view import Key, Moment, View, key_of

NOW = Moment(wall=1_700_000_000.0, mono=1000.0)
START = "2023-11-14T22:13:20Z"  # NOW as text

Json = dict[str, Any]


def later(seconds: float) -> Moment:
    """A moment after NOW."""
    return Moment(wall=NOW.wall + seconds, mono=NOW.mono + seconds)


def node(name: str, zone: str = "", *, ready: str = "True", **spec: Any) -> Json:
    """A Node."""
    labels = {"kubernetes.io/hostname": name, **({"topology.kubernetes.io/zone": zone} if zone else {})}
    conditions = [{"type": "Ready", "status": ready, "reason": "KubeletReady", "lastTransitionTime": START}]
    meta = {"name": name, "uid": f"node-{name}", "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec, "status": {"conditions": conditions}}


def lease(name: str) -> Json:
    """A node's Lease."""
    return {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"holderIdentity": name}}


def pod(name: str, *, labels: dict[str, str] | None = None, on: str = "", ip: str = "", ready: bool = False) -> Json:
    """A Pod in namespace `ns`; with an address it runs."""
    status: Json = {"phase": "Running" if ip else "Pending"}
    if ip:
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": START}
        status |= {"podIP": ip, "conditions": [condition]}
    spec: Json = {"containers": [{"name": "app", "image": "isthmus/sleep"}], **({"nodeName": on} if on else {})}
    meta = {"name": name, "namespace": "ns", "uid": f"pod-{name}", "labels": labels or {}, "annotations": {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}


def service(name: str, selector: dict[str, str] | None, ports: list[Json] | None = None, **spec: Any) -> Json:
    """A Service in namespace `ns`."""
    listed = ports if ports is not None else [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    body: Json = {"ports": listed, "clusterIP": "10.96.0.9", **spec}
    if selector is not None:
        body["selector"] = selector
    meta = {"name": name, "namespace": "ns", "uid": f"svc-{name}", "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": body, "status": {}}


def deployment(name: str, replicas: int, *, image: str = "v1", **spec: Any) -> Json:
    """A Deployment in namespace `ns`."""
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": image}]}}
    meta = {"name": name, "namespace": "ns", "uid": f"deploy-{name}", "generation": 1}
    body = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": body, "status": {}}


def view(**objects: Iterable[Json]) -> View:
    """A view of these objects, by plural."""
    made = View()
    by_plural = {kind.plural: store for kind, store in made.stores.items()}
    for plural, items in objects.items():
        for obj in items:
            by_plural[plural].put(obj, mono=NOW.mono)
    return made


def of_type(actions: Iterable[Action], kind: type[Any]) -> list[Any]:
    """The actions of one type."""
    return [action for action in actions if isinstance(action, kind)]


class Simulation:
    """Lets controllers decide until nothing is left to do; writes behave as an API server's."""

    def __init__(self, controllers: Iterable[Controller]) -> None:
        self.view = View()
        self.now = NOW
        self.controllers = list(controllers)
        self.due: list[tuple[Controller, Key]] = []
        self.written: list[Action] = []
        self.refused: set[str] = set()
        self._revision = 0

    def put(self, kind: Kind, obj: Json) -> Json:
        """Store an object as written by a client; its spec counts as changed when it differs."""
        self._revision += 1
        obj = copy.deepcopy(obj)
        old = self.view.stores[kind].get(*key_of(obj))
        meta = obj["metadata"]
        meta["resourceVersion"] = str(self._revision)
        meta.setdefault("uid", f"uid-{self._revision}")
        meta.setdefault("creationTimestamp", START)
        if old is not None and old.get("spec") != obj.get("spec"):
            meta["generation"] = old["metadata"].get("generation", 1) + 1
        meta.setdefault("generation", 1)
        self.view.stores[kind].put(obj, mono=self.now.mono)
        self._tell(kind, obj)
        return obj

    def gone(self, kind: Kind, obj: Json) -> None:
        """The object is no more."""
        self._revision += 1
        last = copy.deepcopy(obj)
        last["metadata"]["resourceVersion"] = str(self._revision)
        self.view.stores[kind].remove(last)
        self._tell(kind, last)

    def _tell(self, kind: Kind, obj: Json) -> None:
        for controller in self.controllers:
            trigger = controller.triggers.get(kind)
            for key in trigger(self.view, obj) if trigger else ():
                if (controller, key) not in self.due:
                    self.due.append((controller, key))

    def step(self) -> bool:
        """One decision, carried out. False if none is due."""
        if not self.due:
            return False
        controller, key = self.due.pop(0)
        for action in controller.desired(self.view, key, self.now).actions:
            self.written.append(action)
            self._do(action)
        return True

    def settle(self, limit: int = 2000) -> None:
        """Decide until nothing is due."""
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError("the controllers never come to rest")

    def _do(self, action: Action) -> None:
        match action:
            case Create(kind, obj):
                meta = dict(obj["metadata"])
                if "name" not in meta:
                    meta["name"] = f"{meta['generateName']}{self._revision:05d}"
                self.put(kind, {**obj, "metadata": meta, "status": obj.get("status", {})})
            case Replace(kind, obj):
                self.put(kind, obj)
            case Patch(kind, obj, patch, _, loose):
                current = self.view.stores[kind].get(*key_of(obj))
                stale = current is None or current["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]
                if current is not None and (loose or not stale):
                    self.put(kind, merged(current, patch))
            case Bind(target, node_name):
                self.put(kinds.POD, merged(target, {"spec": {"nodeName": node_name}}))
            case Delete(kind, obj):
                current = self.view.stores[kind].get(*key_of(obj))
                if current is not None:
                    self.gone(kind, current)
            case Record():
                pass


def merged(target: Json, patch: Json) -> Json:
    """RFC 7396."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merged(result.get(key) or {}, value)
        else:
            result[key] = value
    return result
