"""One real Envoy that plays everybody: callers with double HBONE, the gateway as the mesh makes it, the workloads.

Addresses are loopback's, each its own: 127.0.0.1 is the gateway, 127.0.0.2 and so on are workloads. HBONE is at one
free port on all of them, in place of 15008.
"""

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.bootstrap.internal_listener.v3 import internal_listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import json_format

from isthmus.trust.authority import Authority, workload_names
from isthmus.trust.issue import Validity
from isthmus.trust.pem import key_to_pem, new_key
from isthmus.xds.resource import CDS, EDS, LDS, RDS, XdsResource
from tests.envoy.running import free_ports, started

Json = dict[str, Any]
NAMED_IN_JSON = (file_pb2, internal_listener_pb2, router_pb2, tcp_proxy_pb2, http_protocol_options_pb2)
"""Messages that JSON below names by type: they must have been imported."""

_T = "type.googleapis.com/"
_HCM = _T + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TCP = _T + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_TLS = _T + "envoy.extensions.transport_sockets.tls.v3"
_ROUTER = {"name": "router", "typed_config": {"@type": _T + "envoy.extensions.filters.http.router.v3.Router"}}
_FILE_LOG = _T + "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_INTERNAL = _T + "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HBONE_PORT = 15008


@dataclass(frozen=True)
class Party:
    """Who somebody is: the SPIFFE ID, with certificate and key in PEM."""

    identity: str
    chain: bytes
    key: bytes


def party(authority: Authority, identity: str) -> Party:
    """A holder of a fresh certificate."""
    key = new_key()
    issued = authority.issue(
        key.public_key(), workload_names(identity), validity=Validity(time.time(), 3600), serial=abs(hash(identity)) + 1
    )
    return Party(identity, issued.presented, key_to_pem(key))


@dataclass(frozen=True)
class Caller:
    """Somebody who asks for `authority`, as who they are, and expects to meet these identities."""

    name: str
    who: Party
    authority: str
    gateway: str
    servers: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """Everybody: the gateway's resources, the workloads by address, the callers."""

    roots: bytes
    gateway: Party
    resources: Mapping[str, Iterable[XdsResource]]
    workloads: Mapping[str, Party]
    callers: Iterable[Caller]


def _pem(text: bytes) -> Json:
    return {"inline_string": text.decode()}


def _certificate(who: Party) -> Json:
    return {"certificate_chain": _pem(who.chain), "private_key": _pem(who.key)}


def _validation(roots: bytes, identities: Iterable[str]) -> Json:
    names = [{"san_type": "URI", "matcher": {"exact": one}} for one in identities]
    return {"trusted_ca": _pem(roots), **({"match_typed_subject_alt_names": names} if names else {})}


def _address(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}


def _upstream(name: str, address: Json, who: Party, validation: Json, *, reused: bool) -> Json:
    """A cluster that speaks HTTP/2 with mutual TLS to one place; `reused`: many calls share a connection."""
    common = {
        "alpn_protocols": ["h2"],
        "tls_certificates": [_certificate(who)],
        "validation_context": validation,
    }
    socket = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": f"{_TLS}.UpstreamTlsContext", "common_tls_context": common},
    }
    http2 = {"http2_protocol_options": {"allow_connect": True}}
    once = {} if reused else {"common_http_protocol_options": {"max_requests_per_connection": 1}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "transport_socket": socket,
        "typed_extension_protocol_options": {
            _OPTIONS: {"@type": f"{_T}{_OPTIONS}", "explicit_http_config": http2, **once},
        },
    }


def _tunnel(name: str, cluster: str, authority: str) -> Json:
    config = {"@type": _TCP, "stat_prefix": name, "cluster": cluster, "tunneling_config": {"hostname": authority}}
    return {"filters": [{"name": "tcp", "typed_config": config}]}


def _caller(one: Caller, port: int, scene: Scene, hbone: int) -> tuple[list[Json], list[Json]]:
    """Listeners and clusters of a caller: a connection to `port` goes through a tunnel in a tunnel."""
    outer = f"{one.name}-outer"
    inner_address = {"envoy_internal_address": {"server_listener_name": outer}}
    # What is inside belongs to one endpoint, which the gateway chooses: each call chooses anew (AM15).
    servers = _validation(scene.roots, one.servers)
    inner = _upstream(f"{one.name}-inner", inner_address, one.who, servers, reused=False)
    entrance = _validation(scene.roots, [one.gateway])
    gateway = _upstream(f"{one.name}-gateway", _address("127.0.0.1", hbone), one.who, entrance, reused=True)
    listeners = [
        {
            "name": one.name,
            "address": _address("127.0.0.1", port),
            "filter_chains": [_tunnel(one.name, f"{one.name}-inner", one.authority)],
        },
        {
            "name": outer,
            "internal_listener": {},
            "filter_chains": [_tunnel(outer, f"{one.name}-gateway", one.authority)],
        },
    ]
    return listeners, [inner, gateway]


def _workload(address: str, who: Party, roots: bytes, hbone: int, app: int, log: Path) -> tuple[list[Json], list[Json]]:
    """A workload: HBONE ends here, and the application answers with the workload's address."""
    name = f"workload {address}"
    common = {
        "alpn_protocols": ["h2"],
        "tls_certificates": [_certificate(who)],
        "validation_context": _validation(roots, []),
    }
    socket = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TLS}.DownstreamTlsContext",
            "common_tls_context": common,
            "require_client_certificate": True,
        },
    }
    route = {
        "match": {"connect_matcher": {}},
        "route": {"cluster": name, "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]},
    }
    said = {"address": address, "peer": "%DOWNSTREAM_PEER_URI_SAN%", "authority": "%REQ(:AUTHORITY)%"}
    manager = {
        "@type": _HCM,
        "stat_prefix": name,
        "http_filters": [_ROUTER],
        "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]},
        "access_log": [
            {
                "name": "file",
                "typed_config": {"@type": _FILE_LOG, "path": str(log), "log_format": {"json_format": said}},
            }
        ],
        "access_log_options": {"flush_access_log_on_new_request": True},
    }
    answer = {"direct_response": {"status": 200, "body": {"inline_string": address}}, "match": {"prefix": "/"}}
    application = {
        "@type": _HCM,
        "stat_prefix": "app",
        "http_filters": [_ROUTER],
        "route_config": {"virtual_hosts": [{"name": "app", "domains": ["*"], "routes": [answer]}]},
    }
    listeners = [
        {
            "name": name,
            "address": _address(address, hbone),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}], "transport_socket": socket}],
        },
        {
            "name": f"app {address}",
            "address": _address(address, app),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": application}]}],
        },
    ]
    place = [{"lb_endpoints": [{"endpoint": {"address": _address(address, app)}}]}]
    return listeners, [{"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": place}}]


def _static_gateway(scene: Scene, hbone: int, config: bootstrap_pb2.Bootstrap) -> None:
    """The gateway's resources as static ones: what would come over xDS and SDS is put in its place."""
    routes = {one.name: route_pb2.RouteConfiguration.FromString(one.body) for one in scene.resources[RDS]}
    ends = {one.name: endpoint_pb2.ClusterLoadAssignment.FromString(one.body) for one in scene.resources[EDS]}
    for one in scene.resources[LDS]:
        listener = listener_pb2.Listener.FromString(one.body)
        if listener.address.socket_address.port_value != HBONE_PORT:
            continue
        listener.address.socket_address.address = "127.0.0.1"
        listener.address.socket_address.port_value = hbone
        for chain in listener.filter_chains:
            _inline_secrets(chain.transport_socket.typed_config)
            for filter_ in chain.filters:
                _inline_routes(filter_.typed_config, routes)
        config.static_resources.listeners.append(listener)
    for one in scene.resources[CDS]:
        cluster = cluster_pb2.Cluster.FromString(one.body)
        if cluster.name in ends and cluster.name.startswith("inbound-vip"):
            cluster.type = cluster_pb2.Cluster.STATIC
            cluster.ClearField("eds_cluster_config")
            for group in ends[cluster.name].endpoints:
                for member in group.lb_endpoints:
                    assert member.endpoint.address.socket_address.port_value == HBONE_PORT
                    member.endpoint.address.socket_address.port_value = hbone
            cluster.load_assignment.CopyFrom(ends[cluster.name])
            config.static_resources.clusters.append(cluster)


def _inline_secrets(holder: Any) -> None:
    context = tls_pb2.DownstreamTlsContext()
    assert holder.Unpack(context)
    for secret in context.common_tls_context.tls_certificate_sds_secret_configs:
        secret.ClearField("sds_config")
    if context.common_tls_context.HasField("combined_validation_context"):
        combined = context.common_tls_context.combined_validation_context
        combined.validation_context_sds_secret_config.ClearField("sds_config")
    holder.Pack(context)


def _inline_routes(holder: Any, routes: Mapping[str, route_pb2.RouteConfiguration]) -> None:
    manager = hcm_pb2.HttpConnectionManager()
    if holder.Unpack(manager):
        manager.route_config.CopyFrom(routes[manager.rds.route_config_name])
        holder.Pack(manager)


@dataclass
class Running:
    """The scene at play."""

    ports: Mapping[str, int]
    admin: int
    hbone: int
    roots: bytes
    log: Path

    def call(self, caller: str, count: int = 1) -> list[str]:
        """Who answered so many calls, each on a connection of its own; "" where the connection was closed."""
        found = []
        for _ in range(count):
            with contextlib.suppress(httpx.TransportError):
                found.append(httpx.get(f"http://127.0.0.1:{self.ports[caller]}/", timeout=10).text)
                continue
            found.append("")
        return found

    def met(self) -> list[Json]:
        """What workloads saw of their callers, as soon as somebody was seen."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            if lines:
                return [json.loads(line) for line in lines]
            time.sleep(0.05)
        return []

    def count(self, name: str) -> int:
        """A counter of Envoy's."""
        found = httpx.get(f"http://127.0.0.1:{self.admin}/stats?filter=^{name}$").text
        return int(found.rpartition(":")[2] or 0)


@contextmanager
def playing(directory: Path, scene: Scene) -> Iterator[Running]:
    """Start it."""
    callers = list(scene.callers)
    admin, hbone, app, *ports = free_ports(3 + len(callers))
    log = directory / "met.log"
    listeners: list[Json] = []
    clusters: list[Json] = []
    parts = [_caller(one, port, scene, hbone) for one, port in zip(callers, ports, strict=True)]
    parts += [_workload(address, who, scene.roots, hbone, app, log) for address, who in scene.workloads.items()]
    for some_listeners, some_clusters in parts:
        listeners += some_listeners
        clusters += some_clusters
    internal = {"name": "envoy.bootstrap.internal_listener", "typed_config": {"@type": _INTERNAL}}
    secrets = [
        {"name": "default", "tls_certificate": _certificate(scene.gateway)},
        {"name": "ROOTCA", "validation_context": _validation(scene.roots, [])},
    ]
    config = bootstrap_pb2.Bootstrap()
    json_format.ParseDict(
        {
            "node": {"id": "test", "cluster": "test"},
            "admin": {"address": _address("127.0.0.1", admin)},
            "bootstrap_extensions": [internal],
            "static_resources": {"listeners": listeners, "clusters": clusters, "secrets": secrets},
        },
        config,
    )
    _static_gateway(scene, hbone, config)
    with started(config, directory, admin):
        yield Running(
            {one.name: port for one, port in zip(callers, ports, strict=True)}, admin, hbone, scene.roots, log
        )
