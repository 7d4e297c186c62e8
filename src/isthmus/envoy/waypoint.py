"""A waypoint: HBONE ends here with the waypoint's identity, each port of a service has an internal listener of its own.

The authority of a tunnel names a port of a service: `VIP:port`, or `host:port`. Behind it requests go by the service's
routes and policies, whose callers are those who opened the tunnels; the endpoints are reached by HBONE again and see
the waypoint as their peer. Anything else that is asked for is answered 404.
"""

from collections.abc import Iterable

import msgspec
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from isthmus.envoy import connect, filters, hbone, naming, rbac, upstream
from isthmus.envoy.access_log import GATEWAY
from isthmus.envoy.build import Message, ads, boolean, resource
from isthmus.envoy.connect import Way, authority
from isthmus.envoy.filter_state import setter
from isthmus.envoy.http_routes import default_route
from isthmus.envoy.node_outbound import CAME_FROM, MEANT, WORKLOADS
from isthmus.envoy.routes import Rules
from isthmus.model.mesh import ServiceView
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.rows import ServicePort
from isthmus.xds.resource import RDS, XdsResource

FilterChain = listener_components_pb2.FilterChain
FilterChainMatch = listener_components_pb2.FilterChainMatch


class Taken(msgspec.Struct, frozen=True):
    """One port of a service that goes through the waypoint."""

    view: ServiceView
    port: ServicePort

    @property
    def name(self) -> str:
        """The name of its internal listener, of the cluster that leads there, and of its routes."""
        kind = "http" if self.port.protocol.is_http else "tcp"
        return naming.inbound_vip(self.port.port, self.view.service.host, kind)

    @property
    def cluster(self) -> str:
        """Where its requests go that no rule is about."""
        return naming.outbound(self.port.port, self.view.service.host)

    def authorities(self) -> tuple[str, ...]:
        """What a tunnel may ask for to mean it."""
        number = self.port.port
        addresses = [address for address in self.view.listens_at(number) if "/" not in address]
        return tuple(authority(name, number) for name in (*addresses, self.view.service.host))


PODS = "pods"
"""The internal listener for what is sent to pods' own addresses, the cluster that leads there, and its routes."""

OF_PODS = (PODS, WORKLOADS)


def ways(taken: Iterable[Taken], pods: Iterable[str] = ()) -> XdsResource:
    """What tunnels may ask for: ports of services, and any port of these addresses of pods."""
    found = [Way(one.name, one.authorities(), one.name) for one in taken]
    addresses = tuple(f"[{one}]:*" if ":" in one else f"{one}:*" for one in pods)
    return connect.routes([*found, Way(PODS, addresses, PODS)] if addresses else found)


def pods_listener(policies: Iterable[AuthorizationPolicy]) -> XdsResource:
    """The internal listener for pods: what they speak is seen from the first bytes. `workloads` knows whose address
    it is."""
    held = tuple(policies)
    onwards = setter(MEANT, CAME_FROM)
    web = FilterChainMatch(application_protocols=["http/1.1", "http/1.0", "h2c"])
    manager = _manager(PODS, held)
    log = (*rbac.log_fields(held, rbac.NETWORK_FILTER), *connect.PEER_LOG)
    stream = [*rbac.network_filters(held, tunnelled=True), onwards, filters.tcp_proxy(WORKLOADS, GATEWAY, log=log)]
    chains = [
        FilterChain(name="http", filter_chain_match=web, filters=[onwards, manager]),
        FilterChain(name="bytes", filters=stream),
    ]
    return connect.internal_listener(PODS, chains, before=[filters.http_inspector()])


def pods_routes(policies: Iterable[AuthorizationPolicy]) -> XdsResource:
    """The routes of requests to pods: each to the pod that it is meant for."""
    return _routes(PODS, PODS, [default_route("default", WORKLOADS, retry=True)], policies)


def pods_cluster(origin: hbone.Origin) -> XdsResource:
    """The cluster that leads from there to `workloads`; requests go on in the protocol that they came in."""
    return hbone.internal_cluster(
        WORKLOADS, WORKLOADS, origin, typed_extension_protocol_options=upstream.downstream_protocol()
    )


def inside(taken: Taken) -> XdsResource:
    """The cluster that leads to the port's internal listener."""
    return connect.inside(taken.name, taken.name)


def listener(taken: Taken, policies: Iterable[AuthorizationPolicy]) -> XdsResource:
    """The internal listener of a port: requests by routes, or bytes to the service's endpoints."""
    held = tuple(policies)
    found = _http(taken, held) if taken.port.protocol.is_http else _bytes(taken, held)
    return connect.internal_listener(taken.name, [FilterChain(name=taken.name, filters=found)])


def _bytes(taken: Taken, policies: tuple[AuthorizationPolicy, ...]) -> list[Message]:
    log = (*rbac.log_fields(policies, rbac.NETWORK_FILTER), *connect.PEER_LOG)
    return [
        *rbac.network_filters(policies, tunnelled=True),
        filters.tcp_proxy(taken.cluster, GATEWAY, log=log),
    ]


def _http(taken: Taken, policies: tuple[AuthorizationPolicy, ...]) -> list[Message]:
    return [_manager(taken.name, policies)]


def _manager(name: str, policies: tuple[AuthorizationPolicy, ...]) -> Message:
    return filters.http_manager(
        name,
        GATEWAY,
        before=rbac.http_filters(),
        log=(*rbac.log_fields(policies, rbac.HTTP_FILTER), *connect.PEER_LOG),
        rds=hcm_pb2.Rds(config_source=ads(), route_config_name=name),
        forward_client_cert_details=hcm_pb2.HttpConnectionManager.SANITIZE,
    )


def routes(taken: Taken, rules: Rules | None, policies: Iterable[AuthorizationPolicy]) -> XdsResource:
    """The routes of a port, for whom the policies let in. The tunnel said what for, whatever name a request has."""
    found = [default_route("default", taken.cluster, retry=True)] if rules is None else list(rules.made())
    return _routes(taken.name, f"{taken.view.service.host}:{taken.port.port}", found, policies)


def _routes(name: str, host_name: str, found: list[Message], policies: Iterable[AuthorizationPolicy]) -> XdsResource:
    host = route_components_pb2.VirtualHost(
        name=host_name,
        domains=["*"],
        routes=found,
        include_request_attempt_count=True,
        typed_per_filter_config=rbac.route_rules(policies, tunnelled=True),
    )
    connect.identified(host)
    message = route_pb2.RouteConfiguration(
        name=name,
        virtual_hosts=[host],
        validate_clusters=boolean(False),
        response_headers_to_remove=[upstream.GATEWAY_HEADER],
    )
    return resource(RDS, name, message)
