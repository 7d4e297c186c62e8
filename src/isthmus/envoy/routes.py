"""Routes: for each HTTP port number, one virtual host for each service that has it."""

from collections.abc import Iterable, Iterator

import msgspec
from envoy.config.route.v3 import route_components_pb2, route_pb2

from isthmus.envoy import connect, naming, rbac, upstream
from isthmus.envoy.build import Message, boolean, resource
from isthmus.envoy.http_routes import ClusterOf, default_route
from isthmus.envoy.http_routes import routes as rule_routes
from isthmus.model.mesh import ServiceView
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.routing import HttpRoute
from isthmus.model.settings import MeshSettings
from isthmus.xds.resource import RDS, XdsResource
from isthmus.xds.wire import length_delimited

_VIRTUAL_HOSTS = 2
"""Number of the repeated field in RouteConfiguration."""


def domains(view: ServiceView, port: int, *, own_namespace: bool, domain: str) -> tuple[str, ...]:
    """All names by which callers mean this service on this port.

    Ports in names are ignored when matching (see `route_configuration`), as Istio does. The shortest form means
    something only in the service's own namespace. A headless service has names of its pods below it.
    """
    service = view.service
    suffix = f".svc.{domain}"
    forms = [service.host]
    if service.host.endswith(suffix):
        base = f"{service.name}.{service.namespace}"
        forms += [service.name] if own_namespace else []
        forms += [base, f"{base}.svc"]
    if service.headless:
        forms += [f"*.{form}" for form in forms]
    forms += [_literal(address) for address in view.listens_at(port) if "/" not in address]
    return tuple(dict.fromkeys(forms))


def _literal(address: str) -> str:
    """An address as it stands in a Host header: IPv6 in brackets (RFC 3986)."""
    return f"[{address}]" if ":" in address else address


class Rules(msgspec.Struct, frozen=True):
    """What VirtualServices say of a host to some clients, and the clusters that its destinations mean.

    `sources` are for each route the path of the object that says it, as tools show it.
    """

    routes: tuple[HttpRoute, ...]
    cluster_of: ClusterOf
    sources: tuple[str, ...]

    def made(self) -> Iterator[Message]:
        """Envoy's routes."""
        for route, source in zip(self.routes, self.sources, strict=True):
            yield from rule_routes([route], self.cluster_of, source)


def virtual_host(
    view: ServiceView, port: int, *, own_namespace: bool, settings: MeshSettings, rules: Rules | None = None
) -> bytes:
    """The encoded virtual host of a service on a port, ready to be joined into a route configuration."""
    service = view.service
    if rules is None:
        found = [default_route("default", naming.outbound(port, service.host), retry=True)]
    else:
        found = list(rules.made())
    names = domains(view, port, own_namespace=own_namespace, domain=settings.domain)
    return _encoded(f"{service.host}:{port}", names, found)


def _encoded(name: str, names: Iterable[str], found: list[Message]) -> bytes:
    message = route_components_pb2.VirtualHost(
        name=name, domains=list(names), routes=found, include_request_attempt_count=True
    )
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def as_part(virtual_host: bytes) -> bytes:
    """An encoded virtual host as a part of a route configuration: parts are joined as they are."""
    return length_delimited(_VIRTUAL_HOSTS, virtual_host) if virtual_host else b""


def route_configuration(name: str, parts: Iterable[bytes], settings: MeshSettings) -> XdsResource:
    """The routes of one port number: known services, and what to do with unknown hosts."""
    head = route_pb2.RouteConfiguration(
        name=name,
        validate_clusters=boolean(False),
        ignore_port_in_host_matching=True,
        response_headers_to_remove=[upstream.GATEWAY_HEADER],
    ).SerializeToString(deterministic=True)
    unknown = as_part(_unknown(settings).SerializeToString(deterministic=True))
    return XdsResource(RDS, name, b"".join((head, *parts, unknown)))


def inbound_routes(port: int, policies: Iterable[AuthorizationPolicy] = (), *, tunnelled: bool = False) -> XdsResource:
    """The routes of a workload's port: everything that the policies let through to the application.

    `tunnelled`: for what came by HBONE, whose caller is in filter state.
    """
    name = naming.inbound_hbone(port) if tunnelled else naming.inbound(port)
    host = route_components_pb2.VirtualHost(
        name=f"inbound|http|{port}",
        domains=["*"],
        routes=[default_route("default", naming.inbound(port), retry=False)],
        typed_per_filter_config=rbac.route_rules(policies, tunnelled=tunnelled),
    )
    if tunnelled:
        connect.identified(host)
    message = route_pb2.RouteConfiguration(name=name, virtual_hosts=[host], validate_clusters=boolean(False))
    return resource(RDS, name, message)


def _unknown(settings: MeshSettings) -> Message:
    """Hosts that the mesh does not know: to where the caller meant to go, or 502 where that is not allowed."""
    if settings.allow_any:
        route = default_route("allow_any", naming.PASSTHROUGH, retry=False)
        return route_components_pb2.VirtualHost(name="allow_any", domains=["*"], routes=[route])
    answer = route_components_pb2.Route(
        name="block_all",
        match=route_components_pb2.RouteMatch(prefix="/"),
        direct_response=route_components_pb2.DirectResponseAction(status=502),
    )
    return route_components_pb2.VirtualHost(name="block_all", domains=["*"], routes=[answer])
