"""Envoy's bootstrap as plain JSON: who the proxy is, where its agent listens, and the few listeners it always has."""

from collections.abc import Mapping
from typing import Any

from isthmus.agent.settings import ProxySettings

Json = dict[str, Any]

SOCKET = "agent.sock"
"""The agent's Unix socket, relative to Envoy's working directory: an absolute path may exceed sun_path's 107 bytes."""

XDS_CLUSTER = "xds-grpc"
SDS_CLUSTER = "sds-grpc"
STATS_CLUSTER = "prometheus_stats"

DRAIN_SECONDS = 45
"""How long a listener that was replaced serves its old connections; longer than any wait for termination."""

_TYPE = "type.googleapis.com/"
_HCM = _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = _TYPE + "envoy.extensions.filters.http.router.v3.Router"
_HEALTH_CHECK = _TYPE + "envoy.extensions.filters.http.health_check.v3.HealthCheck"
_HTTP_OPTIONS = _TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_INTERNAL_LISTENER = _TYPE + "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
RUNTIME = {
    "re2.max_program_size.error_level": 32768,
    "envoy.reloadable_features.spiffe_validator_use_upstream_subject_alt_names": True,
    "envoy.reloadable_features.propagate_upstream_rst_through_tunneled_tcp_proxy": False,
}
"""Envoy's own limit is 100, about the characters of a SPIFFE identity: it would refuse whole policies and routes.

Who must be at the end of a tunnel comes with the connection. Envoy compares that also where each trust domain is
believed by its own roots, from 1.40 on; the second line keeps it so.

The end of a tunnel whose server ends first resets the stream after its last byte; Envoy would make a TCP reset of
that for the caller, and drop what it has not written yet.
"""

_CARES = _TYPE + "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
_CONNECTION_LIMIT = _TYPE + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"


def build_bootstrap(settings: ProxySettings, *, version: str) -> Json:
    """The bootstrap of one Envoy; `version` is the agent's own, shown by proxy-status."""
    return {
        **({"typed_dns_resolver_config": _resolver(settings)} if settings.dns_capture else {}),
        "node": build_node(settings, version=version),
        "admin": {"address": _address("127.0.0.1", settings.ports.admin), "ignore_global_conn_limit": True},
        "dynamic_resources": _dynamic_resources(),
        "static_resources": {
            "listeners": [_health_listener(settings), _stats_listener(settings)],
            "clusters": [_agent_cluster(XDS_CLUSTER), _agent_cluster(SDS_CLUSTER), _stats_cluster(settings)],
        },
        "bootstrap_extensions": [
            {"name": "envoy.bootstrap.internal_listener", "typed_config": {"@type": _INTERNAL_LISTENER}}
        ],
        "layered_runtime": {
            "layers": [{"name": "limits", "static_layer": RUNTIME}, {"name": "admin", "admin_layer": {}}]
        },
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "overload_manager": _overload_manager(),
    }


def _resolver(settings: ProxySettings) -> Json:
    """Envoy asks its agent, which asks the name servers outside: where names are captured Envoy's own query would be,
    too, and a host of a ServiceEntry would be its own address.
    """
    return {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": _CARES,
            "resolvers": [_address("127.0.0.1", settings.ports.upstream_dns)],
            "dns_resolver_options": {"no_default_search_domain": True},
        },
    }


def build_node(settings: ProxySettings, *, version: str) -> Json:
    """The node that the control plane sees: id, service cluster and metadata (semantics §1.17)."""
    known = {
        "NAME": settings.name,
        "NAMESPACE": settings.namespace,
        "SERVICE_ACCOUNT": settings.service_account,
        "CLUSTER_ID": settings.cluster,
        "INSTANCE_IPS": settings.ip,
        "ISTIO_VERSION": version,
    }
    metadata = {**settings.metadata, **known}
    return {
        "id": settings.node_id,
        "cluster": f"{_workload_name(settings.metadata) or settings.name}.{settings.namespace}",
        "metadata": dict(sorted(metadata.items())),
    }


def _workload_name(metadata: Mapping[str, Any]) -> str:
    name = metadata.get("WORKLOAD_NAME")
    return name if isinstance(name, str) else ""


def _dynamic_resources() -> Json:
    """Delta ADS for clusters and listeners.

    No fetch times out: an Envoy without configuration must not become ready. The agent's socket comes back
    within seconds after a restart, so the stream is tried again at least every 5 s.
    """
    source = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    retry = {"retry_back_off": {"base_interval": "0.2s", "max_interval": "5s"}}
    return {
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": retry}}],
        },
        "cds_config": source,
        "lds_config": source,
    }


def _agent_cluster(name: str) -> Json:
    """A cluster that reaches the agent over its Unix socket by HTTP/2."""
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _HTTP_OPTIONS,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": _assignment(name, {"pipe": {"path": SOCKET}}),
    }


def _stats_cluster(settings: ProxySettings) -> Json:
    return {
        "name": STATS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "0.250s",
        "load_assignment": _assignment(STATS_CLUSTER, _address("127.0.0.1", settings.ports.admin)),
    }


def _health_listener(settings: ProxySettings) -> Json:
    """`/healthz/ready`, answered by Envoy itself so that readiness outlives the agent.

    Envoy accepts connections only after clusters and listeners arrived, and the agent relays none before the
    certificate is there: an answer means all three. Admin's `healthcheck/fail` turns it into 503 while draining.
    """
    check = {
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": _HEALTH_CHECK,
            "pass_through_mode": False,
            "headers": [{"name": ":path", "string_match": {"exact": "/healthz/ready"}}],
        },
    }
    return {
        "name": "health",
        "stat_prefix": "isthmus_health",
        "address": _address("0.0.0.0", settings.ports.health),
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [_http("health", routes=[], filters=[check])]}],
    }


def _stats_listener(settings: ProxySettings) -> Json:
    """`/stats/prometheus` of the admin port, and nothing else of it."""
    route = {"match": {"path": "/stats/prometheus"}, "route": {"cluster": STATS_CLUSTER}}
    return {
        "name": "stats",
        "stat_prefix": "isthmus_stats",
        "address": _address("127.0.0.1", settings.ports.prometheus),
        "additional_addresses": [{"address": _address("127.0.0.1", settings.ports.stats)}],
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [_http("stats", routes=[route], filters=[])]}],
    }


def _http(name: str, *, routes: list[Json], filters: list[Json]) -> Json:
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": _HCM,
            "stat_prefix": name,
            "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
            "http_filters": [*filters, router],
        },
    }


def _overload_manager() -> Json:
    """States that connections are not limited, which Envoy otherwise warns about."""
    limit = {"@type": _CONNECTION_LIMIT, "max_active_downstream_connections": 2**31 - 1}
    return {
        "resource_monitors": [
            {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": limit}
        ]
    }


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _assignment(name: str, address: Json) -> Json:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
