"""Does the real Envoy take what was made? `envoy --mode validate` on a bootstrap that holds all of it as static."""

import subprocess
import sys
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.bootstrap.internal_listener.v3 import internal_listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import json_format

from isthmus.graph.mesh import Mesh
from isthmus.xds.resource import CDS, EDS, LDS, RDS, XdsResource

ENVOY = Path(sys.executable).with_name("envoy")

_AGENT = {
    "type": "STATIC",
    "connect_timeout": "1s",
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    },
}


def agent_cluster(name: str, path: str = "agent.sock") -> dict[str, Any]:
    """A cluster that leads to an agent's Unix socket."""
    endpoint = {"endpoint": {"address": {"pipe": {"path": path}}}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {**_AGENT, "name": name, "load_assignment": assignment}


def bootstrap(resources: Mapping[str, Iterable[XdsResource]]) -> bootstrap_pb2.Bootstrap:
    """A bootstrap with these resources as static ones: assignments as clusters, routes inside listeners."""
    source = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
    }
    config = bootstrap_pb2.Bootstrap()
    json_format.ParseDict(
        {
            "node": {"id": "test", "cluster": "test"},
            "dynamic_resources": {"ads_config": source},
            "static_resources": {"clusters": [agent_cluster("xds-grpc"), agent_cluster("sds-grpc")]},
        },
        config,
    )
    internal = config.bootstrap_extensions.add(name="envoy.bootstrap.internal_listener")
    internal.typed_config.Pack(internal_listener_pb2.InternalListener())
    static = config.static_resources
    for one in resources.get(CDS, ()):
        static.clusters.append(cluster_pb2.Cluster.FromString(one.body))
    for one in resources.get(EDS, ()):
        static.clusters.append(_assignment_cluster(one))
    for one in resources.get(LDS, ()):
        static.listeners.append(listener_pb2.Listener.FromString(one.body))
    for one in resources.get(RDS, ()):
        static.listeners.append(_route_listener(one))
    return config


def _assignment_cluster(one: XdsResource) -> cluster_pb2.Cluster:
    cluster = cluster_pb2.Cluster(name=f"assignment of {one.name}", type=cluster_pb2.Cluster.STATIC)
    cluster.load_assignment.CopyFrom(endpoint_pb2.ClusterLoadAssignment.FromString(one.body))
    return cluster


def _route_listener(one: XdsResource) -> listener_pb2.Listener:
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix="x", route_config=route_pb2.RouteConfiguration.FromString(one.body)
    )
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    json_format.ParseDict({"http_filters": [{"name": "router", "typed_config": router}]}, manager)
    listener = listener_pb2.Listener(name=f"routes of {one.name}")
    port = int(one.name) if one.name.isdecimal() else 20000 + zlib.crc32(one.name.encode()) % 20000
    listener.address.CopyFrom(
        address_pb2.Address(socket_address=address_pb2.SocketAddress(address="127.0.0.1", port_value=port))
    )
    chain = listener.filter_chains.add()
    http = chain.filters.add(name="envoy.filters.network.http_connection_manager")
    http.typed_config.Pack(manager)
    return listener


def everything(mesh: Mesh, *proxy_ids: str) -> dict[str, list[XdsResource]]:
    """All resources of some proxies, each name once."""
    return {
        type_url: list({r.name: r for p in proxy_ids for r in mesh.resources(p, type_url).values()}.values())
        for type_url in (CDS, EDS, LDS, RDS)
    }


def validate(directory: Path, resources: Mapping[str, Iterable[XdsResource]]) -> str:
    """Envoy's complaint about these resources, empty if it takes them."""
    path = directory / "bootstrap.pb"
    path.write_bytes(bootstrap(resources).SerializeToString())
    done = subprocess.run(
        [str(ENVOY), "--mode", "validate", "-l", "warning", "-c", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=directory,
    )
    return "" if done.returncode == 0 else done.stderr + done.stdout
