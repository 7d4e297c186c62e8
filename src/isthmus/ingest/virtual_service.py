"""`networking.istio.io` VirtualServices: the object as a whole, and its rules for connections (TLS, TCP)."""

import ipaddress
from typing import Any

from isthmus.base.names import service_hostname
from isthmus.ingest.finding import Reader, Result, is_address, is_host
from isthmus.ingest.http_route import http_routes
from isthmus.ingest.place import Place
from isthmus.ingest.route_parts import Parts
from isthmus.kube import objects
from isthmus.model.routing import MESH, StreamMatch, StreamRoute, VirtualService

_SPEC = ("hosts", "gateways", "http", "tls", "tcp", "exportTo")
_STREAM = ("match", "route")
_TLS_MATCH = ("sniHosts", "destinationSubnets", "port", "sourceLabels", "gateways", "sourceNamespace")
_TCP_MATCH = ("destinationSubnets", "port", "sourceLabels", "gateways", "sourceNamespace", "sourceSubnet")


def virtual_service(place: Place, obj: objects.Custom) -> Result:
    """How clients of some hosts are routed. Names without dots are services of the object's own namespace."""
    read = Reader(place.cluster, "VirtualService", obj)
    parts = Parts(read, place, obj.metadata.namespace)
    spec = read.mapping(obj.spec, "spec")
    read.set_aside(spec, "spec", _SPEC)
    gateways = parts.gateways(spec.get("gateways"), "spec.gateways") or (MESH,)
    row = VirtualService(
        cluster=place.cluster,
        namespace=obj.metadata.namespace,
        name=obj.metadata.name,
        hosts=_hosts(read, place, obj, spec.get("hosts"), mesh=MESH in gateways),
        gateways=gateways,
        http=http_routes(parts, spec.get("http")),
        tls=_streams(parts, spec.get("tls"), "spec.tls", tls=True),
        tcp=_streams(parts, spec.get("tcp"), "spec.tcp", tls=False),
        export_to=parts.export_to(spec.get("exportTo"), "spec.exportTo"),
        created=obj.metadata.creation_timestamp or "",
    )
    if not (row.http or row.tls or row.tcp) and not read.is_refused():
        read.error("spec", "has no routes", "Add http, tls or tcp routes")
    return read.result(row)


def _hosts(read: Reader, place: Place, obj: objects.Custom, value: Any, *, mesh: bool) -> tuple[str, ...]:
    found = read.strings(value, "spec.hosts")
    if not found and not read.is_refused():
        read.error("spec.hosts", "is empty", "Name the hosts that callers call, such as reviews or *.example.com")
    hosts: list[str] = []
    for i, host in enumerate(found):
        if not is_host(host) and not is_address(host):
            read.error(f"spec.hosts[{i}]", f"{host!r} is no host name", "Write a DNS name, *.<name>, * or an address")
        elif host == "*" and mesh:
            read.error(
                f"spec.hosts[{i}]",
                "every host of the mesh cannot be routed at once",
                "Name the hosts, or list the gateways for which * is meant under spec.gateways",
            )
        short = "." not in host and ":" not in host and host != "*"
        hosts.append(service_hostname(host, obj.metadata.namespace, place.domain) if short else host)
    return tuple(dict.fromkeys(host.lower() for host in hosts))


def _streams(parts: Parts, value: Any, field: str, *, tls: bool) -> tuple[StreamRoute, ...]:
    routes = []
    for i, item in enumerate(parts.read.items(value, field)):
        at = f"{field}[{i}]"
        route = parts.read.mapping(item, at)
        parts.read.set_aside(route, at, _STREAM)
        matches = _stream_matches(parts, route.get("match"), f"{at}.match", tls=tls)
        if tls and not matches:
            parts.read.error(f"{at}.match", "is empty", "Say which names this is for: match: [{sniHosts: [a.example]}]")
        destinations = parts.destinations(route.get("route"), f"{at}.route")
        if not destinations:
            parts.read.error(f"{at}.route", "is empty", "Name a destination")
        if any(one.headers.request_set or one.headers.response_set for one in destinations):
            parts.read.warn(f"{at}.route", "headers have no effect on connections", "Remove them")
        routes.append(StreamRoute(matches=matches, destinations=destinations))
    return tuple(routes)


def _stream_matches(parts: Parts, value: Any, field: str, *, tls: bool) -> tuple[StreamMatch, ...]:
    found = []
    for i, item in enumerate(parts.read.items(value, field)):
        at = f"{field}[{i}]"
        match = parts.read.mapping(item, at)
        parts.read.set_aside(match, at, _TLS_MATCH if tls else _TCP_MATCH)
        if match.get("sourceSubnet"):
            parts.read.error(f"{at}.sourceSubnet", "is not supported", "Tell clients apart by sourceLabels")
        found.append(
            StreamMatch(
                client=parts.client(match, at),
                sni_hosts=_sni_hosts(parts, match.get("sniHosts"), f"{at}.sniHosts") if tls else (),
                subnets=_subnets(parts, match.get("destinationSubnets"), f"{at}.destinationSubnets"),
            )
        )
    return tuple(found)


def _sni_hosts(parts: Parts, value: Any, field: str) -> tuple[str, ...]:
    hosts = parts.read.strings(value, field)
    if not hosts:
        parts.read.error(field, "is empty", "Name the hosts that clients ask for in TLS, * for any")
    for i, host in enumerate(hosts):
        if not is_host(host):
            parts.read.error(f"{field}[{i}]", f"{host!r} is no host name", "Write a DNS name, *.<name> or *")
    return tuple(host.lower() for host in hosts)


def _subnets(parts: Parts, value: Any, field: str) -> tuple[str, ...]:
    found = parts.read.strings(value, field)
    for i, subnet in enumerate(found):
        try:
            ipaddress.ip_network(subnet, strict=False)
        except ValueError:
            parts.read.error(f"{field}[{i}]", f"{subnet!r} is no subnet", "Write an address or 10.0.0.0/8")
    return found
