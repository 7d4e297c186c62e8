"""PeerAuthentication. A broken one fails closed: what it selected accepts mutual TLS only, until it is corrected."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from isthmus.base.errors import ObjectRef
from isthmus.ingest.finding import Reader, Result
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.rows import MtlsMode, PeerAuthentication, Row

MODES = tuple(MtlsMode)
_FIELDS = ("selector", "mtls", "portLevelMtls")


def peer_authentication(place: Place, obj: objects.Custom) -> Result:
    """Which transport inbound connections must have. With an error and a readable selector: STRICT for the selected."""
    read = Reader(place.cluster, "PeerAuthentication", obj)
    meta = obj.metadata
    spec = read.mapping(obj.spec, "spec")
    selector_part = read.mapping(spec.get("selector"), "spec.selector")
    selector = read.labels(selector_part.get("matchLabels"), "spec.selector.matchLabels")
    read.only_known(selector_part, "spec.selector", ("matchLabels",))
    if read.is_refused():
        return (), read.problems
    read.only_known(spec, "spec", _FIELDS)
    mode = _mode(read, spec.get("mtls"), "spec.mtls")
    ports = read.mapping(spec.get("portLevelMtls"), "spec.portLevelMtls")
    if ports and not selector:
        read.error("spec.portLevelMtls", "is only for selected workloads", "Add spec.selector.matchLabels")
    port_modes = [
        (read.port(port, f"spec.portLevelMtls[{port}]"), _mode(read, value, f"spec.portLevelMtls[{port}]"))
        for port, value in ports.items()
    ]
    row = PeerAuthentication(
        cluster=place.cluster,
        namespace=meta.namespace,
        name=meta.name,
        selector=selector,
        mode=MtlsMode.STRICT if read.is_refused() else mode,
        port_modes=() if read.is_refused() else tuple(sorted(port_modes)),
        created=meta.creation_timestamp or "",
    )
    return (row,), read.problems


def strict(where: ObjectRef, before: Sequence[Row]) -> tuple[Row, ...]:
    """In force while the object cannot be read: STRICT for what it selected before, else for its whole namespace."""
    rows = tuple(
        replace(row, mode=MtlsMode.STRICT, port_modes=()) for row in before if isinstance(row, PeerAuthentication)
    )
    if rows:
        return rows
    new = PeerAuthentication(cluster=where.cluster, namespace=where.namespace, name=where.name, mode=MtlsMode.STRICT)
    return (new,)


def _mode(read: Reader, value: Any, field: str) -> MtlsMode:
    part = read.mapping(value, field)
    read.only_known(part, field, ("mode",))
    return MtlsMode(read.choice(part.get("mode"), f"{field}.mode", MODES) or MtlsMode.UNSET)
