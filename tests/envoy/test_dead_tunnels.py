"""Tunnels whose other end is dead, made by sidecars and waypoints: no call fails while another way is open.

Real Envoys on both ends. What is dead is a place where somebody takes connections and says nothing, as the kernel of a
process that hangs does, or closes them at once.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as row_with

from isthmus.base.labels import USE_WAYPOINT_LABEL
from isthmus.graph.mesh import Mesh
from isthmus.model.peering import PeerLink
from isthmus.model.rows import Namespace, Row, labels
from isthmus.model.rows import Proxy as ProxyRow
from isthmus.xds.resource import CDS, EDS
from tests.envoy.loopback import Proxy, application, authority, envoys, get
from tests.envoy.running import free_ports
from tests.envoy.test_waypoint_calls import (
    CALLER,
    GATE,
    HOST,
    ORIGINATE,
    SERVER,
    SLEEP,
    VIP,
    WAYPOINT,
    WEB,
    gateway,
    gateway_proxy,
    held,
    identity,
)
from tests.graph import world

DEAD = "127.0.32.9"
CALLS = 12
PORTS = pytest.mark.parametrize("number", [80, 90], ids=["requests", "bytes"])


@contextmanager
def dead(*, silent: bool = True) -> Iterator[None]:
    """Somebody takes connections for HBONE and says nothing, or ends them."""
    with socket.create_server((DEAD, 15008), backlog=64) as listening:
        if not silent:
            threading.Thread(target=_end_all, args=(listening,), daemon=True).start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def _end_all(listening: socket.socket) -> None:
    while True:
        try:
            taken, _ = listening.accept()
        except OSError:
            return
        taken.close()


def enrolled(app: world.App) -> list[Row]:
    """An application whose pods take HBONE."""
    pods = (row_with(pod, redirection="enabled") for pod in app.pod_rows())
    return [app.service_row(), app.slice_row(), *pods]


def made(*groups: Row | list[Row], marks: dict[str, str] | None = None) -> Mesh:
    """A mesh with the caller, on a network."""
    shop = Namespace(cluster="east", name="shop", labels=labels(marks or {}))
    return world.mesh("east", world.cluster("east", "net-east", config=True), SLEEP.rows(), shop, *groups, mark=0)


def sidecar(mesh: Mesh, number: int) -> tuple[Proxy, int]:
    """The caller's Envoy, and the port that capture would hand connections to the service to."""
    (port,) = free_ports(1)
    entry = "0.0.0.0_80" if number == 80 else f"{VIP}_90"
    found = held(mesh, SLEEP.sidecar(hbone=True, network="net-east"), (*ORIGINATE, entry))
    return Proxy(CALLER, identity(SLEEP), found, moved={entry: port}), port


def server(mesh: Mesh) -> Proxy:
    """The Envoy beside a pod that is alive."""
    end = held(mesh, WEB.sidecar(hbone=True, network="net-east"), ("connect_terminate", "inbound_hbone"))
    end[CDS] = {name: one for name, one in end[CDS].items() if name.startswith(("inbound", "Inbound", "BlackHole"))}
    return Proxy(SERVER, identity(WEB), end)


def all_answered(directory: Path, port: int, *proxies: Proxy) -> None:
    """Calls are answered by the only pod that lives."""
    with application(SERVER, 5000), application(SERVER, 5001), envoys(directory, authority(), *proxies):
        answers = [get(CALLER, port, "/x", host=HOST) for _ in range(CALLS)]
    assert [answered.status for answered in answers] == [200] * CALLS
    assert {answered.seen["at"][0] for answered in answers} == {SERVER}


def members(mesh: Mesh, proxy: ProxyRow) -> str:
    """The endpoints of the service, as a proxy is told them."""
    found = mesh.resource(proxy.id, EDS, f"outbound|80||{HOST}")
    return found.body.decode(errors="replace") if found is not None else ""


@PORTS
@pytest.mark.parametrize("silent", [True, False], ids=["hangs", "ends"])
def test_a_sidecar_tries_another_pod(tmp_path: Path, number: int, *, silent: bool) -> None:
    mesh = made(enrolled(replace(WEB, ips=[SERVER, DEAD])))
    caller, port = sidecar(mesh, number)
    with dead(silent=silent):
        all_answered(tmp_path, port, server(mesh), caller)


@PORTS
def test_a_sidecar_tries_another_waypoint_and_the_waypoint_another_pod(tmp_path: Path, number: int) -> None:
    web, gate = (replace(app, ips=[*app.ips, DEAD]) for app in (WEB, GATE))
    mesh = made(enrolled(web), gate.rows(), gateway(), marks={USE_WAYPOINT_LABEL: "gate"})
    caller, port = sidecar(mesh, number)
    between = Proxy(WAYPOINT, identity(GATE), held(mesh, gateway_proxy(network="net-east")))
    with dead():
        all_answered(tmp_path, port, server(mesh), between, caller)


@PORTS
def test_a_sidecar_goes_around_a_dead_gateway(tmp_path: Path, number: int) -> None:
    """The pods in west are behind a gateway for HBONE, which does not live."""
    way = PeerLink(
        cluster="east",
        namespace="istio-gateways",
        name="west",
        peer="west",
        network="net-west",
        addresses=(DEAD,),
        hbone_port=15008,
        xds_port=15012,
    )
    everywhere = {"labels": labels({"solo.io/service-scope": "global"})}
    here, there = (replace(WEB, cluster=name, service=everywhere) for name in ("east", "west"))
    mesh = made(enrolled(here), world.cluster("west", "net-west"), enrolled(there), way)
    caller, port = sidecar(mesh, number)
    told = members(mesh, SLEEP.sidecar(hbone=True, network="net-east"))
    assert "inner_connect_originate" in told
    assert "local" in told
    with dead():
        all_answered(tmp_path, port, server(mesh), caller)
