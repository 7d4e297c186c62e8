"""Reduced definitions of `gateway.networking.k8s.io`, for clusters that have none: structure without validation rules.

A cluster that has the project's own definitions must keep those.
"""

from isthmus.install.schema import LABELS, PORT_NUMBER, STRINGS, anything, integer, listing, record, text
from isthmus.install.values import Manifest

BUNDLE = {
    "gateway.networking.k8s.io/bundle-version": "v1.3.0",
    "gateway.networking.k8s.io/channel": "standard",
    # Groups below k8s.io are protected; this says that the definition is not the reviewed one.
    "api-approved.kubernetes.io": "unapproved, reduced definitions of Isthmus",
}


def gateway_class() -> Manifest:
    """GatewayClass.spec."""
    return record(
        {"controllerName": text(), "description": text(), "parametersRef": anything()}, required=("controllerName",)
    )


def gateway() -> Manifest:
    """Gateway.spec."""
    tls = record({"mode": text(choices=("Terminate", "Passthrough")), "options": LABELS, "certificateRefs": _refs()})
    listener = record(
        {
            "name": text(),
            "port": PORT_NUMBER,
            "protocol": text(),
            "hostname": text(),
            "tls": tls,
            "allowedRoutes": anything(),
        },
        required=("name", "port", "protocol"),
    )
    address = record({"type": text(), "value": text()})
    return record(
        {
            "gatewayClassName": text(),
            "listeners": listing(listener),
            "addresses": listing(address),
            "infrastructure": anything(),
        },
        required=("gatewayClassName", "listeners"),
    )


def route() -> Manifest:
    """The spec of HTTPRoute, GRPCRoute and TLSRoute."""
    rule = record(
        {
            "name": text(),
            "matches": listing(anything()),
            "filters": listing(anything()),
            "backendRefs": _refs(weight=integer(), filters=listing(anything())),
            "timeouts": record({"request": text(), "backendRequest": text()}),
            "retry": record({"attempts": integer(), "codes": listing(integer()), "backoff": text()}),
        }
    )
    return record({"parentRefs": _refs(), "hostnames": STRINGS, "rules": listing(rule)})


def reference_grant() -> Manifest:
    """ReferenceGrant.spec."""
    return record({"from": _refs(), "to": _refs()}, required=("from", "to"))


def _refs(**more: Manifest) -> Manifest:
    words = {key: text() for key in ("group", "kind", "name", "namespace", "sectionName")}
    return listing(record({**words, "port": PORT_NUMBER, **more}))
