"""What is wrong with waypoints: those that are named and not gone through, and those that are and cannot answer."""

from isthmus.base.errors import ObjectRef, Problem, Severity
from isthmus.base.labels import USE_WAYPOINT_LABEL
from isthmus.derive.waypoints import Bound, Reason, named
from isthmus.model.managed import ManagedGateway
from isthmus.model.rows import Namespace, Service

_FIELD = f"metadata.labels[{USE_WAYPOINT_LABEL}]"
_PAST = "so calls go past it, and its policies are asked by nobody"
_WHY = {
    Reason.MISSING: ("does not exist", "Make it by isthmus waypoint apply, or take the label off"),
    Reason.UNREADY: ("never was ready", "See isthmus waypoint status"),
    Reason.OTHER_TRAFFIC: (
        "is not for calls of services",
        "Label it istio.io/waypoint-for: service or all, or name another one",
    ),
    Reason.DENIED: (
        "takes no services of this namespace",
        "Say so in allowedRoutes.namespaces of its HBONE listener, or name a waypoint of the namespace",
    ),
    Reason.ELSEWHERE: (
        "is in other clusters only, and not global or not in this network",
        "Make it in this cluster, too; or label its Service solo.io/service-scope: global",
    ),
}


def not_used(row: Service, namespace: Namespace | None, bound: Bound, reason: Reason) -> Problem:
    """A waypoint that a service names, itself or by its namespace, and that its callers do not go through."""
    what, remedy = _WHY[reason]
    where = ObjectRef(row.cluster, "Service", row.namespace, row.name)
    if named(row.labels, row.namespace) is None and namespace is not None:
        where = ObjectRef(namespace.cluster, "Namespace", "", namespace.name)
    message = f"waypoint {'/'.join(bound.waypoint)} {what}, {_PAST}"
    return Problem(where, _FIELD, message, remedy, Severity.WARNING)


def no_effect(row: Service) -> Problem:
    """A service that says itself that it goes through a waypoint, and whose callers choose its pods themselves."""
    where = ObjectRef(row.cluster, "Service", row.namespace, row.name)
    message = f"has no effect: callers of a service without an address choose its pods themselves, {_PAST}"
    return Problem(where, _FIELD, message, "Give the Service an address, or take the label off", Severity.WARNING)


def no_pod(row: ManagedGateway) -> Problem:
    """A waypoint that services go through, and none of whose pods is ready."""
    where = ObjectRef(row.cluster, "Gateway", row.namespace, row.name)
    message = "no pod of this waypoint is ready, so calls of the services that go through it fail"
    remedy = f"See the pods of Deployment {row.namespace}/{row.name}; two replicas outlive the loss of one"
    return Problem(where, "status", message, remedy)
