"""What is in other networks: a service's endpoints there as one workload for each gateway, and the gateways (AM5, AM7).

Istio names the first gateway of a network only (AM6). Here a service has a workload for each: they share the capacity
behind them in whole numbers, so that a lost gateway costs its share and no more.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from isthmus.model.mesh import NetworkGateway
from isthmus.model.rows import Locality
from isthmus.proto import workload_pb2 as pb
from isthmus.ztunnel.build import HBONE_PORT, encoded, packed_ip, trust_domain_field
from isthmus.ztunnel.workloads import Ports, services_field

SPLIT = "SplitHorizonWorkload"
GATEWAY = "NetworkGateway"


class Behind(NamedTuple):
    """The endpoints of a service that a gateway leads to; `service` is the resource name of the service."""

    gateway: NetworkGateway
    service: str
    capacity: int
    ports: Ports
    locality: Locality = Locality()


class Keeper(NamedTuple):
    """Who a gateway proves to be: ztunnel takes nobody else for it."""

    trust_domain: str
    namespace: str
    service_account: str


def split_uid(gateway: NetworkGateway, service: str) -> str:
    """The name of what stands for a service's endpoints in another network (AM5)."""
    owner = gateway.cluster or "-"
    return f"{gateway.network}/{SPLIT}/{owner}/{_port(gateway)}/{gateway.address}/{service}"


def gateway_uid(gateway: NetworkGateway) -> str:
    """The name of a gateway's resource (AM7)."""
    return f"{GATEWAY}/{gateway.network}/{gateway.address}/{_port(gateway)}"


def is_away(uid: str) -> bool:
    """True for the names of this module."""
    return uid.startswith(f"{GATEWAY}/") or uid.partition("/")[2].startswith(f"{SPLIT}/")


def shares(capacity: int, gateways: Sequence[NetworkGateway]) -> Iterator[tuple[NetworkGateway, int]]:
    """A capacity divided among gateways without loss; where there are more gateways than that, some get none."""
    whole, rest = divmod(capacity, len(gateways)) if gateways else (0, 0)
    for place, gateway in enumerate(gateways):
        share = whole + (place < rest)
        if share:
            yield gateway, share


def behind(found: Behind) -> bytes:
    """The encoded Workload that stands for endpoints in another network; it has no address (AM5)."""
    gateway = found.gateway
    message = pb.Workload(
        uid=split_uid(gateway, found.service),
        name=split_uid(gateway, found.service),
        namespace=found.service.partition("/")[0],
        network=gateway.network,
        network_gateway=_address(gateway),
        tunnel_protocol=pb.HBONE,
        cluster_id=gateway.cluster,
        services=services_field([(found.service, found.ports)]),
        capacity={"value": found.capacity},
    )
    where = found.locality
    if where.region:
        message.locality.CopyFrom(pb.Locality(region=where.region, zone=where.zone, subzone=where.subzone))
    return encoded(message)


def gateway(row: NetworkGateway, keeper: Keeper) -> bytes:
    """The encoded Workload of a network's gateway: where tunnels to that network lead, and who answers (AM7)."""
    return encoded(
        pb.Workload(
            uid=gateway_uid(row),
            name=gateway_uid(row),
            namespace=keeper.namespace,
            service_account=keeper.service_account,
            trust_domain=trust_domain_field(keeper.trust_domain),
            network=row.network,
            addresses=[packed_ip(row.address)],
            tunnel_protocol=pb.HBONE,
            cluster_id=row.cluster,
        )
    )


def usable(gateways: Iterable[NetworkGateway]) -> tuple[NetworkGateway, ...]:
    """Those that take HBONE, in an order that does not depend on time (SH7)."""
    return tuple(sorted(row for row in gateways if row.hbone_port))


def _address(row: NetworkGateway) -> pb.GatewayAddress:
    where = pb.NetworkAddress(network=row.network, address=packed_ip(row.address))
    return pb.GatewayAddress(address=where, hbone_mtls_port=_port(row))


def _port(row: NetworkGateway) -> int:
    return row.hbone_port or HBONE_PORT
