"""The name table (NDS, §2.4): what the agents' DNS proxies answer. One entry per name, encoded apart and joined."""

from collections.abc import Iterable

from isthmus.model.mesh import Endpoint, ServiceView
from isthmus.proto import nds_pb2
from isthmus.xds.resource import NDS, XdsResource
from isthmus.xds.wire import length_delimited

NAME = "nds"
"""Name of the only resource of its type (DN1)."""

_TABLE = 1
"""Number of the map field in NameTable; its entries are messages of key 1 and value 2."""

Entry = tuple[str, bytes]
"""A host and its encoded NameInfo."""


def service_entries(view: ServiceView, network: str, endpoints: Iterable[Endpoint]) -> tuple[Entry, ...]:
    """The names of one service: its addresses here (DN2), or the ready pods of a headless one (DN3, DN4).

    A ServiceEntry's host has no short names, and ranges are no answers.

    Pods of other networks are left out before anything else is decided about them, so that overlapping address
    ranges hide nothing (the defect DN5). Where two clusters have a pod of one name, the first endpoint's wins;
    the caller puts the own cluster's first.
    """
    service = view.service
    if not service.headless:
        addresses = [address for address in view.addresses if "/" not in address]
        return ((service.host, _info(addresses, view)),) if addresses else ()
    near = [e for e in endpoints if e.ready and (e.network == network or not e.network or not network)]
    if not near:
        return ()
    entries = [(service.host, _info(dict.fromkeys(e.address for e in near), view))]
    pods: dict[str, tuple[str, list[str]]] = {}
    for endpoint in near:
        if endpoint.hostname:
            cluster, addresses = pods.setdefault(endpoint.hostname, (endpoint.cluster, []))
            if cluster == endpoint.cluster and endpoint.address not in addresses:
                addresses.append(endpoint.address)
    for hostname, (_, addresses) in sorted(pods.items()):
        info = nds_pb2.NameTable.NameInfo(
            ips=addresses, registry="Kubernetes", shortname=f"{hostname}.{service.name}", namespace=service.namespace
        )
        entries.append((f"{hostname}.{service.host}", info.SerializeToString(deterministic=True)))
    return tuple(entries)


def _info(addresses: Iterable[str], view: ServiceView) -> bytes:
    service = view.service
    if service.resolution is None:
        about = {"registry": "Kubernetes", "shortname": service.name, "namespace": service.namespace}
    else:
        about = {"registry": "External"}
    info = nds_pb2.NameTable.NameInfo(ips=list(addresses), **about)
    encoded: bytes = info.SerializeToString(deterministic=True)
    return encoded


def name_table(entries: Iterable[Entry]) -> XdsResource:
    """The whole table, sorted by name."""
    joined = b"".join(
        length_delimited(_TABLE, length_delimited(1, host.encode()) + length_delimited(2, info))
        for host, info in sorted(entries)
    )
    return XdsResource(NDS, NAME, joined)
