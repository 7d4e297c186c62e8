"""Calls through the model of Envoy's matching: who answers, through which gateway, with which SNI and identity.

A world is two meshes' worth of resources; nothing here knows how they were made.
"""

from dataclasses import dataclass, field

from msgspec.structs import replace

from isthmus.envoy.match import ClientTls, Config, Connection, Target, Verdict
from isthmus.graph.mesh import Mesh
from isthmus.model.rows import Proxy
from isthmus.xds.resource import CDS, EDS, LDS, RDS


def config(mesh: Mesh, proxy: Proxy) -> Config:
    """What the proxy holds, as it would ask for it."""
    mesh.connect(proxy)
    return Config({type_url: mesh.resources(proxy.id, type_url) for type_url in (CDS, EDS, LDS, RDS)})


@dataclass
class Answer:
    """One way a call may end: the workload port that takes it, and the hops before."""

    share: float
    address: str
    port: int
    sni: str = ""
    gateway: str = ""
    mtls: bool = False
    peers: tuple[str, ...] = ()
    closed: str = ""
    verdicts: list[Verdict] = field(default_factory=list, repr=False)


MOST_HOPS = 4
"""Where a loop of gateways is given up."""


@dataclass
class World:
    """Proxies by (network, address), gateways by address."""

    workloads: dict[tuple[str, str], Config] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    gateways: dict[str, tuple[str, Config]] = field(default_factory=dict)

    def call(self, network: str, caller: Config, connection: Connection, *, host: str = "") -> list[Answer]:
        """All ways a call of a workload may go."""
        left = caller.leaving(connection, host=host)
        if left.closed:
            return [Answer(1.0, connection.address, connection.port, closed=left.closed, verdicts=[left])]
        return [answer for target in left.targets for answer in self._follow(network, left, target)]

    def _follow(self, network: str, left: Verdict, target: Target) -> list[Answer]:
        if target.address not in self.gateways:
            return [self._arrive(network, target, target.tls, "", [left], target.share)]
        far, gateway = self.gateways[target.address]
        hello = _hello(target.address, target.port, target.tls)
        passed = gateway.arriving(hello, at=target.port)
        if passed.closed:
            closed = f"gateway: {passed.closed}"
            return [Answer(target.share, target.address, target.port, gateway=target.address, closed=closed)]
        return [answer for behind in passed.targets for answer in self._beyond(far, target, behind, [left, passed])]

    def _beyond(self, network: str, target: Target, behind: Target, verdicts: list[Verdict]) -> list[Answer]:
        """What a gateway leads to: an endpoint, or one more gateway, which is given the same ClientHello."""
        share = target.share * behind.share
        if behind.address not in self.gateways or len(verdicts) > MOST_HOPS:
            return [self._arrive(network, behind, target.tls, target.address, verdicts, share)]
        onward = replace(behind, tls=target.tls, share=share)
        found = self._follow(network, verdicts[-1], onward)
        for answer in found:
            answer.gateway = f"{target.address} {answer.gateway}"
            answer.verdicts = [*verdicts, *answer.verdicts[1:]]
        return found

    def _arrive(
        self, network: str, target: Target, tls: ClientTls | None, gateway: str, verdicts: list[Verdict], share: float
    ) -> Answer:
        answer = Answer(share, target.address, target.port, gateway=gateway, sni=tls.sni if tls else "")
        answer.peers = tls.peers if tls else ()
        answer.verdicts = verdicts
        server = self.workloads.get((network, target.address))
        if server is None:
            return answer
        arrived = server.arriving(_hello(target.address, target.port, tls), at=15006)
        answer.verdicts.append(arrived)
        answer.closed = arrived.closed
        answer.mtls = arrived.server_tls is not None
        return answer


def _hello(address: str, port: int, tls: ClientTls | None) -> Connection:
    if tls is None:
        return Connection(address=address, port=port, http="http/1.1")
    return Connection(address=address, port=port, tls=True, sni=tls.sni, alpn=tls.alpn)
