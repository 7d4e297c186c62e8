"""The program: sockets, certificate, files that others wait for, and the controllers beside it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from isthmus_lab.apiserver import bootstrap, pki
from isthmus_lab.apiserver.httpd import HttpServer
from isthmus_lab.apiserver.objects import encode
from isthmus_lab.apiserver.resources import Registry
from isthmus_lab.apiserver.server import ApiServer
from isthmus_lab.apiserver.state import Settings, State
from isthmus_lab.apiserver.store import Store

_LOG = structlog.get_logger()
_RESTART_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    settings: Settings
    host_fd: int | None
    listen: tuple[str, ...]
    unix: Path | None
    controllers: bool


def parse(argv: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="isthmus-lab-apiserver", description=__doc__)
    parser.add_argument("--cluster", required=True, help="name of the cluster")
    parser.add_argument("--data-dir", required=True, type=Path, help="where everything that lasts is kept")
    parser.add_argument("--host-fd", type=int, help="an inherited listening TCP socket on the host's loopback")
    parser.add_argument("--listen", action="append", default=[], metavar="IP:PORT", help="repeatable")
    parser.add_argument("--unix", type=Path, help="a Unix socket: plain HTTP, still with tokens")
    parser.add_argument("--advertise", default="", metavar="URL", help="address for other clusters")
    parser.add_argument("--advertise-network", default="", metavar="URL", help="address inside the cluster's network")
    parser.add_argument("--service-cidr", default="10.96.0.0/16")
    parser.add_argument("--pod-cidr", default="")
    parser.add_argument("--kubelet-dir", type=Path, help="holds <node>/kubelet.sock")
    parser.add_argument("--controllers", action="store_true", help="run the cluster's controllers in this process")
    given = parser.parse_args(argv)
    if given.controllers and given.unix is None:
        parser.error("--controllers needs --unix: that is how they reach the server")
    settings = Settings(
        cluster=given.cluster, data_dir=given.data_dir, service_cidr=given.service_cidr, pod_cidr=given.pod_cidr,
        advertise=given.advertise, advertise_network=given.advertise_network, kubelet_dir=given.kubelet_dir,
    )  # fmt: skip
    return Options(
        settings=settings, host_fd=given.host_fd, listen=tuple(given.listen), unix=given.unix,
        controllers=given.controllers,
    )  # fmt: skip


def write_private(path: Path, data: bytes) -> None:
    """Whole or not at all, readable by the owner only."""
    temporary = path.with_name(path.name + ".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    temporary.replace(path)


def certificate_hosts(options: Options) -> list[str]:
    """Every name and address that a client may dial."""
    hosts = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    hosts += ["kubernetes.default.svc.cluster.local", f"apiserver.{options.settings.cluster}", "127.0.0.1"]
    hosts.append(bootstrap.first_address(options.settings.service_cidr))
    for url in (options.settings.advertise, options.settings.advertise_network):
        if host := urlsplit(url).hostname:
            hosts.append(host)
    hosts += [address.rpartition(":")[0] for address in options.listen]
    return list(dict.fromkeys(host for host in hosts if host != "0.0.0.0"))


def tls_context(options: Options, state: State, authority: pki.KeyPair) -> ssl.SSLContext:
    """A fresh server certificate: cheap to make, always for the addresses of this start."""
    pair = pki.server_certificate(
        authority, certificate_hosts(options), state.clock(), serial=state.rng.getrandbits(120) + 1
    )
    path = options.settings.data_dir / "server.pem"
    write_private(path, pair.key + pair.certificate + authority.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(path)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _bound(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, int(port)))
    return sock


async def run(options: Options) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(options, stop)


async def serve(
    options: Options, stop: asyncio.Event, ready: Callable[[ApiServer, list[str]], None] | None = None
) -> None:
    """Serves until `stop`; calls `ready` with the URLs once it listens."""
    started = time.monotonic()
    settings = options.settings
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    (settings.data_dir / "ready.json").unlink(missing_ok=True)
    store = Store(settings.data_dir / "store.db", history=settings.history)
    state = State(settings=settings, store=store, registry=Registry(), clock=time.time)
    api = ApiServer(state)
    http = HttpServer(api.handler)
    try:
        urls = await _listen(http, options, tls_context(options, state, api.secrets.authority))
        _write_files(options, api, urls)
        _LOG.info("serving", cluster=settings.cluster, urls=urls, seconds=round(time.monotonic() - started, 3))
        if ready is not None:
            ready(api, urls)
        await _work(options, api, stop)
    finally:
        await http.close()
        state.store.close()


async def _listen(http: HttpServer, options: Options, tls: ssl.SSLContext) -> list[str]:
    urls = []
    sockets = [socket.socket(fileno=options.host_fd)] if options.host_fd is not None else []
    sockets += [_bound(address) for address in options.listen]
    for sock in sockets:
        await http.listen(sock, tls)
        host, port = sock.getsockname()[:2]
        urls.append(f"https://{host}:{port}")
    if options.unix is not None:
        await http.listen_unix(options.unix)
    return urls


def _write_files(options: Options, api: ApiServer, urls: list[str]) -> None:
    directory, secrets = options.settings.data_dir, api.secrets
    server = urls[0] if urls else options.settings.advertise
    kubeconfig = bootstrap.admin_kubeconfig(
        options.settings.cluster, server, authority=secrets.authority.certificate, token=secrets.admin_token
    )
    write_private(directory / "admin.kubeconfig", kubeconfig.encode())
    write_private(directory / "ca.crt", secrets.authority.certificate)
    write_private(directory / "system.token", secrets.system_token.encode())
    ready = {"pid": os.getpid(), "urls": urls, "unix": str(options.unix) if options.unix else ""}
    write_private(directory / "ready.json", encode(ready))


async def _work(options: Options, api: ApiServer, stop: asyncio.Event) -> None:
    """Runs what goes on beside the requests until `stop`; a part that fails ends the program."""
    tasks: list[asyncio.Task[object]] = [
        asyncio.create_task(stop.wait(), name="stop"),
        asyncio.create_task(api.lifecycle.run(), name="lifecycle"),
    ]
    if options.controllers:
        tasks.append(asyncio.create_task(_controllers(options, api), name="controllers"))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _controllers(options: Options, api: ApiServer) -> None:
    """The controllers are a client like any other, with the system's own token."""
    from isthmus_lab.controllers.client import Client
    from isthmus_lab.controllers.main import ControllerSettings
    from isthmus_lab.controllers.main import run as run_controllers

    while True:
        try:
            await run_controllers(Client(str(options.unix), api.secrets.system_token), ControllerSettings())
        except Exception:
            _LOG.exception("controllers failed; starting them again", cluster=options.settings.cluster)
        await asyncio.sleep(_RESTART_SECONDS)


def main(argv: Sequence[str] | None = None) -> None:
    options = parse(argv)
    with contextlib.suppress(KeyboardInterrupt):
        if importlib.util.find_spec("uvloop") is not None:
            import uvloop

            uvloop.run(run(options))
        else:
            asyncio.run(run(options))
