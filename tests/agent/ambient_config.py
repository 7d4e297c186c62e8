"""Configuration for one Envoy that is the proxy of a node: listeners and upstream sockets inside pods' namespaces."""

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2  # noqa: F401

from isthmus.install.capture_rules import PROXY_MARK, NodeCapture
from isthmus.xds.resource import CDS, LDS, XdsResource
from tests.agent import envoy_config

PORTS = NodeCapture()
_TYPE = "type.googleapis.com/envoy.extensions."


def pod_resources(uid: str, netns: str, *, identity: str, answer: str) -> list[XdsResource]:
    """Plain bytes in and out of the pod, to where they were going; on the HBONE port TLS with the pod's identity.

    `answer` is the port of an application on the loopback of the pod that what comes by HBONE is led to.
    """
    cluster = f"passthrough/{uid}"
    local = f"local/{uid}"
    return [
        _cluster(cluster, netns, {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}),
        _cluster(local, netns, {"type": "STATIC", "load_assignment": _assignment(local, int(answer))}),
        _listener(f"pod/{uid}/outbound", netns, PORTS.outbound_port, _proxy(cluster)),
        _listener(f"pod/{uid}/inbound", netns, PORTS.inbound_port, _proxy(cluster)),
        _listener(f"pod/{uid}/hbone", netns, PORTS.hbone_port, _proxy(local, tls=_tls(identity))),
    ]


def _assignment(name: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def _cluster(name: str, netns: str, fields: dict[str, Any]) -> XdsResource:
    source = {"address": "0.0.0.0", "port_value": 0, "network_namespace_filepath": netns}
    mark = {"level": 1, "name": 36, "int_value": PROXY_MARK, "state": "STATE_PREBIND"}
    bind = {"source_address": source, "socket_options": [mark]}
    text = {"name": name, "connect_timeout": "2s", "upstream_bind_config": bind, **fields}
    return envoy_config.resource(CDS, name, cluster_pb2.Cluster(), text)


def _listener(name: str, netns: str, port: int, chain: dict[str, Any]) -> XdsResource:
    address = {"address": "0.0.0.0", "port_value": port, "network_namespace_filepath": netns}
    original = {"@type": f"{_TYPE}filters.listener.original_dst.v3.OriginalDst"}
    text = {
        "name": name,
        "address": {"socket_address": address},
        "listener_filters": [{"name": "original_dst", "typed_config": original}],
        "filter_chains": [chain],
    }
    return envoy_config.resource(LDS, name, listener_pb2.Listener(), text)


def _proxy(cluster: str, **extra: Any) -> dict[str, Any]:
    kind = f"{_TYPE}filters.network.tcp_proxy.v3.TcpProxy"
    config = {"@type": kind, "stat_prefix": cluster.partition("/")[0], "cluster": cluster}
    tls = extra.get("tls")
    chain: dict[str, Any] = {"filters": [{"name": "tcp", "typed_config": config}]}
    return {**chain, "transport_socket": tls} if tls else chain


def _tls(identity: str) -> dict[str, Any]:
    common = {"tls_certificate_sds_secret_configs": [envoy_config.sds(identity)]}
    kind = f"{_TYPE}transport_sockets.tls.v3.DownstreamTlsContext"
    return {"name": "tls", "typed_config": {"@type": kind, "common_tls_context": common}}
