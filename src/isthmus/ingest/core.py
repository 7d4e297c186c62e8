"""Namespaces and nodes."""

from isthmus.ingest.ambient import check_mode
from isthmus.ingest.finding import Reader, Result
from isthmus.ingest.locality import distribution
from isthmus.ingest.place import Place
from isthmus.ingest.scopes import check_labels
from isthmus.kube import objects
from isthmus.model.rows import Locality, Namespace, Node, labels

REGION_LABELS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
ZONE_LABELS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
SUBZONE_LABELS = ("topology.istio.io/subzone",)


def namespace(place: Place, obj: objects.Namespace) -> Result:
    """A namespace with its labels (network NW1, injection) and annotations (LB9)."""
    read = Reader(place.cluster, "Namespace", obj)
    meta = obj.metadata
    check_labels(read, meta.labels)
    check_mode(read, meta.labels)
    row = Namespace(
        cluster=place.cluster,
        name=meta.name,
        labels=labels(meta.labels),
        annotations=labels(meta.annotations),
        traffic_distribution=distribution(read, meta.annotations),
    )
    return read.result(row)


def node(place: Place, obj: objects.Node) -> Result:
    """A node with its locality (LB15) and addresses (NW5)."""
    found = obj.metadata.labels or {}
    addresses = (obj.status.addresses if obj.status else None) or ()
    row = Node(
        cluster=place.cluster,
        name=obj.metadata.name,
        labels=labels(found),
        locality=Locality(_first(found, REGION_LABELS), _first(found, ZONE_LABELS), _first(found, SUBZONE_LABELS)),
        addresses=tuple(a.address for a in addresses if a.type == "InternalIP"),
        external_addresses=tuple(a.address for a in addresses if a.type == "ExternalIP"),
    )
    return (row,), ()


def _first(found: dict[str, str], names: tuple[str, ...]) -> str:
    return next((found[name] for name in names if found.get(name)), "")
