"""Schemas of `networking.istio.io` and `security.istio.io`: exact where Isthmus reads, open elsewhere."""

from collections.abc import Iterable

from isthmus.install.schema import (
    LABELS,
    PORT_NUMBER,
    SELECTOR,
    STRINGS,
    anything,
    boolean,
    integer,
    listing,
    mapping,
    record,
    text,
)
from isthmus.install.values import Manifest

_SERVER_TLS = ("PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL")
_CLIENT_TLS = ("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL")
_BALANCERS = ("UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST")
_MTLS = ("UNSET", "DISABLE", "PERMISSIVE", "STRICT")


def gateway() -> Manifest:
    """Gateway.spec."""
    port = record(
        {"number": integer(least=0, most=4294967295), "protocol": text(), "name": text(), "targetPort": PORT_NUMBER},
        required=("number", "protocol", "name"),
    )
    tls = record(
        {
            "mode": text("How TLS is handled.", choices=_SERVER_TLS),
            "httpsRedirect": boolean(),
            "credentialName": text(),
            "subjectAltNames": STRINGS,
        }
    )
    server = record(
        {"port": port, "bind": text(), "hosts": STRINGS, "tls": tls, "name": text()}, required=("port", "hosts")
    )
    return record({"selector": LABELS, "servers": listing(server)})


def virtual_service() -> Manifest:
    """VirtualService.spec."""
    destination = record(
        {"host": text(), "subset": text(), "port": record({"number": PORT_NUMBER})}, required=("host",)
    )
    weighted = record({"destination": destination, "weight": integer(), "headers": anything()})
    http = record({"name": text(), "match": listing(anything()), "route": listing(weighted), "timeout": text()})
    stream = record({"match": listing(anything()), "route": listing(weighted)})
    return record(
        {
            "hosts": STRINGS,
            "gateways": STRINGS,
            "exportTo": STRINGS,
            "http": listing(http),
            "tls": listing(stream),
            "tcp": listing(stream),
        }
    )


def traffic_policy() -> Manifest:
    """DestinationRule's trafficPolicy, without the settings of single ports."""
    tls = record(
        {"mode": text(choices=_CLIENT_TLS), "sni": text(), "subjectAltNames": STRINGS, "credentialName": text()}
    )
    return {
        "loadBalancer": record({"simple": text(choices=_BALANCERS)}),
        "connectionPool": record({"tcp": _tcp_pool(), "http": _http_pool()}),
        "outlierDetection": _outlier_detection(),
        "tls": tls,
    }


def _tcp_pool() -> Manifest:
    return record(
        {
            "maxConnections": integer(),
            "connectTimeout": text(),
            "idleTimeout": text(),
            "maxConnectionDuration": text(),
        }
    )


def _http_pool() -> Manifest:
    counts = ("http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "maxRetries")
    return record({**{key: integer() for key in counts}, "idleTimeout": text()})


def _outlier_detection() -> Manifest:
    counts = (
        "consecutive5xxErrors",
        "consecutiveErrors",
        "consecutiveGatewayErrors",
        "consecutiveLocalOriginFailures",
        "maxEjectionPercent",
        "minHealthPercent",
    )
    return record(
        {
            **{key: integer() for key in counts},
            "splitExternalLocalOriginErrors": boolean(),
            "interval": text(),
            "baseEjectionTime": text(),
        }
    )


def destination_rule() -> Manifest:
    """DestinationRule.spec."""
    port_level = record({"port": record({"number": PORT_NUMBER}), **traffic_policy()})
    policy = record({**traffic_policy(), "portLevelSettings": listing(port_level)})
    subset = record({"name": text(), "labels": LABELS, "trafficPolicy": policy}, required=("name",))
    return record(
        {
            "host": text("The service that this is for."),
            "trafficPolicy": policy,
            "subsets": listing(subset),
            "exportTo": STRINGS,
            "workloadSelector": SELECTOR,
        },
        required=("host",),
    )


def workload_entry() -> Manifest:
    """WorkloadEntry.spec, and an endpoint of a ServiceEntry."""
    return record(
        {
            "address": text("IP address, host name, or unix:// path."),
            "ports": mapping(integer(least=0, most=4294967295)),
            "labels": LABELS,
            "network": text(),
            "locality": text(),
            "weight": integer(least=0, most=4294967295),
            "serviceAccount": text(),
        }
    )


def service_entry() -> Manifest:
    """ServiceEntry.spec."""
    port = record(
        {"number": integer(least=0, most=4294967295), "protocol": text(), "name": text(), "targetPort": PORT_NUMBER},
        required=("number", "name"),
    )
    return record(
        {
            "hosts": STRINGS,
            "addresses": STRINGS,
            "ports": listing(port),
            "location": text(choices=("MESH_EXTERNAL", "MESH_INTERNAL")),
            "resolution": text(choices=("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS")),
            "endpoints": listing(workload_entry()),
            "workloadSelector": record({"labels": LABELS}),
            "exportTo": STRINGS,
            "subjectAltNames": STRINGS,
        },
        required=("hosts",),
    )


def workload_group() -> Manifest:
    """WorkloadGroup.spec."""
    return record(
        {
            "metadata": record({"labels": LABELS, "annotations": LABELS}),
            "template": workload_entry(),
            "probe": anything(),
        },
        required=("template",),
    )


def sidecar() -> Manifest:
    """Sidecar.spec."""
    listener = record({"hosts": STRINGS, "bind": text(), "captureMode": text(), "port": anything()})
    mode = text(choices=("REGISTRY_ONLY", "ALLOW_ANY"))
    return record(
        {
            "workloadSelector": record({"labels": LABELS}),
            "egress": listing(listener),
            "ingress": listing(anything()),
            "outboundTrafficPolicy": record({"mode": mode}),
        }
    )


def peer_authentication() -> Manifest:
    """PeerAuthentication.spec."""
    mtls = record({"mode": text(choices=_MTLS)})
    return record({"selector": SELECTOR, "mtls": mtls, "portLevelMtls": mapping(mtls)})


def authorization_policy() -> Manifest:
    """AuthorizationPolicy.spec. Unknown fields are kept: dropped, they would make an ALLOW rule wider than it says."""
    who = ("principals", "requestPrincipals", "namespaces", "serviceAccounts", "trustDomains")
    blocks = ("ipBlocks", "remoteIpBlocks")
    what = ("hosts", "ports", "methods", "paths")
    source = record(_with_negatives((*who, *blocks)))
    operation = record(_with_negatives(what))
    condition = record({"key": text(), "values": STRINGS, "notValues": STRINGS}, required=("key",))
    rule = record(
        {
            "from": listing(record({"source": source})),
            "to": listing(record({"operation": operation})),
            "when": listing(condition),
        }
    )
    return record(
        {
            "selector": SELECTOR,
            "targetRef": anything(),
            "targetRefs": listing(anything()),
            "action": text(choices=("ALLOW", "DENY", "AUDIT", "CUSTOM")),
            "provider": record({"name": text()}),
            "rules": listing(rule),
        }
    )


def _with_negatives(names: Iterable[str]) -> dict[str, Manifest]:
    return {one: STRINGS for name in names for one in (name, f"not{name[0].upper()}{name[1:]}")}


def request_authentication() -> Manifest:
    """RequestAuthentication.spec."""
    rule = record({"issuer": text(), "audiences": STRINGS, "jwksUri": text(), "jwks": text()})
    return record(
        {
            "selector": SELECTOR,
            "targetRef": anything(),
            "targetRefs": listing(anything()),
            "jwtRules": listing(rule),
        }
    )
