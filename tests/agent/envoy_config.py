"""Configuration for a real Envoy: a request enters in plain, passes mutual TLS through itself, and reaches an app."""

import json
import socket
from dataclasses import dataclass
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401
from google.protobuf import json_format

from isthmus.xds.resource import CDS, LDS, XdsResource

_TYPE = "type.googleapis.com/envoy.extensions."


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that were free a moment ago."""
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in made]
    for server in made:
        server.close()
    return ports


def free_pair() -> int:
    """A port that was free a moment ago for datagrams and streams, as was the one after it: name servers take both."""
    while True:
        (port,) = free_ports(1)
        if all(_is_free(one, kind) for one in (port, port + 1) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
            return port


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as made:
        try:
            made.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass(frozen=True)
class Path:
    """Ports on the way of a request."""

    outbound: int
    inbound: int
    app: int


def through_itself(path: Path) -> list[XdsResource]:
    """Clusters and listeners: outbound (HTTP) - mutual TLS - inbound - app."""
    return [
        _cluster("app", path.app),
        _cluster("mtls", path.inbound, transport_socket=_tls("Upstream", {"sni": "inbound"})),
        _listener("inbound", path.inbound, _tcp_proxy("app"), transport_socket=_tls("Downstream", _REQUIRED)),
        _listener("outbound", path.outbound, _http("mtls")),
    ]


_REQUIRED = {"require_client_certificate": True}


def sds(name: str) -> dict[str, Any]:
    source = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
    }
    return {
        "name": name,
        "sds_config": {"api_config_source": source, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
    }


def _tls(side: str, extra: dict[str, Any]) -> dict[str, Any]:
    common = {
        "tls_certificate_sds_secret_configs": [sds("default")],
        "validation_context_sds_secret_config": sds("ROOTCA"),
    }
    kind = f"{_TYPE}transport_sockets.tls.v3.{side}TlsContext"
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": kind, "common_tls_context": common, **extra},
    }


def _cluster(name: str, port: int, **extra: Any) -> XdsResource:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    load = {"cluster_name": name, "endpoints": endpoints}
    text = {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": load, **extra}
    return resource(CDS, name, cluster_pb2.Cluster(), text)


def _listener(name: str, port: int, network_filter: dict[str, Any], **extra: Any) -> XdsResource:
    text = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "traffic_direction": name.upper(),
        "filter_chains": [{"filters": [network_filter], **extra}],
    }
    return resource(LDS, name, listener_pb2.Listener(), text)


def _tcp_proxy(cluster: str) -> dict[str, Any]:
    kind = f"{_TYPE}filters.network.tcp_proxy.v3.TcpProxy"
    return {"name": "tcp", "typed_config": {"@type": kind, "stat_prefix": "inbound", "cluster": cluster}}


def _http(cluster: str) -> dict[str, Any]:
    router = {"name": "router", "typed_config": {"@type": f"{_TYPE}filters.http.router.v3.Router"}}
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]
    config = {
        "@type": f"{_TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "outbound",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [router],
    }
    return {"name": "http", "typed_config": config}


def resource(type_url: str, name: str, message: Any, text: dict[str, Any]) -> XdsResource:
    json_format.Parse(json.dumps(text), message)
    return XdsResource(type_url, name, message.SerializeToString(deterministic=True))
