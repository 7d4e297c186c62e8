"""From a connected proxy's row to its scopes: what it shares, with whom."""

from collections.abc import Iterable

import msgspec

from isthmus.derive import globals as global_names
from isthmus.model.external import ServiceEntry, WorkloadEntry
from isthmus.model.mesh import WorkloadMode
from isthmus.model.policy import PolicyKey
from isthmus.model.rows import (
    Gateway,
    GatewayServer,
    Labels,
    Protocol,
    Service,
    ServicePort,
    SlicePort,
    Workload,
    labels_match,
)
from isthmus.model.scopes import InboundPort, InboundProfile

AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"


def selects(service: Service, labels: Labels) -> bool:
    """True if the service's selector picks a workload with these labels; no selector picks none."""
    return bool(service.selector) and labels_match(service.selector, labels)


def inbound_profile(
    services: Iterable[Service],
    workload: Workload | None,
    mode: WorkloadMode,
    policies: tuple[PolicyKey, ...] = (),
) -> InboundProfile:
    """How a workload receives. The oldest service that names a workload port says what it speaks."""
    protocols: dict[int, Protocol] = {}
    for service in sorted(services, key=lambda row: (row.created, row.name)):
        for port in service.ports:
            number = target_port(port, workload)
            if number and port.protocol is not Protocol.UDP:
                protocols.setdefault(number, port.protocol)
    for number, _ in mode.ports:
        if is_port(number):
            protocols.setdefault(number, Protocol.TCP)
    ports = tuple(InboundPort(number, protocols[number], mode.at(number)) for number in sorted(protocols))
    return InboundProfile(ports=ports, mode=mode.mode, policies=policies)


def as_service(row: ServiceEntry) -> Service:
    """A ServiceEntry as what receives behind it sees it: ports."""
    return Service(cluster=row.cluster, namespace=row.namespace, name=row.name, ports=row.ports, created=row.created)


def receiver(pod: Workload | None, entry: WorkloadEntry | None) -> Workload | None:
    """The workload that receives: a pod, or what a WorkloadEntry says of a machine."""
    if pod is not None or entry is None:
        return pod
    return Workload(
        cluster=entry.cluster,
        namespace=entry.namespace,
        name=entry.name,
        ports=tuple(SlicePort(name, number) for name, number in entry.endpoint.ports),
        entry=True,
    )


def target_port(port: ServicePort, workload: Workload | None) -> int:
    """The workload's port behind a service port: a number, or the name of a container port; 0 if it has none.

    What a WorkloadEntry says of the service port's own name wins.
    """
    if workload is not None and workload.entry:
        for known in workload.ports:
            if known.name == port.name:
                return known.port
    if not port.target:
        return port.port
    if port.target.isdecimal():
        return int(port.target) if is_port(int(port.target)) else 0
    if workload is not None:
        for known in workload.ports:
            if known.name == port.target:
                return known.port
    return 0


def is_port(number: int) -> bool:
    """True for a TCP port: one bad number in a listener would make Envoy refuse all of it."""
    return 0 < number < 65536


def listening_ports(services: Iterable[Service]) -> dict[int, int]:
    """Ports of a gateway's Services, and those of the gateway behind them where they are numbers."""
    return {
        port.port: int(port.target)
        for service in services
        for port in service.ports
        if port.protocol is not Protocol.UDP and port.target.isdecimal() and is_port(int(port.target))
    }


def egress_ports(services: Iterable[Service]) -> tuple[int, ...]:
    """Where a gateway listens to the pods of its own cluster, to lead them out."""
    found: set[int] = set()
    for service in services:
        number = global_names.egress_port(service)
        if number:
            found.add(listening_ports([service]).get(number, number))
    return tuple(sorted(found))


def router_servers(
    gateways: Iterable[Gateway], labels: Labels, services: Iterable[Service]
) -> tuple[GatewayServer, ...]:
    """The servers of all Gateways that select a gateway proxy, on the ports it really listens on, without doubles.

    The oldest object's come first. A server's port is a port of the gateway's Service; the proxy listens on that
    port's target.
    """
    targets = listening_ports(services)
    found: dict[tuple[object, ...], GatewayServer] = {}
    for gateway in sorted(gateways, key=lambda row: (row.created, row.namespace, row.name)):
        if not labels_match(gateway.selector, labels):
            continue
        for server in gateway.servers:
            port = targets.get(server.port, server.port)
            if not is_port(port):
                continue
            made = _at(server, port, f"{gateway.namespace}/{gateway.name}")
            found.setdefault(msgspec.structs.astuple(made), made)
    return tuple(found.values())


def _at(server: GatewayServer, port: int, gateway: str) -> GatewayServer:
    """The server as a proxy has it. Who wrote it matters only where VirtualServices are bound to it."""
    if server.tls_mode == AUTO_PASSTHROUGH:
        return GatewayServer(port=port, protocol=server.protocol, hosts=server.hosts, tls_mode=server.tls_mode)
    return msgspec.structs.replace(server, port=port, number=server.port, gateway=gateway)
