"""What may be named in HBONE: the authorities that a workload answers to."""

from collections.abc import Iterable

from isthmus.derive.proxies import is_port, target_port
from isthmus.derive.scopes import DOMAIN
from isthmus.model.rows import Protocol, Service, Workload
from isthmus.model.scopes import TunnelEnd


def hosts(service: Service, domain: str) -> tuple[str, str]:
    """The names under which a service of Kubernetes is called: in its cluster's domain, and in the mesh."""
    base = f"{service.name}.{service.namespace}"
    return (f"{base}.svc.{domain}", f"{base}.{DOMAIN}")


def tunnel_end(
    addresses: tuple[str, ...], services: Iterable[Service], workload: Workload | None, domain: str
) -> TunnelEnd:
    """A workload's own addresses, and the ports of the services that pick it."""
    found: dict[tuple[str, int], int] = {}
    for service in services:
        for port in service.ports:
            target = target_port(port, workload)
            if port.protocol is not Protocol.UDP and is_port(target):
                for host in hosts(service, domain):
                    found.setdefault((host, port.port), target)
    return TunnelEnd(addresses, tuple((host, port, found[host, port]) for host, port in sorted(found)))
