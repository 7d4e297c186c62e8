"""What a VirtualService asks for that there is not. It stays in force: what leads nowhere is answered 503."""

from collections.abc import Iterable, Iterator

from isthmus.base.errors import ObjectRef, Problem, Severity
from isthmus.derive.rules import Rule
from isthmus.derive.visibility import exported
from isthmus.model.mesh import MeshService
from isthmus.model.routing import MESH, Destination, VirtualService
from isthmus.model.rows import Gateway

KIND = "VirtualService"


def _about(row: VirtualService, field: str, message: str, remedy: str) -> Problem:
    where = ObjectRef(row.cluster, KIND, row.namespace, row.name)
    return Problem(where, field, message, remedy, Severity.WARNING)


def located(row: VirtualService) -> Iterator[tuple[str, Destination]]:
    """Every destination, with the path of its field."""
    for i, http in enumerate(row.http):
        for j, one in enumerate(http.destinations):
            yield f"spec.http[{i}].route[{j}].destination", one.destination
        for copy in http.mirrors:
            yield f"spec.http[{i}].mirror", copy.destination
    for kind, routes in (("tls", row.tls), ("tcp", row.tcp)):
        for i, stream in enumerate(routes):
            for j, one in enumerate(stream.destinations):
                yield f"spec.{kind}[{i}].route[{j}].destination", one.destination


def destination(
    row: VirtualService, field: str, wanted: Destination, service: MeshService | None, rule: Rule
) -> Iterator[Problem]:
    """A destination without service, port or subset; `rule` is what clients of the object's namespace go by."""
    if service is None:
        remedy = "Name a Service in full, such as reviews.prod.svc.cluster.local, or declare it by a ServiceEntry"
        yield _about(row, f"{field}.host", f"no service {wanted.host}: requests to it are answered 503", remedy)
        return
    if not exported(service.export_to, service.namespace, row.namespace):
        remedy = f"Add {row.namespace} to the exportTo of the service, or route to another one"
        message = f"{wanted.host} is not exported to namespace {row.namespace}: requests to it are answered 503"
        yield _about(row, f"{field}.host", message, remedy)
    if wanted.port and service.port(wanted.port) is None:
        ports = ", ".join(str(port.port) for port in service.ports)
        message = f"{wanted.host} has no port {wanted.port}: requests to it are answered 503"
        yield _about(row, f"{field}.port.number", message, f"Use one of its ports: {ports}")
    if wanted.subset and rule.subset(wanted.subset) is None:
        known = ", ".join(subset.name for subset in rule.subsets) or "none"
        message = f"{wanted.host} has no subset {wanted.subset}: requests to it are answered 503"
        remedy = f"Add it to a DestinationRule for the host, or use a subset that there is: {known}"
        yield _about(row, f"{field}.subset", message, remedy)


def unknown_host(row: VirtualService, host: str) -> Problem:
    """A host of sidecars that is no service: they do not know what would be routed."""
    remedy = "Name a Service in full, or declare the host by a ServiceEntry"
    return _about(row, "spec.hosts", f"no service {host}, so sidecars do not route it", remedy)


def outdone(row: VirtualService, host: str, first: VirtualService) -> Problem:
    """A host for which an older object counts."""
    older = f"{first.namespace}/{first.name}"
    message = f"sidecars go by the older VirtualService {older} for {host}, not by this one"
    return _about(row, "spec.hosts", message, "Make one object of both, or tell them apart by exportTo")


def unbound(row: VirtualService, gateways: dict[str, Gateway | None], taken: Iterable[str]) -> Iterator[Problem]:
    """Gateways that are not there, or whose servers take none of the hosts; `taken` are those with one that does."""
    for name in row.gateways:
        if name == MESH or name in taken:
            continue
        if gateways.get(name) is None:
            yield _about(row, "spec.gateways", f"no Gateway {name}", "Create it, or name one as <namespace>/<name>")
        else:
            message = f"no server of Gateway {name} takes {', '.join(row.hosts)} from namespace {row.namespace}"
            remedy = "Add the host to the hosts of a server there, or bind to another Gateway"
            yield _about(row, "spec.gateways", message, remedy)
