"""Which services a workload is behind, whether a proxy of its own speaks for it or that of its node."""

from isthmus.derive import proxies
from isthmus.graph.sources import Sources
from isthmus.model.rows import Proxy, Service, Workload
from isthmus.tables.changes import Key
from isthmus.tables.graph import Get


def services_of(get: Get, sources: Sources, row: Proxy | Workload) -> list[Service]:
    """The services of its own cluster that pick a workload by labels, or by a slice that names its pod (AG4)."""
    found: dict[Key, Service] = {}
    for pair in row.labels:
        for key in get(sources.services_for_label, (row.cluster, row.namespace, pair)):
            service = get(sources.services, key)
            if service is not None and proxies.selects(service, row.labels):
                found[key] = service
    for slice_key in get(sources.slices_of_pod, row.key):
        piece = get(sources.slices, slice_key)
        if piece is not None:
            key = (row.cluster, row.namespace, piece.service)
            service = get(sources.services, key)
            if service is not None and not service.selector:
                found[key] = service
    return [found[key] for key in sorted(found)]
