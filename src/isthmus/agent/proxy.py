"""One Envoy and everything its agent does for it; the same in a container and in the agent of a node."""

import asyncio
import contextlib
import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import grpc.aio
from google.protobuf.message import DecodeError
from structlog.typing import FilteringBoundLogger

from isthmus.agent.bootstrap import DRAIN_SECONDS, SOCKET, build_bootstrap
from isthmus.agent.draining import drain
from isthmus.agent.health import HealthReporter
from isthmus.agent.identity import IdentityKeeper, Signer, read_identity, write_identity
from isthmus.agent.name_stream import NameStream, read_table
from isthmus.agent.secrets import Identity, build_secrets
from isthmus.agent.settings import Address, Drain, ProxySettings
from isthmus.agent.trust_stream import Bundles, TrustStream, read_bundles, write_bundles
from isthmus.agent.upstreams import UpstreamWatch
from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError, UnreachableError
from isthmus.dns.names import NameTable, View
from isthmus.dns.resolv import ResolvConf, parse_resolv_conf
from isthmus.edge import envoy_process
from isthmus.edge.agent_admin import LoopbackClient
from isthmus.edge.agent_relay import Relay
from isthmus.edge.agent_sds_server import SecretService, SecretStore
from isthmus.edge.agent_socket import bind_unix
from isthmus.edge.control_plane import Upstream
from isthmus.edge.dns_client import DnsClient
from isthmus.edge.dns_server import DnsServer
from isthmus.edge.envoy_process import EnvoyProcess, Launch
from isthmus.edge.homing import Homing, HomingSettings
from isthmus.edge.netns import NetworkNamespace
from isthmus.edge.whole_file import replace_file
from isthmus.trust import assertion

BOOTSTRAP_FILE = "envoy.json"
NAMES_FILE = "names.pb"
BUNDLES_FILE = "bundles.pb"

HEALTH_PATH = "/healthz/ready"

KILL_AFTER = 3.0
"""Seconds that Envoy has to end after SIGTERM."""

READY_SECONDS = 2.0
UNREADY_SECONDS = 0.25
"""How long an answer about readiness holds."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a proxy is; while its Envoy is down `pid` is 0 and `exit_code` says how it ended."""

    running: bool
    ready: bool
    pid: int
    exit_code: int | None


class Proxy:
    """Looks after one Envoy between `start` and `stop` (Envoy ends) or `leave` (Envoy goes on).

    An Envoy that dies is started again by whoever runs containers, with `revive` or a new agent: they count restarts.
    """

    def __init__(
        self,
        settings: ProxySettings,
        *,
        namespace: NetworkNamespace,
        log_file: Path | None,
        clock: Clock,
        log: FilteringBoundLogger,
        on_names: Callable[[NameTable], None] | None = None,
    ) -> None:
        """`log_file` takes Envoy's output, None leaves it with the agent's own.

        `on_names` takes the name table where others answer from it than a server beside this Envoy.
        """
        self.settings = settings
        self._namespace = namespace
        self._log_file = log_file
        self._clock = clock
        self._log = log
        self.secrets = SecretStore(patient=settings.kind == "node")
        self.signer = Signer()
        self._on_names = on_names
        self._admin = LoopbackClient(namespace)
        self._dns = self._make_dns(settings.ports.dns)
        self._upstream_dns = self._make_dns(settings.ports.upstream_dns)
        self._upstream_dns.table = NameTable(())
        self._held: Identity | None = None
        self._served: Identity | None = None
        self._bundles: Bundles = {}
        self._health = HealthReporter(settings.probe, clock=clock, log=log)
        self._keeper = self._make_keeper()
        self._process: EnvoyProcess | None = None
        self._ready = (False, 0.0)
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Open the agent's sockets, find or start Envoy. Raises IsthmusError."""
        self.settings.state_dir.mkdir(parents=True, exist_ok=True)
        self._bundles = self._read_bundles()
        async with contextlib.AsyncExitStack() as stack:
            self._process = envoy_process.adopt(self.settings.state_dir)
            if self._process is not None:
                stack.callback(self._process.release)
            await self._serve(stack)
            await self._serve_names(stack)
            if self._process is None:
                self._process = await self._spawn()
            self._log.info("envoy", pid=self._process.pid, adopted=self._process.adopted)
            task = asyncio.get_running_loop().create_task(self._keeper.run())
            task.add_done_callback(self._on_keeper_end)
            stack.push_async_callback(_cancel, task)
            for work in (self._watch.run(), self._health.run(self._relay.send)):
                stack.push_async_callback(_cancel, asyncio.get_running_loop().create_task(work))
            self._stack = stack.pop_all()

    async def revive(self, log_file: Path | None) -> None:
        """Start Envoy again if it ended; its output goes to another file. Raises IsthmusError."""
        if self._process is None or not self._process.running:
            self._log_file = log_file
            self._ready = (False, 0.0)
            self._process = await self._spawn()
            self._log.info("envoy", pid=self._process.pid, adopted=False)

    async def ended(self) -> int:
        """Envoy's exit code, negative for a signal, when it ended."""
        return 0 if self._process is None else await self._process.wait()

    async def stop(self, grace: float) -> int:
        """Drain and end Envoy within `grace` seconds, close everything; Envoy's exit code."""
        process = self._process
        if process is not None and process.running:
            limits = self.settings.drain
            most = max(0.0, min(limits.most, grace - KILL_AFTER))
            await drain(
                self._admin,
                self.settings,
                limits=Drain(least=min(limits.least, most), most=most),
                clock=self._clock,
                log=self._log,
            )
            await _terminate(process)
        await self._stack.aclose()
        (self.settings.state_dir / envoy_process.PID_FILE).unlink(missing_ok=True)
        code = await self.ended()
        self._log.info("stopped", exit_code=code)
        return code

    async def leave(self) -> None:
        """Close everything but leave Envoy as it is, for the next agent."""
        await self._stack.aclose()
        if self._process is not None:
            self._process.release()

    async def status(self) -> Status:
        """How it is now; readiness is asked of Envoy at most every 2 s once it is ready."""
        process = self._process
        alive = process is not None and process.running
        ready = alive and await self._is_ready()
        pid = process.pid if process is not None and alive else 0
        code = None if process is None or alive else await process.wait()
        return Status(running=alive, ready=ready, pid=pid, exit_code=code)

    async def _is_ready(self) -> bool:
        ready, asked = self._ready
        now = self._clock.monotonic()
        if now - asked >= (READY_SECONDS if ready else UNREADY_SECONDS):
            try:
                answer = await self._admin.request("GET", self.settings.ports.health, HEALTH_PATH)
                ready = answer.status == 200
            except UnreachableError:
                ready = False
            self._ready = (ready, now)
        return ready

    async def _serve(self, stack: contextlib.AsyncExitStack) -> None:
        """Secrets and the relay on the socket that the bootstrap names."""
        upstream = self._upstream(self.settings.control_planes)
        relay = Relay(
            upstream,
            Homing(upstream, HomingSettings(hold=self.settings.return_after), self._clock),
            riders=(
                TrustStream(self._on_bundles),
                NameStream(self._on_table, wanted=self.settings.dns_capture or self._on_names is not None),
            ),
            gate=self._wait_for_certificate,
            log=self._log,
            greeting=self._health.frame,
        )
        self._relay = relay
        secrets = SecretService(
            self.secrets, lambda event: self._log.warning("envoy rejected a secret", reason=event.message)
        )
        server = grpc.aio.server(
            handlers=(secrets.handler(), relay.handler()),
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        self._watch = UpstreamWatch(
            self._admin, self.settings.ports.admin, send=relay.send, clock=self._clock, log=self._log
        )
        bind_unix(server, self.settings.state_dir / SOCKET)
        await server.start()
        stack.push_async_callback(server.stop, 0)

    async def _serve_names(self, stack: contextlib.AsyncExitStack) -> None:
        if not self.settings.dns_capture and self._on_names is None:
            return
        with contextlib.suppress(OSError, ValueError):
            # The last table is better than none while the control plane is away.
            self._use_table(read_table((self.settings.state_dir / NAMES_FILE).read_bytes()))
        for server in (self._dns, self._upstream_dns) if self.settings.dns_capture else ():
            await server.start()
            stack.push_async_callback(server.close)

    async def _wait_for_certificate(self) -> None:
        """Envoy gets its configuration after its certificate; one that was adopted has both."""
        if self._process is None or not self._process.adopted:
            await self.secrets.ready.wait()

    async def _spawn(self) -> EnvoyProcess:
        settings = self.settings
        bootstrap = build_bootstrap(settings, version=metadata.version("isthmus"))
        (settings.state_dir / BOOTSTRAP_FILE).write_text(json.dumps(bootstrap, indent=1))
        argv = [
            str(envoy_process.envoy_binary()),
            *("--config-path", BOOTSTRAP_FILE),
            *("--concurrency", str(settings.concurrency)),
            *("--drain-time-s", str(DRAIN_SECONDS)),
            *("--log-level", settings.log_level),
            *("--file-flush-interval-msec", "200"),
            "--disable-hot-restart",
        ]
        launch = Launch(argv=argv, directory=settings.state_dir, log=self._log_file, namespace=self._namespace)
        return await envoy_process.start(launch)

    def _on_keeper_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            self._log.error("certificates are not renewed any more", defect=repr(task.exception()))

    def _on_bundles(self, bundles: Bundles) -> None:
        """Peers' roots changed: Envoy has them from its next handshake on."""
        if bundles != self._bundles:
            self._log.info("trust domains", believed=sorted(bundles))
            self._bundles = bundles
            replace_file(self.settings.state_dir / BUNDLES_FILE, write_bundles(bundles))
            if self._served is not None:
                self.secrets.replace(build_secrets(self._served, bundles))
            own = bundles.get(self.settings.trust_domain)
            self.signer.is_now(own.signer if own is not None else "")

    def _read_bundles(self) -> Bundles:
        """What the last agent heard: what is believed must not depend on whether a control plane answers now."""
        try:
            return read_bundles((self.settings.state_dir / BUNDLES_FILE).read_bytes())
        except (OSError, DecodeError, IsthmusError):
            return {}

    def _on_identity(self, identity: Identity) -> None:
        self.secrets.replace(build_secrets(identity, self._bundles))
        self._held = self._served = identity
        for directory in (self.settings.output_certs, self.settings.identity_dir):
            if directory is not None:
                write_identity(identity, directory)

    def _on_table(self, body: bytes, table: NameTable) -> None:
        self._use_table(table)
        replace_file(self.settings.state_dir / NAMES_FILE, body)

    def _use_table(self, table: NameTable) -> None:
        self._dns.table = table
        if self._on_names is not None:
            self._on_names(table)

    def resolv_conf(self) -> ResolvConf:
        """Whom this proxy's machine or pod asks for names; empty if it says nothing."""
        try:
            return parse_resolv_conf(self.settings.resolv_conf.read_text())
        except OSError:
            return ResolvConf()

    def _make_dns(self, port: int) -> DnsServer:
        settings = self.settings
        view = View(settings.namespace, settings.cluster_suffix)
        client = DnsClient(self._namespace, self.resolv_conf)
        return DnsServer(self._namespace, view=view, client=client, port=port)

    def _make_keeper(self) -> IdentityKeeper:
        settings = self.settings
        return IdentityKeeper(
            self.authorities(),
            settings=settings,
            on_identity=self._on_identity,
            clock=self._clock,
            log=self._log,
            signer=self.signer,
        )

    def authorities(self) -> Upstream:
        """The way to those who sign certificates."""
        return self._upstream(self.settings.certificate_authorities)

    def _upstream(self, addresses: tuple[Address, ...]) -> Upstream:
        """The agent connects from its own namespace, where cluster addresses work, but resolves as the pod does."""
        settings = self.settings
        return Upstream(
            addresses=[(address.host, address.port) for address in addresses],
            server_name=settings.server_name,
            root_file=settings.root_file,
            token_file=settings.token_file,
            cluster=settings.cluster,
            resolve=self._resolve,
            proof=self._prove,
        )

    async def _resolve(self, host: str) -> list[str]:
        known = self.settings.hosts.get(host)
        return list(known) if known else await DnsClient(NetworkNamespace(), self.resolv_conf).resolve(host)

    def _prove(self) -> str:
        """A machine proves itself by its certificate once it has one; empty: by the token."""
        directory = self.settings.identity_dir
        if directory is None:
            return ""
        if self._held is None or self._held.end <= self._clock.now():
            self._held = read_identity(directory)
        held = self._held
        if held is None or held.end <= self._clock.now():
            return ""
        return assertion.make(held.key, held.chain, now=self._clock.now())


async def _terminate(process: EnvoyProcess) -> None:
    process.signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(KILL_AFTER):
            await process.wait()
    except TimeoutError:
        process.signal(signal.SIGKILL)
        await process.wait()


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
