"""Services that are no Kubernetes Services, and endpoints that are no pods.

A host of a ServiceEntry is a service under its host name. The objects of one namespace that name the same host are
one service: the oldest says what it is, all add ports and endpoints. Where namespaces name the same host each has its
own (the caller sees one of them).
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from zlib import crc32

from isthmus.base.labels import NETWORK_LABEL, TLS_MODE_LABEL
from isthmus.base.names import spiffe_id
from isthmus.derive import globals as global_names
from isthmus.derive.endpoints import MESH_TLS, Surroundings, described, from_slice, mtls_of
from isthmus.derive.networks import label, network_of
from isthmus.derive.services import EVERY_CLUSTER
from isthmus.model.external import EntryAddress, Resolution, ServiceEntry, WorkloadEntry
from isthmus.model.mesh import Endpoint, MeshService, SliceEndpoints
from isthmus.model.rows import EndpointSlice, Protocol, ServicePort, SliceEndpoint, Workload

POOL = ip_network("240.240.0.0/16")
"""Addresses for hosts that have none (DN9)."""


def oldest_first(rows: Iterable[ServiceEntry]) -> list[ServiceEntry]:
    """By age, then by name: who was there first keeps what two claim."""
    return sorted(rows, key=lambda row: (row.created, row.namespace, row.name))


def agreeing(rows: Iterable[ServiceEntry]) -> list[ServiceEntry]:
    """The objects that make up one host: the oldest, and those that resolve and place it in the same way."""
    ordered = oldest_first(rows)
    return [row for row in ordered if (row.resolution, row.internal) == (ordered[0].resolution, ordered[0].internal)]


def service(host: str, rows: Iterable[ServiceEntry], allocated: Sequence[str]) -> MeshService | None:
    """The service that these objects of one namespace make of a host; None without any.

    `allocated` are the addresses that the mesh gave it, used if nobody wrote any (DN2).
    """
    mine = agreeing(rows)
    if not mine:
        return None
    first = mine[0]
    stands_for = global_names.meaning(host) if first.internal else None
    ports: dict[int, ServicePort] = {}
    for row in mine:
        for port in row.ports:
            ports.setdefault(port.port, port)
    written = tuple(dict.fromkeys(address for row in mine for address in row.addresses))
    addresses = written or tuple(allocated)
    return MeshService(
        namespace=first.namespace,
        name=host,
        host=host,
        ports=tuple(ports.values()),
        addresses=((EVERY_CLUSTER, addresses),) if addresses else (),
        clusters=(first.cluster,),
        traffic_distribution=first.traffic_distribution,
        # Endpoints of global names are the mesh's to find, whatever the object says.
        resolution=Resolution.STATIC if stands_for else first.resolution,
        stands_for=stands_for,
        external=not first.internal,
        export_to=first.export_to,
        peers=tuple(sorted({name for row in mine for name in row.subject_alt_names})),
    )


Allocation = tuple[tuple[str, str, str], str]
"""((namespace, name of the ServiceEntry, host), address)."""


def allocates(row: ServiceEntry) -> bool:
    """True if the mesh gives the hosts of this object addresses (DN10)."""
    return row.allocates and not row.addresses and row.resolution is not Resolution.NONE


def allocate(rows: Iterable[ServiceEntry]) -> tuple[Allocation, ...]:
    """The address of every host that needs one (DN9, DN11). Who has one keeps it, unless somebody wrote it, or
    an older object has it.

    A new address is found from the host's name and namespace, so that clusters which each allocate for themselves
    agree (Istio counts up, and they do not: DN13), and so do replicas, without a leader.
    """
    ordered = oldest_first(rows)
    taken = {address for row in ordered for address in row.addresses}
    found: dict[tuple[str, str, str], str] = {}
    waiting: list[tuple[str, str, str]] = []
    for row in ordered:
        if not allocates(row):
            continue
        held = dict(row.allocated)
        for host in row.hosts:
            if host.startswith("*"):
                continue
            key, address = (row.namespace, row.name, host), held.get(host, "")
            if address in taken or not _in_pool(address):
                waiting.append(key)
                continue
            taken.add(address)
            found[key] = address
    for key in sorted(waiting):
        address = _free(key, taken)
        taken.add(address)
        found[key] = address
    return tuple(sorted(found.items()))


def _in_pool(address: str) -> bool:
    try:
        return ip_address(address) in POOL
    except ValueError:
        return False


def _free(key: tuple[str, str, str], taken: set[str]) -> str:
    """The first free address from where the host's hash points; the last one if the pool is full."""
    size = POOL.num_addresses - 2
    start = crc32(f"{key[0]}/{key[2]}".encode()) % size
    candidates = (str(POOL[1 + (start + step) % size]) for step in range(size))
    return next((address for address in candidates if address not in taken), str(POOL[size]))


def listed(row: ServiceEntry, host: str, around: Surroundings) -> Iterator[SliceEndpoints]:
    """The endpoints that a ServiceEntry itself lists for one of its hosts; by default, with DNS, the host itself.

    Ports are by the service port's number. An endpoint without network is in reach of everybody.
    """
    entries = row.endpoints
    if not entries and not row.selector and row.resolution.by_dns:
        entries = (EntryAddress(address=host),)
    for entry in entries:
        network = entry.network or label(entry.labels, NETWORK_LABEL)
        found = _endpoint(entry, row, network=network, ready=True, around=around)
        yield SliceEndpoints(row.cluster, _numbers(row.ports, entry), (found,))


def chosen_entry(entry: WorkloadEntry, ports: Sequence[ServicePort], around: Surroundings) -> SliceEndpoints:
    """A WorkloadEntry that a service selects. Its network: its own word, its label, its cluster's (NW1)."""
    network = entry.endpoint.network or network_of(entry.labels, around.home, entry.endpoint.address)
    found = _endpoint(entry.endpoint, entry, network=network, ready=entry.healthy, around=around)
    return SliceEndpoints(entry.cluster, _numbers(ports, entry.endpoint), (found,))


def chosen_pod(pod: Workload, ports: Sequence[ServicePort], around: Surroundings) -> SliceEndpoints:
    """A pod that a ServiceEntry selects, seen as if it were in a slice of its own."""
    alone = EndpointSlice(
        cluster=pod.cluster,
        namespace=pod.namespace,
        name=pod.name,
        endpoints=(SliceEndpoint(addresses=pod.addresses[:1], ready=pod.ready, pod=pod.name, node=pod.node),),
    )
    named = {port.name: port.port for port in pod.ports}
    numbers = tuple((str(port.port), named.get(port.target) or _target(port)) for port in ports)
    return SliceEndpoints(pod.cluster, numbers, from_slice(alone, around).endpoints)


def _numbers(ports: Sequence[ServicePort], entry: EntryAddress) -> tuple[tuple[str, int], ...]:
    """Service port -> the number at the endpoint: by the port's name or its target's, else the target, else itself."""
    return tuple(
        (str(port.port), entry.port(port.name) or entry.port(port.target) or _target(port))
        for port in ports
        if port.protocol is not Protocol.UDP
    )


def _target(port: ServicePort) -> int:
    return int(port.target) if port.target.isdecimal() else port.port


def _endpoint(
    entry: EntryAddress, owner: ServiceEntry | WorkloadEntry, *, network: str, ready: bool, around: Surroundings
) -> Endpoint:
    """TLS mode (SH14): the label, else mesh mTLS if there is an identity."""
    account = entry.service_account
    labels = owner.labels if isinstance(owner, WorkloadEntry) else entry.labels
    mode = label(labels, TLS_MODE_LABEL) or (MESH_TLS if account else "")
    mtls, plain_ports = mtls_of(around.policy, labels, mode, (number for _, number in entry.ports))
    return Endpoint(
        cluster=owner.cluster,
        network=network,
        address=entry.address,
        identity=spiffe_id(around.trust_domain, owner.namespace, account) if account else "",
        locality=entry.locality,
        labels=labels,
        mtls=mtls,
        plain_ports=plain_ports,
        ready=ready,
        weight=entry.weight,
        workload=described(owner.name, owner.namespace, labels=labels, cluster=owner.cluster),
    )


def unwritten(rows: Sequence[ServiceEntry]) -> list[tuple[ServiceEntry, tuple[tuple[str, str], ...]]]:
    """Objects whose status does not say the addresses that their hosts have, and what it should say (DN9, DN10)."""
    given = dict(allocate(rows))
    found = []
    for row in rows:
        keys = ((host, given.get((row.namespace, row.name, host))) for host in row.hosts)
        wanted = tuple((host, address) for host, address in keys if address is not None)
        if wanted != row.allocated:
            found.append((row, wanted))
    return found
