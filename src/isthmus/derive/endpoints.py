"""Endpoints: a slice's addresses with everything the mesh knows about what is behind them."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from isthmus.base.labels import TUNNEL_LABEL
from isthmus.base.names import spiffe_id
from isthmus.derive.networks import Home, label, network_of
from isthmus.derive.peers import workload_mode
from isthmus.model import preference
from isthmus.model.mesh import Endpoint, PeerPolicy, SliceEndpoints
from isthmus.model.rows import EndpointSlice, Labels, Locality, MtlsMode, Node, SliceEndpoint, Workload

MESH_TLS = "istio"

REDIRECTED = "enabled"
"""What the agent of a node says of a pod whose traffic it captures."""

HBONE_TUNNEL = "http"

_NAME_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_REVISION_LABELS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")


class Surroundings(NamedTuple):
    """What a slice's endpoints are seen against: rows of its cluster and namespace, looked up by name."""

    pod: Callable[[str], Workload | None]
    node: Callable[[str], Node | None]
    home: Home
    policy: PeerPolicy
    trust_domain: str


def from_slice(row: EndpointSlice, around: Surroundings) -> SliceEndpoints:
    """The slice's endpoints, ready or not."""
    endpoints = tuple(_endpoint(row, endpoint, around) for endpoint in row.endpoints if endpoint.addresses)
    return SliceEndpoints(row.cluster, tuple((port.name, port.port) for port in row.ports), endpoints)


def _endpoint(row: EndpointSlice, endpoint: SliceEndpoint, around: Surroundings) -> Endpoint:
    pod = around.pod(endpoint.pod) if endpoint.pod else None
    node = endpoint.node or (pod.node if pod else "")
    mtls, plain_ports = _mtls(around.policy, pod)
    return Endpoint(
        cluster=row.cluster,
        network=network_of(pod.labels if pod else (), around.home, endpoint.addresses[0]),
        address=endpoint.addresses[0],
        identity=spiffe_id(around.trust_domain, row.namespace, pod.service_account) if pod else "",
        locality=_locality(endpoint, around.node(node) if node else None),
        labels=pod.labels if pod else (),
        mtls=mtls,
        plain_ports=plain_ports,
        ready=endpoint.ready and not endpoint.terminating,
        terminating=endpoint.terminating,
        workload=describe(pod) if pod else f";{row.namespace};;;{row.cluster}",
        node=node,
        hostname=endpoint.hostname or (pod.hostname if pod and pod.subdomain == row.service else ""),
        hbone=takes_hbone(pod) if pod else False,
    )


def takes_hbone(pod: Workload) -> bool:
    """True if HBONE reaches a pod: its node's proxy captures what it gets, or its sidecar says so of itself.

    A pod that is only about to be captured, or to be let go, is reached as one outside of ambient: nobody listens yet,
    or soon no longer.
    """
    return pod.redirection == REDIRECTED or label(pod.labels, TUNNEL_LABEL) == HBONE_TUNNEL


def _mtls(policy: PeerPolicy, pod: Workload | None) -> tuple[bool, tuple[int, ...]]:
    if pod is None:
        return False, ()
    return mtls_of(policy, pod.labels, pod.tls_mode, (port.port for port in pod.ports))


def mtls_of(policy: PeerPolicy, found: Labels, tls_mode: str, declared: Iterable[int]) -> tuple[bool, tuple[int, ...]]:
    """Whether a workload with these labels takes mTLS, and the ports that do not (SH13, SH14).

    Where the default is DISABLE but some ports are not, the exceptions are the other declared ports.
    """
    if tls_mode != MESH_TLS:
        return False, ()
    mode = workload_mode(policy, found)
    plain = tuple(port for port, port_mode in mode.ports if port_mode is MtlsMode.DISABLE)
    if mode.mode is not MtlsMode.DISABLE:
        return True, plain
    on = {port for port, port_mode in mode.ports if port_mode is not MtlsMode.DISABLE}
    if not on:
        return False, ()
    return True, tuple(port for port in declared if port not in on)


def _locality(endpoint: SliceEndpoint, node: Node | None) -> Locality:
    if node is not None and node.locality.region:
        return node.locality
    return Locality(zone=endpoint.zone) if endpoint.zone else Locality()


def describe(workload: Workload) -> str:
    """Endpoint metadata `istio.workload` of a pod."""
    return described(
        workload.workload_name or workload.name, workload.namespace, labels=workload.labels, cluster=workload.cluster
    )


def described(name: str, namespace: str, *, labels: Labels, cluster: str) -> str:
    """Endpoint metadata `istio.workload`: name;namespace;canonical name;canonical revision;cluster (§2.7)."""
    shown, revision = canonical(labels, name)
    return f"{name};{namespace};{shown};{revision};{cluster}"


def canonical(labels: Labels, name: str) -> tuple[str, str]:
    """Name and revision by which telemetry knows a workload."""
    found = next((value for key in _NAME_LABELS if (value := label(labels, key))), name)
    return found, next((value for key in _REVISION_LABELS if (value := label(labels, key))), "latest")


def identities(endpoints: SliceEndpoints) -> tuple[str, ...]:
    """The identities behind a slice (TR5), ready or not: a pod that becomes ready must not change a cluster."""
    return tuple(sorted({endpoint.identity for endpoint in endpoints.endpoints if endpoint.identity}))


def under_aliases(identities: set[str], trust_domains: tuple[str, ...]) -> tuple[str, ...]:
    """The identities, those of the mesh's own trust domains under each of their names (TR5)."""
    found = set(identities)
    for identity in identities:
        domain, _, rest = identity.removeprefix("spiffe://").partition("/")
        if domain in trust_domains:
            found.update(f"spiffe://{other}/{rest}" for other in trust_domains)
    return tuple(sorted(found))


def speaks_mtls(endpoint: Endpoint, port: int, tls_mode: str) -> bool:
    """Whether clients speak mesh mTLS to a workload port: the rule's word if there is one, else both sides' (SH13)."""
    return tls_mode == "ISTIO_MUTUAL" if tls_mode else endpoint.takes_mtls(port)


def all_labels(endpoint: Endpoint) -> Labels:
    """The workload's labels with those that say where it is, for subsets; what the mesh knows of that wins (LB15)."""
    where = endpoint.locality
    places = {
        preference.CLUSTER: endpoint.cluster,
        preference.NETWORK: endpoint.network,
        preference.REGION: where.region,
        preference.ZONE: where.zone,
        preference.SUBZONE: where.subzone,
        preference.HOSTNAME: endpoint.node,
    }
    return tuple((dict(endpoint.labels) | {key: value for key, value in places.items() if value}).items())
