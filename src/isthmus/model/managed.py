"""Rows about Gateways of the Gateway API for which this mesh runs the proxies: east-west gateways and waypoints."""

from typing import ClassVar

import msgspec

from isthmus.model.rows import Labels, Row

EAST_WEST_CLASS = "istio-eastwest"
WAYPOINT_CLASS = "istio-waypoint"
REMOTE_CLASS = "istio-remote"
"""Describes something elsewhere: nothing is run for it."""

MANAGED_CLASSES = (EAST_WEST_CLASS, WAYPOINT_CLASS)

CLASS_ALIASES = {"istio-east-west": EAST_WEST_CLASS}
"""Other names of classes: Istio's own for its east-west gateway."""

PROTOCOL_CONFLICT, HOSTNAME_CONFLICT = "ProtocolConflict", "HostnameConflict"
"""`Listener.fault` where another listener is in the way."""

SAME, EVERYWHERE, SELECTED = "Same", "All", "Selector"
"""Whose services may go through a waypoint: those of its namespace, all, or those of namespaces with some labels."""


def managed_class(name: str) -> str:
    """The class of ours that a class name means, empty for any other."""
    known = CLASS_ALIASES.get(name, name)
    return known if known in MANAGED_CLASSES else ""


class Listener(msgspec.Struct, frozen=True, gc=False):
    """One listener. `tls` is `Terminate`, `Passthrough` or empty; `auto`: it passes mutual TLS on by its SNI (NW10).

    `fault` is the Gateway API's word for why it has no effect, `message` says it in full; both are empty if it has one.
    `allowed` and `selector` say from which namespaces something may be attached to it. `refs`: it names certificates,
    which no listener of ours takes.
    """

    name: str
    port: int
    protocol: str
    tls: str = ""
    hostname: str = ""
    auto: bool = False
    fault: str = ""
    message: str = ""
    allowed: str = SAME
    selector: Labels = ()
    refs: bool = False


class ManagedGateway(Row, frozen=True, kw_only=True, gc=False):
    """A Gateway of a class of ours. `network` is its label; `service_type` empty leaves the class's default.

    `extra_labels` and `extra_annotations` (`spec.infrastructure`) go on everything that is made for it. `unready`: a
    waypoint that never served so far, so that its status names no address.

    `address` is the one that its load balancer shall have. With `host`, somebody else runs it, at that Service or name.
    `parameters` is the ConfigMap of its namespace that is laid over what is made. `fault` and `message` are why
    nothing is run for it, as those of a listener.
    """

    TABLE: ClassVar[str] = "managed_gateways"
    class_name: str = ""
    uid: str = ""
    network: str = ""
    labels: Labels = ()
    listeners: tuple[Listener, ...] = ()
    service_type: str = ""
    extra_labels: Labels = ()
    extra_annotations: Labels = ()
    unready: bool = False
    address: str = ""
    host: str = ""
    parameters: str = ""
    fault: str = ""
    message: str = ""

    def label(self, name: str) -> str:
        """The value of a label, empty if absent."""
        return next((value for key, value in self.labels if key == name), "")
