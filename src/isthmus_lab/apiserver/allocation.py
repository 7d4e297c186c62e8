"""ClusterIPs and node ports: given out when a Service is stored, free again when it is gone."""

from __future__ import annotations

import ipaddress
import random
from typing import Any

from isthmus_lab.apiserver.errors import ApiError, internal, invalid, invalid_value
from isthmus_lab.apiserver.objects import JsonObject, items, name_of, section
from isthmus_lab.apiserver.store import Entry, Event, Store

_NODE_PORTS = range(30000, 32768)
_STATIC_BAND = 256  # the low end of the range is left to addresses that people choose


class Allocator:
    """An index of what the stored Services hold; call `assign` and store without awaiting in between."""

    def __init__(self, store: Store, cidr: str, rng: random.Random) -> None:
        self._network = ipaddress.IPv4Network(cidr)
        self._rng = rng
        self._addresses: dict[str, int] = {}
        self._ports: dict[int, int] = {}
        for entry in store.list("services"):
            self._count(entry, 1)
        store.listen(self._changed)

    def _changed(self, event: Event) -> None:
        if event.resource != "services":
            return
        if event.before is not None:
            self._count(event.before, -1)
        if event.change != "DELETED":
            self._count(event.entry, 1)

    def _count(self, entry: Entry, by: int) -> None:
        spec = section(entry.obj, "spec")
        address = spec.get("clusterIP")
        if address and address != "None":
            _add(self._addresses, address, by)
        for port in {port["nodePort"] for port in items(spec, "ports") if port.get("nodePort")}:
            _add(self._ports, port, by)

    def assign(self, new: JsonObject, old: JsonObject | None) -> None:
        """Fills in clusterIP and node ports in place. Raises 422 when one that was asked for cannot be had."""
        spec = section(new, "spec")
        before = section(old or {}, "spec")
        kind = spec.get("type", "ClusterIP")
        if kind == "ExternalName":
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
            return
        self._address(new, spec, before)
        if kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True)):
            self._node_ports(new, spec, before)
        elif kind == "ClusterIP":
            for port in items(spec, "ports"):
                port.pop("nodePort", None)

    def _address(self, new: JsonObject, spec: JsonObject, before: JsonObject) -> None:
        address = spec.get("clusterIP") or next(iter(items(spec, "clusterIPs")), "") or before.get("clusterIP") or ""
        if not address:
            address = self._free_address()
        elif address not in ("None", before.get("clusterIP")):
            self._check_address(new, address)
        spec["clusterIP"] = address
        spec["clusterIPs"] = [address]

    def _check_address(self, new: JsonObject, address: str) -> None:
        try:
            inside = ipaddress.IPv4Address(address) in self._network
        except ValueError:
            raise _invalid(new, "spec.clusterIPs", [address], "must be a valid IP address") from None
        if not inside:
            why = f"failed to allocate IP {address}: the provided IP is not in the valid range {self._network}"
            raise _invalid(new, "spec.clusterIPs", [address], why)
        if address in self._addresses:
            raise _invalid(
                new, "spec.clusterIPs", [address], f"failed to allocate IP {address}: provided IP is already allocated"
            )

    def _free_address(self) -> str:
        size = self._network.num_addresses
        low = min(_STATIC_BAND, size // 2)
        base = int(self._network.network_address)
        start = self._rng.randrange(low, size - 1)
        for step in range(size - 2):
            offset = 1 + (start - 1 + step) % (size - 2)  # neither the first nor the last of the range
            address = str(ipaddress.IPv4Address(base + offset))
            if address not in self._addresses:
                return address
        raise internal("failed to allocate a serviceIP: range is full")

    def _node_ports(self, new: JsonObject, spec: JsonObject, before: JsonObject) -> None:
        held = {(p.get("port"), p.get("protocol")): p.get("nodePort") for p in items(before, "ports")}
        mine = set(held.values())
        taken: set[int] = set()
        for index, port in enumerate(items(spec, "ports")):
            wanted = port.get("nodePort") or held.get((port.get("port"), port.get("protocol")))
            if not wanted:
                wanted = self._free_port(taken)
            elif wanted not in mine:
                self._check_port(new, f"spec.ports[{index}].nodePort", wanted)
            port["nodePort"] = wanted
            taken.add(wanted)

    def _check_port(self, new: JsonObject, path: str, wanted: int) -> None:
        if wanted not in _NODE_PORTS:
            raise _invalid(
                new, path, wanted, "provided port is not in the valid range. The range of valid ports is 30000-32767"
            )
        if wanted in self._ports:
            raise _invalid(new, path, wanted, "provided port is already allocated")

    def _free_port(self, taken: set[int]) -> int:
        start = self._rng.randrange(len(_NODE_PORTS))
        for step in range(len(_NODE_PORTS)):
            port = _NODE_PORTS[(start + step) % len(_NODE_PORTS)]
            if port not in self._ports and port not in taken:
                return port
        raise internal("failed to allocate a nodePort: range is full")


def _add(counts: dict[Any, int], key: object, by: int) -> None:
    counts[key] = counts.get(key, 0) + by
    if not counts[key]:
        del counts[key]


def _invalid(new: JsonObject, path: str, value: object, why: str) -> ApiError:
    return invalid("", "Service", name_of(new), [invalid_value(path, value, why)])
