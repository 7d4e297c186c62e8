"""A client that speaks, remembers and decides as ztunnel does, without sockets: requests out, responses in.

Each rule is that of ztunnel's sources: what it asks for at first (`xds/client.rs`), what it refuses (`state/*.rs`),
whom it chooses (`state.rs`, LB16), what it makes of another network (`proxy/outbound.rs`, AM15), whom it lets in
(`rbac.rs`, §2.2).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from envoy.service.discovery.v3 import discovery_pb2

from isthmus.proto import authorization_pb2, workload_pb2
from isthmus.xds.resource import ADDRESS, AUTHORIZATION

pb = workload_pb2
SCOPES = pb.LoadBalancing


class Upstream(NamedTuple):
    """One that a connection may go to: how, where, asking for what, and whom it must meet."""

    uid: str
    protocol: str
    to: str
    authority: str
    capacity: int
    outer: frozenset[str]
    inner: frozenset[str] = frozenset()


@dataclass
class Ztunnel:
    """One ztunnel. `on_demand`: it asks for what it needs (`XDS_ON_DEMAND`)."""

    node: str = "east-node"
    cluster: str = "east"
    network: str = "n"
    pod: str = "ztunnel-east"
    on_demand: bool = False
    workloads: dict[str, pb.Workload] = field(default_factory=dict)
    services: dict[str, pb.Service] = field(default_factory=dict)
    policies: dict[str, authorization_pb2.Authorization] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    received: list[discovery_pb2.DeltaDiscoveryResponse] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    # -- the stream -----------------------------------------------------------------------------------------------

    def opening(self) -> list[discovery_pb2.DeltaDiscoveryRequest]:
        """What it says on each new stream: everything, or nothing yet; and which versions it still has."""
        return [self._first(ADDRESS, nothing=self.on_demand), self._first(AUTHORIZATION, nothing=False)]

    def _first(self, type_url: str, *, nothing: bool) -> discovery_pb2.DeltaDiscoveryRequest:
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=type_url, initial_resource_versions=self.versions.get(type_url, {})
        )
        if nothing:
            request.resource_names_subscribe.append("*")
            request.resource_names_unsubscribe.append("*")
        request.node.id = f"ztunnel~10.9.9.9~{self.pod}.istio-system~istio-system.svc.cluster.local"
        metadata: dict[str, Any] = {"NAME": self.pod, "NAMESPACE": "istio-system", "INSTANCE_IPS": "10.9.9.9"}
        request.node.metadata.update(metadata | {"NODE_NAME": self.node, "CLUSTER_ID": self.cluster})
        return request

    def demand(self, name: str) -> discovery_pb2.DeltaDiscoveryRequest:
        """Ask for one address or service, and wait until something of that name comes, or is said not to be."""
        self.waiting.add(name)
        self.versions.setdefault(ADDRESS, {}).setdefault(name, "")
        return discovery_pb2.DeltaDiscoveryRequest(type_url=ADDRESS, resource_names_subscribe=[name])

    def take(self, response: discovery_pb2.DeltaDiscoveryResponse) -> discovery_pb2.DeltaDiscoveryRequest:
        """Apply a response; returns the answer to it."""
        self.received.append(response)
        held = self.versions.setdefault(response.type_url, {})
        wrong: dict[str, str] = {}
        for resource in response.resources:
            try:
                self._insert(response.type_url, resource)
                held[resource.name] = resource.version
            except ValueError as error:
                wrong[resource.name] = str(error)
        for name in response.removed_resources:
            self._remove(response.type_url, name)
            held.pop(name, None)
        self.waiting -= {*(one.name for one in response.resources), *response.removed_resources}
        answer = discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if wrong:
            answer.error_detail.message = "; ".join(f"{name}: {text}" for name, text in wrong.items())
            self.errors.append(answer.error_detail.message)
        return answer

    def _insert(self, type_url: str, resource: discovery_pb2.Resource) -> None:
        if type_url == AUTHORIZATION:
            found = authorization_pb2.Authorization.FromString(resource.resource.value)
            self.policies[f"{found.namespace}/{found.name}"] = found
            return
        address = pb.Address.FromString(resource.resource.value)
        if address.WhichOneof("type") == "workload":
            self.workloads[address.workload.uid] = _checked(address.workload)
        else:
            service = address.service
            for one in service.addresses:
                ip_address(one.address)
            self.services[f"{service.namespace}/{service.hostname}"] = service

    def _remove(self, type_url: str, name: str) -> None:
        if type_url == AUTHORIZATION:
            self.policies.pop(name, None)
        elif name in self.workloads:
            del self.workloads[name]
        elif name.count("/") == 1:
            self.services.pop(name, None)

    # -- whom it calls --------------------------------------------------------------------------------------------

    def service_at(self, address: str) -> pb.Service | None:
        """The service that has this address in our network."""
        wanted = (self.network, ip_address(address).packed)
        for service in self.services.values():
            if any((one.network, bytes(one.address)) == wanted for one in service.addresses):
                return service
        return None

    def workload_at(self, network: str, address: str) -> pb.Workload | None:
        """The workload that has this address in a network."""
        packed = ip_address(address).packed
        for found in self.workloads.values():
            if found.network == network and packed in map(bytes, found.addresses):
                return found
        return None

    def upstreams(self, source: str, address: str, port: int) -> list[Upstream]:
        """All that a connection of a workload (by uid) to an address may go to; one is drawn by capacity."""
        me = self.workloads[source]
        service = self.service_at(address)
        if service is None:
            direct = self.workload_at(self.network, address)
            return [_direct(direct, port, f"{address}:{port}", frozenset())] if direct is not None else []
        ours = self._endpoints(me, service, port)
        ranks = {found.uid: _rank(me, found, service.load_balancing) for found in ours}
        best = max((rank for rank in ranks.values() if rank is not None), default=None)
        chosen = [found for found in ours if best is not None and ranks[found.uid] == best]
        return [self._upstream(me, service, found, port) for found in chosen]

    def _endpoints(self, me: pb.Workload, service: pb.Service, port: int) -> list[pb.Workload]:
        key = f"{service.namespace}/{service.hostname}"
        if port not in {one.service_port for one in service.ports}:
            return []
        everybody = service.load_balancing.health_policy == SCOPES.ALLOW_ALL
        members = [found for found in self.workloads.values() if key in found.services]
        return [
            found
            for found in members
            if port in {one.service_port for one in found.services[key].ports}
            if everybody or found.status == pb.HEALTHY
            if found.addresses or found.hostname or (found.network != me.network and found.HasField("network_gateway"))
        ]

    def _upstream(self, me: pb.Workload, service: pb.Service, found: pb.Workload, port: int) -> Upstream:
        key = f"{service.namespace}/{service.hostname}"
        sans = frozenset(service.subject_alt_names)
        if found.network == me.network:
            target = next(one.target_port for one in found.services[key].ports if one.service_port == port)
            return _direct(found, target, f"{_ip(found.addresses[0])}:{target}", sans)
        way = found.network_gateway
        gateway = self.workload_at(way.address.network, _ip(way.address.address))
        assert gateway is not None, f"nobody knows who answers at the gateway of {found.uid}"
        where, authority = f"{_ip(way.address.address)}:{way.hbone_mtls_port}", f"{service.hostname}:{port}"
        outer = frozenset((identity(gateway),))
        return Upstream(found.uid, "double hbone", where, authority, _capacity(found), outer, sans)

    # -- whom it lets in ------------------------------------------------------------------------------------------

    def admits(self, target: str, caller: str = "", *, source: str = "10.0.0.2", port: int = 80) -> bool:
        """True if a connection to a workload (by uid) is let in; `caller` is a SPIFFE ID, empty without mutual TLS."""
        found = self.workloads[target]
        names = {name for name, one in self.policies.items() if _scoped(one, found)} | set(found.authorization_policies)
        missing = names - self.policies.keys()
        assert not missing, f"{target} names policies that were not sent: {missing}"
        mine = [self.policies[name] for name in sorted(names)]
        real = [one for one in mine if not one.dry_run]
        call = (caller, ip_address(source), ip_address(bytes(found.addresses[0])), port)
        allow, deny = authorization_pb2.ALLOW, authorization_pb2.DENY
        if any(matches(one, *call) for one in real if one.action == deny):
            return False
        allowing = [one for one in real if one.action == allow]
        return not allowing or any(matches(one, *call) for one in allowing)


def identity(found: pb.Workload) -> str:
    """The SPIFFE ID of a workload."""
    domain, account = found.trust_domain or "cluster.local", found.service_account or "default"
    return f"spiffe://{domain}/ns/{found.namespace}/sa/{account}"


def _checked(found: pb.Workload) -> pb.Workload:
    if found.tunnel_protocol == pb.LEGACY_ISTIO_MTLS:
        raise ValueError("unsupported tunnel protocol: legacy istio mtls")
    for one in found.addresses:
        ip_address(bytes(one))
    for gateway in (found.waypoint, found.network_gateway):
        if gateway.ByteSize() and gateway.WhichOneof("destination") is None:
            raise ValueError("missing gateway address")
    if any("/" not in name for name in found.services):
        raise ValueError("a service without namespace")
    return found


def _ip(packed: bytes) -> str:
    return str(ip_address(bytes(packed)))


def _capacity(found: pb.Workload) -> int:
    return found.capacity.value if found.HasField("capacity") else 1


def _direct(found: pb.Workload, port: int, authority: str, sans: frozenset[str]) -> Upstream:
    where = _ip(found.addresses[0]) if found.addresses else found.hostname
    mine = sans | {identity(found)}
    if found.tunnel_protocol == pb.HBONE:
        return Upstream(found.uid, "hbone", f"{where}:15008", authority, _capacity(found), mine)
    return Upstream(found.uid, "tcp", f"{where}:{port}", "", _capacity(found), frozenset())


def _rank(me: pb.Workload, other: pb.Workload, lb: pb.LoadBalancing) -> int | None:
    """How well an endpoint matches; None: not at all."""
    wanted = list(lb.routing_preference)
    if lb.mode not in (SCOPES.STRICT, SCOPES.FAILOVER):
        return 0
    rank = adjust = 0
    for scope in wanted:
        same = _same(scope, me, other)
        if scope == SCOPES.NETWORK and wanted[0] == SCOPES.NETWORK:
            if not same:
                continue
            adjust = len(wanted) - 1
        if not same:
            break
        rank += 1
    if lb.mode == SCOPES.STRICT and rank != len(wanted):
        return None
    return rank + adjust


def _same(scope: int, me: pb.Workload, other: pb.Workload) -> bool:
    places = {
        SCOPES.REGION: (me.locality.region, other.locality.region),
        SCOPES.ZONE: (me.locality.zone, other.locality.zone),
        SCOPES.SUBZONE: (me.locality.subzone, other.locality.subzone),
        SCOPES.NODE: (me.node, other.node),
        SCOPES.CLUSTER: (me.cluster_id, other.cluster_id),
        SCOPES.NETWORK: (me.network, other.network),
    }
    mine, theirs = places[scope]  # type: ignore[index]
    return mine == theirs


# -- policies ---------------------------------------------------------------------------------------------------------


def _scoped(policy: authorization_pb2.Authorization, found: pb.Workload) -> bool:
    if policy.scope == authorization_pb2.GLOBAL:
        return True
    return policy.scope == authorization_pb2.NAMESPACE and policy.namespace == found.namespace


def matches(policy: authorization_pb2.Authorization, caller: str, source: Any, target: Any, port: int) -> bool:
    """True if one of the rules matches; no rules match nothing, a rule without clauses everything."""
    return any(all(_clause(one, caller, source, target, port) for one in rule.clauses) for rule in policy.rules)


def _clause(clause: authorization_pb2.Clause, caller: str, source: Any, target: Any, port: int) -> bool:
    if not clause.matches:
        return True
    return any(one.ByteSize() and _match(one, caller, source, target, port) for one in clause.matches)


def _match(match: authorization_pb2.Match, caller: str, source: Any, target: Any, port: int) -> bool:
    namespace, account = (caller.split("/")[4], caller.split("/")[6]) if caller else ("", "")
    fields: Iterator[tuple[Iterable[Any], Iterable[Any], Any]] = iter((
        (match.namespaces, match.not_namespaces, lambda one: _text(one, namespace)),
        (match.principals, match.not_principals, lambda one: bool(caller) and _text(one, caller[9:])),
        (match.service_accounts, match.not_service_accounts,
         lambda one: bool(caller) and (one.namespace, one.serviceAccount) == (namespace, account)),
        (match.source_ips, match.not_source_ips, lambda one: source in _block(one)),
        (match.destination_ips, match.not_destination_ips, lambda one: target in _block(one)),
        (match.destination_ports, match.not_destination_ports, lambda one: one == port),
    ))  # fmt: skip
    return all((not list(some) or any(map(check, some))) and not any(map(check, nots)) for some, nots, check in fields)


def _text(one: authorization_pb2.StringMatch, value: str) -> bool:
    match one.WhichOneof("match_type"):
        case "exact":
            return one.exact == value
        case "prefix":
            return value.startswith(one.prefix)
        case "suffix":
            return value.endswith(one.suffix)
    return bool(value)


def _block(one: authorization_pb2.Address) -> Any:
    return ip_network((bytes(one.address), one.length))
