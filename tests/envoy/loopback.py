"""Real Envoys with what the mesh makes for them, on addresses of the loopback: tunnels, certificates and all.

Each proxy has an address 127.x.y.z of its own, where what would listen on every address listens. What comes by xDS
stands in the bootstrap, certificates are files.
"""

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf import json_format

from isthmus.trust.authority import Authority, self_signed_authority, workload_names
from isthmus.trust.issue import Validity
from isthmus.trust.pem import key_to_pem
from isthmus.xds.resource import CDS, EDS, LDS, RDS, XdsResource
from tests.envoy.acceptance import ENVOY

Json = dict[str, Any]
Resources = Mapping[str, Mapping[str, XdsResource]]

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."


def authority() -> Authority:
    """A root that signs."""
    made, _ = self_signed_authority(ec.generate_private_key(ec.SECP256R1()), now=time.time(), serial=1)
    return made


@dataclass
class Proxy:
    """An Envoy to be: where it is, who it is, what the mesh has for it, and what a test adds."""

    address: str
    identity: str
    resources: Resources = field(default_factory=dict)
    listeners: list[Json] = field(default_factory=list)
    clusters: list[Json] = field(default_factory=list)
    moved: Mapping[str, int] = field(default_factory=dict)
    """Listeners that capture would hand connections to: here they listen themselves, on these ports."""


def _plain(message: Any) -> Json:
    found: Json = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


class _Bootstrap:
    """Turns a proxy into the bootstrap of an Envoy that needs nobody else."""

    def __init__(self, proxy: Proxy, directory: Path) -> None:
        self.proxy = proxy
        self.directory = directory

    def made(self) -> Json:
        found = self.proxy.resources
        clusters = [self._cluster(one) for one in found.get(CDS, {}).values()]
        listeners = [self._listener(one) for one in found.get(LDS, {}).values()]
        static = {
            "clusters": self._local([*clusters, *self.proxy.clusters]),
            "listeners": [*listeners, *self._local(self.proxy.listeners)],
        }
        internal = {"@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"}
        return {
            "node": {"id": self.proxy.identity, "cluster": "test"},
            "static_resources": static,
            "bootstrap_extensions": [{"name": "envoy.bootstrap.internal_listener", "typed_config": internal}],
            "layered_runtime": {"layers": [{"name": "l", "static_layer": {"re2.max_program_size.error_level": 32768}}]},
        }

    def _listener(self, one: XdsResource) -> Json:
        found = _plain(listener_pb2.Listener.FromString(one.body))
        if one.name in self.proxy.moved:
            found.pop("bind_to_port", None)
            place = {"address": self.proxy.address, "port_value": self.proxy.moved[one.name]}
            found["address"] = {"socket_address": place}
        made: Json = self._local(found)
        return made

    def _cluster(self, one: XdsResource) -> Json:
        found = _plain(cluster_pb2.Cluster.FromString(one.body))
        if "eds_cluster_config" in found:
            members = self.proxy.resources.get(EDS, {}).get(one.name)
            del found["eds_cluster_config"]
            found["type"] = "STATIC"
            if members is not None:
                found["load_assignment"] = _plain(endpoint_pb2.ClusterLoadAssignment.FromString(members.body))
        return found

    def _local(self, value: Any) -> Any:
        """The same without anything that would have to be asked for."""
        if isinstance(value, list):
            return [self._local(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "sds_config" in value:
            path = str(self.directory / f"{value['name']}.json")
            return {**value, "sds_config": {"path_config_source": {"path": path}, "resource_api_version": "V3"}}
        if "rds" in value:
            routes = self.proxy.resources[RDS][value["rds"]["route_config_name"]]
            value = {key: one for key, one in value.items() if key != "rds"}
            value["route_config"] = _plain(route_pb2.RouteConfiguration.FromString(routes.body))
        if value.get("address") == "0.0.0.0":
            value = {**value, "address": self.proxy.address}
        return {key: self._local(one) for key, one in value.items()}


def _secrets(proxy: Proxy, signer: Authority) -> Json:
    key = ec.generate_private_key(ec.SECP256R1())
    names = workload_names(proxy.identity)
    issued = signer.issue(
        key.public_key(), names, validity=Validity(time.time(), 3600), serial=int.from_bytes(os.urandom(8))
    )
    certificate = {"certificate_chain": _inline(issued.presented), "private_key": _inline(key_to_pem(key))}
    return {
        "default": {"tls_certificate": certificate},
        "ROOTCA": {"validation_context": {"trusted_ca": _inline(signer.root_bundle)}},
    }


def _inline(pem: bytes) -> Json:
    return {"inline_string": pem.decode()}


@contextmanager
def envoys(directory: Path, signer: Authority, *proxies: Proxy) -> Iterator[None]:
    """Run them until the block ends; each is up when its listeners take connections."""
    with contextlib.ExitStack() as stack:
        for index, proxy in enumerate(proxies):
            place = directory / f"envoy-{index}"
            place.mkdir()
            for name, secret in _secrets(proxy, signer).items():
                resource = {"@type": f"{_TLS}Secret", "name": name, **secret}
                place.joinpath(f"{name}.json").write_text(json.dumps({"resources": [resource]}))
            place.joinpath("bootstrap.json").write_text(json.dumps(_Bootstrap(proxy, place).made()))
            stack.enter_context(_running(place))
        yield


@contextmanager
def _running(place: Path) -> Iterator[None]:
    command = [str(ENVOY), "-c", "bootstrap.json", "-l", os.environ.get("ENVOY_LOG", "info"), "--concurrency", "1"]
    log = place / "log"
    with (
        log.open("w") as output,
        subprocess.Popen([*command, "--use-dynamic-base-id"], cwd=place, stdout=output, stderr=output) as process,
    ):
        try:
            deadline = time.monotonic() + 30
            while "starting main dispatch loop" not in log.read_text():
                assert process.poll() is None, log.read_text()[-4000:]
                assert time.monotonic() < deadline, log.read_text()[-4000:]
                time.sleep(0.05)
            yield
        finally:
            process.kill()


def entrance(
    name: str, address: str, port: int, authority_: str, to: str, headers: Mapping[str, str] | None = None
) -> tuple[Json, Json]:
    """A listener whose connections go through a tunnel to a proxy, with this authority and these headers, and its
    cluster."""
    tcp = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "cluster": name,
        "tunneling_config": {
            "hostname": authority_,
            "headers_to_add": [{"header": {"key": key, "value": value}} for key, value in (headers or {}).items()],
        },
    }
    source: Json = {"api_config_source": {}}
    tls = {
        "@type": f"{_TLS}UpstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": source}],
            "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": source},
        },
    }
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {"allow_connect": True}},
    }
    endpoint = {"endpoint": {"address": {"socket_address": {"address": to, "port_value": 15008}}}}
    cluster = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }
    listener = {
        "name": name,
        "address": {"socket_address": {"address": address, "port_value": port}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": tcp}]}],
    }
    return listener, cluster


class _Application(BaseHTTPRequestHandler):
    """Answers with what it saw."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"path": self.path, "headers": headers, "at": self.server.server_address}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def application(address: str, port: int) -> Iterator[None]:
    """A workload that listens there."""
    with ThreadingHTTPServer((address, port), _Application) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Answered:
    """A status, and what the application saw if it was reached."""

    status: int
    seen: Json

    @property
    def caller(self) -> str:
        """Who the application was told calls."""
        return str(self.seen.get("headers", {}).get("x-forwarded-client-cert", "")).removeprefix("URI=")


def get(address: str, port: int, path: str = "/", **headers: str) -> Answered:
    """A request over a connection of its own; status 0 if it was cut."""
    asked = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        answer = httpx.get(f"http://{address}:{port}{path}", headers=asked, timeout=10)
    except httpx.TransportError:
        return Answered(0, {})
    return Answered(answer.status_code, answer.json() if answer.status_code == 200 else {})
