"""The control plane's composition root: everything is built once, started and stopped in order, here."""

import asyncio
import gc
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc.aio
import structlog

from isthmus.app.caller_reports import CallerReports
from isthmus.app.cluster_settings import SYNCED, ClusterStatus
from isthmus.app.clusters import ClusterManager
from isthmus.app.debug import DebugPages, Replica
from isthmus.app.gateways import Gateways
from isthmus.app.host_names import HostNames
from isthmus.app.inbox import Inbox
from isthmus.app.joining import Joining
from isthmus.app.kube_events import EventWriter
from isthmus.app.liveness import LivenessKeeper, World
from isthmus.app.peering import Peering, PeeringSettings
from isthmus.app.settings import ServeSettings
from isthmus.app.signing_keys import SigningKeys
from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError, Problem
from isthmus.dns.resolv import ResolvConf, parse_resolv_conf
from isthmus.edge.address_writer import AddressWriter
from isthmus.edge.admin_server import AdminPages, admin_app
from isthmus.edge.authenticate import Authenticator, Machines
from isthmus.edge.ca_server import CertificateService, NodeAccess
from isthmus.edge.clock import SystemClock
from isthmus.edge.dns_client import DnsClient
from isthmus.edge.grpc_server import ServingCertificate, bind, make_server
from isthmus.edge.http_server import HttpServer, load_identity, server_context
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.link_status import LinkStatusWriter
from isthmus.edge.metrics import Metrics
from isthmus.edge.netns import NetworkNamespace
from isthmus.edge.peer_server import PeerService
from isthmus.edge.registrar import Registrar, RegistrarSettings
from isthmus.edge.remote_duties import DutySettings, RemoteDuties
from isthmus.edge.trust_keeper import Serving, TrustKeeper
from isthmus.edge.webhook_server import webhook_app
from isthmus.edge.xds_server import XdsService
from isthmus.edge.xds_streams import Stream, Streams
from isthmus.graph.mesh import Mesh
from isthmus.model.external import ServiceEntry
from isthmus.model.peering import PeerLink
from isthmus.model.rows import Namespace
from isthmus.tables.changes import Change, Replace
from isthmus.trust.constraints import described
from isthmus.trust.constraints import problems as trust_problems
from isthmus.trust.rollout import Fingerprints
from isthmus.xds.session import Event, Push, UpstreamsReported

log = structlog.get_logger()

TRUST_DOMAIN_PATIENCE = 3.0
"""Seconds that a signing request waits for its cluster to be listed; the agent then asks again."""

REQUIRED_INTERVAL = 0.2
"""Seconds between looks whether required clusters were reached."""


class ControlPlane:
    """One `isthmus serve`. Build it in a running loop, `run` it once, `stop` it."""

    def __init__(self, settings: ServeSettings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.metrics = Metrics()
        self.mesh = Mesh(settings.mesh)
        self.streams = Streams(self.mesh)
        self.inbox = Inbox(self._apply)
        self.clusters = ClusterManager(settings.clusters, emit=self._emit, clock=self.clock)
        self.joining = Joining(settings, self.clusters, self.mesh)
        self.authenticator = Authenticator(
            self.clusters,
            self.clock,
            machines=Machines(lambda: self.trust.authority.root_bundle, self.joining.is_machine),
        )
        directory = Path(settings.checkpoint_dir) if settings.checkpoint_dir else None
        self.names = HostNames(
            settings.cluster,
            lookup=DnsClient(NetworkNamespace(), _name_servers).lookup,
            emit=self.inbox.put,
            keep_in=directory,
        )
        self.keys = SigningKeys(self.authenticator, clusters=self._known_clusters, keep_in=directory)
        self.trust = TrustKeeper(
            settings.trust,
            self.clock,
            client=self.clusters.local_client,
            config_client=self._own_client,
            on_serving=self._on_serving,
            disbelievers=self._disbelievers,
        )
        self.duties = RemoteDuties(
            DutySettings(cluster=settings.cluster, system_namespace=settings.system_namespace),
            clusters=self._remote_clusters,
            client=self.clusters.client,
            roots=self._roots,
        )
        self.registrar = Registrar(
            RegistrarSettings(instance=settings.instance),
            self.clock,
            known=self.joining.known_machines(),
            client=self._own_client,
        )
        self.reports = CallerReports(self.mesh, self.clock)
        self.liveness = self._liveness_keeper()
        self.peering = self._peering(directory)
        self.addresses = AddressWriter(rows=self._service_entries, client=self._own_client)
        self.gateways = Gateways(settings, self.mesh, self.clock, self.clusters.client)
        self.ports: dict[str, int] = {}
        self._webhook_tls = server_context()
        self._certificate: ServingCertificate | None = None
        self._stopping = asyncio.Event()
        self._waiting_for = "start"
        self._looked = False
        self._clusters_listed = asyncio.Event()

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until `stop`. Raises IsthmusError for what cannot work at all, such as a taken port."""
        async with asyncio.TaskGroup() as group:
            admin = self._admin_server()
            parts = [
                group.create_task(admin.run(), name="admin"),
                group.create_task(self.clusters.run(), name="clusters"),
                group.create_task(self.names.run(), name="host names"),
            ]
            work = group.create_task(self._work(group, parts), name="work")
            await self._stopping.wait()
            self._waiting_for = "the end"
            log.info("stopping")
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            for part in reversed(parts):
                part.cancel()

    def stop(self) -> None:
        """End `run` gracefully; safe to call from a signal handler of the loop."""
        self._stopping.set()

    async def _work(self, group: asyncio.TaskGroup, parts: list[asyncio.Task[None]]) -> None:
        """Everything after the admin page and the watchers: identities, listeners, readiness."""
        self._waiting_for = "the certificate authority"
        await self._start_trust()
        await self.liveness.load()
        parts.append(group.create_task(self.trust.run(), name="trust"))
        parts.append(group.create_task(self.keys.run(), name="signing keys"))
        parts.append(group.create_task(self.registrar.run(), name="machines"))
        if self.settings.external:
            parts.append(group.create_task(self.duties.run(), name="remote clusters"))
        peers = await self.peering.start()
        parts.append(group.create_task(self.peering.run(), name="peers"))
        webhook = self._webhook_server()
        parts.append(group.create_task(webhook.run(), name="webhook"))
        servers = [*self._grpc_servers(), self._peers_server(peers)]
        for server in servers:
            await server.start()
        log.info("listening", **self.ports)
        try:
            self._waiting_for = "the clusters to be listed"
            parts.append(group.create_task(self.liveness.run(), name="liveness"))
            await self._looked_at_everything()
            parts.append(group.create_task(self.addresses.run(), name="addresses"))
            status = LinkStatusWriter(
                self.clock, rows=self.peering.links, client=self._own_client, leads=self.peering.leads
            )
            parts.append(group.create_task(status.run(), name="status of links"))
            parts.append(group.create_task(self.gateways.run(), name="gateways"))
            self._waiting_for = ""
            # What was built until now stays: the collector need not walk through it again and again.
            gc.freeze()
            log.info("ready", clusters=sorted(self._known_clusters()), revision=self.mesh.revision)
            await asyncio.Event().wait()
        finally:
            await asyncio.gather(*(server.stop(self.settings.drain_seconds) for server in servers))

    async def _start_trust(self) -> None:
        """Without an authority there is nothing to serve with: try until there is one."""
        delay = 0.1
        while True:
            try:
                await self.trust.start()
                return
            except IsthmusError as error:
                # The first attempts come before the client of our own cluster is there.
                if delay > 1:
                    log.warning("no certificate authority yet", error=str(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, 3.0)

    def _liveness_keeper(self) -> LivenessKeeper:
        settings = self.settings
        return LivenessKeeper(
            World(self.mesh, self._all_statuses, self._all_roots, self.reports.votes),
            self.clock,
            directory=settings.checkpoint_dir,
            emit=self.inbox.put,
            events=EventWriter(self._own_client, namespace=settings.system_namespace, instance=settings.instance),
        )

    def _disbelievers(self, roots: Fingerprints, seconds: float) -> Sequence[str]:
        return self.peering.disbelievers(roots, seconds)

    def _all_roots(self) -> bytes:
        """By which gateways of any network are believed."""
        return self.peering.all_roots()

    def _all_statuses(self) -> list[ClusterStatus]:
        """Clusters that are read, and peers. One that is both is judged by what is read of it."""
        read = self.clusters.statuses()
        known = {status.id for status in read}
        return [*read, *(status for status in self.peering.statuses() if status.id not in known)]

    async def _looked_at_everything(self) -> None:
        """Return when every known cluster was listed or restored, and the mesh knows what was found there.

        Only the start waits, for a required cluster as long as it takes. A cluster that is linked later holds up
        nobody: what it adds comes as a change.
        """
        if not self._looked:
            await self.clusters.synced()
            self.inbox.flush()
            # Peers may be answered now, and ours are waited for: neither of two that start waits for the other.
            self._clusters_listed.set()
            await self.peering.settled()
            self.inbox.flush()
            await self.names.settled()
            while unreached := self.liveness.unreached():
                self._waiting_for = f"required clusters that were never reached: {', '.join(unreached)}"
                await asyncio.sleep(REQUIRED_INTERVAL)
            self.liveness.begin()
            self.inbox.flush()
            self._looked = True

    # -- servers --------------------------------------------------------------------------------------------------

    def _grpc_servers(self) -> list[grpc.aio.Server]:
        assert self._certificate is not None
        listen = self.settings.listen
        ca = CertificateService(
            lambda: self.trust.authority,
            self.clock,
            authenticator=self.authenticator,
            trust_domain_of=lambda cluster: self.clusters.await_trust_domain(cluster, patience=TRUST_DOMAIN_PATIENCE),
            longest=self.settings.max_certificate_lifetime,
            nodes=NodeAccess(self.settings.trusted_node_accounts, self.mesh),
            on_issued=self.trust.signed,
        )
        self.certificates = ca
        secure = make_server([self._xds(self.authenticator).handler(), ca.handler()])
        plain = make_server([self._xds(None).handler()])
        self.ports["tls"] = bind(secure, f"{listen.host}:{listen.tls}", self._certificate)
        self.ports["plain"] = bind(plain, f"{listen.loopback}:{listen.plain}", None)
        return [secure, plain]

    def _peers_server(self, certificate: ServingCertificate) -> grpc.aio.Server:
        """For other control planes only: mutual TLS."""
        service = PeerService(self.peering, self.clock, gate=self._own_clusters_listed)
        server = make_server([service.handler()])
        listen = self.settings.listen
        self.ports["peers"] = bind(server, f"{listen.host}:{listen.peers}", certificate)
        return server

    async def _own_clusters_listed(self) -> None:
        await self._clusters_listed.wait()

    def _peering(self, directory: Path | None) -> Peering:
        settings = self.settings
        return Peering(
            PeeringSettings(
                cluster=settings.cluster,
                mesh_id=settings.mesh_id,
                system_namespace=settings.system_namespace,
                instance=settings.instance,
                version=version("isthmus"),
                directory=directory,
                lifetime=settings.serving_lifetime,
            ),
            self.clock,
            mesh=self.mesh,
            streams=self.streams,
            trust=self.trust,
            emit=self.inbox.put,
            trust_domain=lambda: self.clusters.trust_domain(settings.cluster) or settings.trust_domain,
        )

    def _xds(self, authenticator: Authenticator | None) -> XdsService:
        service = XdsService(
            self.streams,
            self.clock,
            make_row=self.joining.proxy_row,
            gate=self._looked_at_everything,
            authenticator=authenticator,
            registrar=self.registrar,
        )
        service.observe(self._on_push, self._on_event)
        return service

    def _webhook_server(self) -> HttpServer:
        listen = self.settings.listen
        server = HttpServer(
            webhook_app(self.joining.injected, ready=lambda: self._waiting_for),
            listen.host,
            listen.webhook,
            self._webhook_tls,
        )
        self.ports["webhook"] = server.port
        return server

    def _admin_server(self) -> HttpServer:
        listen = self.settings.listen
        debug = DebugPages(
            self.mesh,
            self.streams,
            self.clock,
            replica=Replica(self.settings.instance, self.settings.revision),
            clusters=self.clusters,
            problems=self._all_problems,
            plain={"trust": self._trust_page, "peers": self.peering.page},
            liveness=self.liveness,
        )
        pages = AdminPages(ready=lambda: self._waiting_for, metrics=self._render_metrics, debug=debug.pages())
        server = HttpServer(admin_app(pages), listen.loopback, listen.admin)
        self.ports["admin"] = server.port
        return server

    def _all_problems(self) -> list[Problem]:
        parts = [
            part.problems()
            for part in (self.clusters, self.duties, self.gateways, self.mesh, self.liveness, self.peering)
        ]
        return sorted(problem for part in (*parts, self._trust_problems()) for problem in part)

    def _trust_domains(self) -> dict[str, str]:
        """Trust domains by cluster, of those that were seen."""
        known = ((cluster, self.clusters.trust_domain(cluster)) for cluster in self.clusters.clusters())
        return {cluster: domain for cluster, domain in known if domain}

    def _trust_problems(self) -> Sequence[Problem]:
        if not self.trust.ready:
            return ()
        settings = self.settings
        found = trust_problems(
            self.trust.authority,
            self._trust_domains(),
            own=settings.cluster,
            namespace=settings.system_namespace,
            ztunnels=[proxy.id for proxy in self.mesh.proxies if proxy.type == "ztunnel"],
        )
        return [*found, *self.trust.problems(settings.cluster)]

    def _trust_page(self) -> dict[str, Any]:
        """The authority in use, and which trust domains it may sign for. Raises KeyError before there is one."""
        if not self.trust.ready:
            raise KeyError("an authority")
        issued = self.certificates.issued if self.ports.get("tls") else 0
        found = described(self.trust.authority, self._trust_domains(), own=self.settings.cluster)
        return {"istiod": self.settings.instance, "issued": issued, **found}

    def _on_serving(self, serving: Serving) -> None:
        """A new server certificate: every listener shows it from the next connection on."""
        chain = serving.issued.presented
        load_identity(self._webhook_tls, serving.key, chain)
        if self._certificate is None:
            self._certificate = ServingCertificate(serving.key, chain)
        else:
            self._certificate.replace(serving.key, chain)
        log.info("server certificate issued", names=self.settings.dns_names, expires=int(serving.issued.not_after))

    # -- the main flow --------------------------------------------------------------------------------------------

    def _emit(self, changes: list[Change]) -> None:
        for cluster in {_cluster_of(change) for change in changes if change.table == Namespace.TABLE}:
            if cluster == self.settings.cluster:
                self.trust.poke()
            else:
                self.duties.poke(cluster)
        self.inbox.put(changes)
        if any(change.table == ServiceEntry.TABLE for change in changes):
            self.addresses.poke()
        self.gateways.changed({(change.table, _cluster_of(change)) for change in changes})

    def _apply(self, batch: list[Change]) -> None:
        """One revision, and the streams it concerns."""
        begin = self.clock.monotonic()
        try:
            dirty = self.mesh.apply(batch)
        except Exception:
            # The engine keeps the last good row of what fails; what comes up to here is a defect of ours.
            log.exception("a revision failed", changes=len(batch))
            self.metrics.failures.inc()
            return
        applied = self.clock.monotonic()
        told = self.streams.dispatch(dirty)
        self.peering.dispatch()
        if any(change.table == PeerLink.TABLE for change in batch):
            self.peering.links_changed()
        self.names.want(self.mesh.hostnames())
        self.metrics.changes.inc(len(batch))
        self.metrics.told.inc(told)
        self.metrics.applied.observe(applied - begin)
        log.debug(
            "revision",
            revision=self.mesh.revision,
            changes=len(batch),
            told=told,
            milliseconds=round((self.clock.monotonic() - begin) * 1000, 2),
        )

    # -- clusters and keys ----------------------------------------------------------------------------------------

    def _known_clusters(self) -> list[str]:
        return [status.id for status in self.clusters.statuses()]

    def _remote_clusters(self) -> set[str]:
        return set(self.clusters.clusters()) - {self.settings.cluster}

    def _roots(self) -> str:
        return self.trust.authority.root_bundle.decode()

    def _service_entries(self) -> list[ServiceEntry]:
        rows = self.mesh.sources.external.service_entries.rows()
        return [row for _, row in rows if row.cluster == self.settings.cluster]

    def _own_client(self) -> KubeClient | None:
        return self.clusters.client(self.settings.cluster)

    # -- what is counted ------------------------------------------------------------------------------------------

    def _on_push(self, push: Push) -> None:
        self.metrics.on_push(push)

    def _on_event(self, stream: Stream, event: Event) -> None:
        self.metrics.on_event(event)
        # Without a verified identity a report would be anybody's word on any cluster.
        if isinstance(event, UpstreamsReported) and stream.caller is not None:
            self.reports.take(stream.proxy, event.message, voter=stream.caller.voter)

    def _render_metrics(self) -> bytes:
        metrics = self.metrics
        metrics.streams.set(len(self.streams))
        metrics.revision.set(self.mesh.revision)
        metrics.problems.set(len(self._all_problems()))
        statuses = [status.status for status in self.clusters.statuses()]
        for name in {SYNCED, *statuses}:
            metrics.clusters.labels(name).set(statuses.count(name))
        if self.ports.get("tls"):
            metrics.certificates.set(self.certificates.issued)
            metrics.ca_expiry.set(self.trust.authority.not_after)
        return metrics.render()


def _cluster_of(change: Change) -> str:
    """Every key of what was observed begins with the cluster."""
    return str((change.prefix if isinstance(change, Replace) else change.key)[0])


def _name_servers() -> ResolvConf:
    """Those of the pod, read when asked, for the file may change."""
    try:
        return parse_resolv_conf(Path("/etc/resolv.conf").read_text())
    except OSError:
        return ResolvConf()
