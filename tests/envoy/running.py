"""A real Envoy that runs with a cluster and a load assignment as the mesh makes them, and calls through it."""

import contextlib
import json
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from google.protobuf import any_pb2, json_format

from isthmus.xds.resource import XdsResource
from tests.envoy.acceptance import ENVOY, agent_cluster

HOST = "127.0.0.1"
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((HOST, 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass
class Running:
    """An Envoy with a listener in front of the cluster, and backends of its own that answer with their ports."""

    directory: Path
    port: int
    admin: int

    def call(self, count: int) -> Counter[tuple[int, int]]:
        """(backend, status) -> how many of so many calls, over one connection."""
        found: Counter[tuple[int, int]] = Counter()
        with httpx.Client(base_url=f"http://{HOST}:{self.port}", timeout=5) as client:
            for _ in range(count):
                answer = client.get("/")
                found[int(answer.text) if answer.text.isdigit() else 0, answer.status_code] += 1
        return found

    def hosts(self) -> list[dict[str, Any]]:
        """The endpoints of the cluster as Envoy has them."""
        statuses = httpx.get(f"http://{HOST}:{self.admin}/clusters?format=json").json()["cluster_statuses"]
        return [host for one in statuses if one["name"].startswith("outbound") for host in one["host_statuses"]]

    def ejected(self) -> set[int]:
        """The ports of the endpoints that outlier detection took out."""
        out = [host for host in self.hosts() if host["health_status"].get("failed_outlier_check")]
        return {host["address"]["socket_address"]["port_value"] for host in out}


def _listener(name: str, port: int, route: dict[str, Any]) -> dict[str, Any]:
    manager = {
        "@type": _HCM,
        "stat_prefix": name,
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
        "route_config": {
            "virtual_hosts": [{"name": name, "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}]
        },
    }
    filters = [{"name": "http", "typed_config": manager}]
    return {"name": name, "address": _address(port), "filter_chains": [{"filters": filters}]}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}


def _answer(port: int, status: int) -> dict[str, Any]:
    return {"direct_response": {"status": status, "body": {"inline_string": str(port)}}}


@contextmanager
def running(
    directory: Path, cluster: XdsResource, assignment: XdsResource, backends: dict[int, int]
) -> Iterator[Running]:
    """Start it; `backends` are ports and the status with which each answers."""
    port, admin = free_ports(2)
    found = any_pb2.Any()
    found.Pack(endpoint_pb2.ClusterLoadAssignment.FromString(assignment.body))
    eds = {"version_info": "1", "resources": [json_format.MessageToDict(found)]}
    directory.joinpath("eds.json").write_text(json.dumps(eds))
    message = cluster_pb2.Cluster.FromString(cluster.body)
    message.eds_cluster_config.eds_config.Clear()
    message.eds_cluster_config.eds_config.path_config_source.path = str(directory / "eds.json")
    message.eds_cluster_config.eds_config.resource_api_version = 2
    message.ClearField("upstream_bind_config")
    message.ClearField("transport_socket_matches")  # no certificates here: endpoints take plaintext
    listeners = [_listener("in", port, {"route": {"cluster": message.name}})]
    listeners += [_listener(f"b{backend}", backend, _answer(backend, status)) for backend, status in backends.items()]
    config = bootstrap_pb2.Bootstrap()
    json_format.ParseDict(
        {
            "node": {"id": "test", "cluster": "test"},
            "admin": {"address": _address(admin)},
            "static_resources": {"listeners": listeners, "clusters": [agent_cluster("sds-grpc")]},
        },
        config,
    )
    config.static_resources.clusters.append(message)
    with started(config, directory, admin):
        yield Running(directory, port, admin)


@contextmanager
def started(config: bootstrap_pb2.Bootstrap, directory: Path, admin: int) -> Iterator[None]:
    """An Envoy with a bootstrap, ready by its admin port, until the end of the block."""
    path = directory / "bootstrap.pb"
    path.write_bytes(config.SerializeToString())
    command = [str(ENVOY), "-c", str(path), "-l", "error", "--concurrency", "1", "--use-dynamic-base-id"]
    with subprocess.Popen(command, cwd=directory) as process:
        try:
            _wait(process, admin)
            yield
        finally:
            process.kill()


def _wait(process: "subprocess.Popen[bytes]", admin: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "Envoy ended"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://{HOST}:{admin}/ready").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("Envoy is not ready")
