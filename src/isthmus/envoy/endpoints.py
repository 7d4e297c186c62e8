"""Load assignments: members as derived, grouped by locality, encoded.

A service may have thousands of endpoints and one of them changes, so members are not built as messages: what they
have in common (metadata, weight) is encoded once for all, and the rest is a few bytes. The field numbers are those
of envoy/config/endpoint/v3 and envoy/config/core/v3; a test compares the bytes with those of the real messages.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from itertools import groupby
from zlib import crc32

from envoy.config.core.v3 import address_pb2, base_pb2

from isthmus.envoy import naming
from isthmus.envoy.tunnels import (
    DOUBLE_HBONE,
    GATEWAY_PEERS,
    ORIGINAL_DST,
    PEERS,
    TARGET,
    TO_GATEWAY,
    TO_HBONE,
    TO_PLAIN,
    WAYPOINT,
)
from isthmus.model.mesh import MAPPED, Assignment, LbEndpoint
from isthmus.model.preference import OVERPROVISIONING
from isthmus.model.rows import Locality
from isthmus.xds.resource import EDS, XdsResource
from isthmus.xds.wire import length_delimited, varint

ANY_NETWORK = "*"
"""Stands for the network of a gateway that leads to several, such as the way out of a cluster."""

GATEWAY_KEY = "gateway"
"""In a member's metadata `istio`: the network that it is a gateway of; endpoints themselves have no such key."""

"""Metadata by which an internal listener is told the address that a connection is for."""

_PORT_VALUE = b"\x18"
_UINT32_VALUE = b"\x08"
_PRIORITY = b"\x28"
_IPV4_COMPAT = b"\x30\x01"
_UNHEALTHY = b"\x10\x02"
_OVERPROVISIONING = 3
_WEIGHTED_HEALTH = b"\x30\x01"


def load_assignment(
    name: str, assignment: Assignment, peers: Iterable[str] = (), *, of_node: bool = False
) -> XdsResource:
    """The ClusterLoadAssignment of a cluster; one without members is sent too, so that nobody waits for it.

    `peers` are the identities of the service: whom a tunnel through a gateway must lead to. `of_node`: for the proxy of
    a node, which reaches plain endpoints, too, by a listener of its own.
    """
    encoder = _Encoder(name, peers, of_node=of_node)
    groups = (
        length_delimited(2, encoder.group(priority, locality, list(members)))
        for (priority, _, locality), members in groupby(assignment.members, key=_group_key)
    )
    return XdsResource(EDS, name, length_delimited(1, name.encode()) + b"".join(groups) + _policy(assignment))


def _policy(assignment: Assignment) -> bytes:
    """When a priority hands traffic on. Its health is that of its weights: one gateway stands for many endpoints."""
    if not any(member.priority for member in assignment.members):
        return b""
    factor = assignment.overprovisioning
    said = b"" if factor == OVERPROVISIONING else length_delimited(_OVERPROVISIONING, _weight(factor))
    return length_delimited(4, said + _WEIGHTED_HEALTH)


def _group_key(member: LbEndpoint) -> tuple[int, bool, Locality]:
    return (member.priority, member.gateway, member.locality)


class _Encoder:
    """Encodes the members of one assignment, what several share only once."""

    def __init__(self, cluster: str, peers: Iterable[str], *, of_node: bool) -> None:
        self._of_node = of_node
        self._peers = ",".join(peers)
        parsed = naming.parse(cluster)
        self._authority = f"{parsed.host}:{parsed.port}" if parsed is not None else ""
        self._tails: dict[tuple[str, str, str, bool, int, bool], bytes] = {}

    def group(self, priority: int, locality: Locality, members: list[LbEndpoint]) -> bytes:
        """A LocalityLbEndpoints."""
        place = base_pb2.Locality(region=locality.region, zone=locality.zone, sub_zone=locality.subzone)
        parts = [length_delimited(1, place.SerializeToString(deterministic=True))]
        parts += [length_delimited(2, self.member(member)) for member in members]
        parts.append(length_delimited(3, _weight(sum(member.weight for member in members))))
        if priority:
            parts.append(_PRIORITY + varint(priority))
        return b"".join(parts)

    def member(self, member: LbEndpoint) -> bytes:
        """An LbEndpoint. What is reached through a tunnel is an internal listener that is told where to (SH18)."""
        if member.tunnel or self._of_node:
            return self._tunnelled(member)
        socket = length_delimited(2, member.address.encode()) + _PORT_VALUE + varint(member.port)
        if member.address.startswith(MAPPED):
            socket += _IPV4_COMPAT
        endpoint = length_delimited(1, length_delimited(1, socket))
        health = b"" if member.healthy else _UNHEALTHY
        return length_delimited(1, endpoint) + health + self._tail(member)

    def _tunnelled(self, member: LbEndpoint) -> bytes:
        listener = _LISTENERS[self._of_node, member.tunnel]
        via = f";{member.waypoint}" if member.waypoint else ""
        peers = member.identity or self._peers
        # Within a node's proxy what such a connection goes by is read once, and it lives on: others make another one.
        apart = f"#{crc32(repr((peers, member.entrance)).encode()):08x}" if self._of_node and member.tunnel else ""
        place = address_pb2.EnvoyInternalAddress(
            server_listener_name=listener, endpoint_id=_written(member.address, member.port) + via + apart
        )
        address = address_pb2.Address(envoy_internal_address=place).SerializeToString(deterministic=True)
        endpoint = length_delimited(1, length_delimited(1, address))
        health = b"" if member.healthy else _UNHEALTHY
        about = length_delimited(3, _tunnel_metadata(member, self._authority, peers))
        return endpoint + health + about + length_delimited(4, _weight(member.weight))

    def _tail(self, member: LbEndpoint) -> bytes:
        """What follows the address: metadata and weight."""
        key = (member.workload, member.cluster, member.network, member.mtls, member.weight, member.gateway)
        known = self._tails.get(key)
        if known is None:
            known = length_delimited(3, _metadata(member)) + length_delimited(4, _weight(member.weight))
            self._tails[key] = known
        return known


_LISTENERS = {
    (False, "hbone"): naming.CONNECT_ORIGINATE,
    (False, DOUBLE_HBONE): naming.INNER_CONNECT_ORIGINATE,
    (True, "hbone"): TO_HBONE,
    (True, DOUBLE_HBONE): TO_GATEWAY,
    (True, ""): TO_PLAIN,
}
"""By whether it is a node's proxy, and how the member is reached: the internal listener."""


def _tunnel_metadata(member: LbEndpoint, authority: str, peers: str) -> bytes:
    """A Metadata: where the tunnel ends, who must be there, and for a gateway which service is meant beyond it."""
    where = _text("local", _written(member.address.removeprefix(MAPPED), member.port))
    if member.waypoint:
        where += _text(WAYPOINT, member.waypoint)
    about = _about(member) | ({PEERS: _string(peers)} if member.tunnel else {})
    if member.entrance:
        about |= {GATEWAY_PEERS: _string(",".join(member.entrance))}
    if member.tunnel == DOUBLE_HBONE:
        about |= {DOUBLE_HBONE: length_delimited(5, _text(TARGET, authority))}
    return _entry(ORIGINAL_DST, where) + _TUNNEL + _entry("istio", _struct(about))


def _written(address: str, port: int) -> str:
    """`<address>:<port>`, with an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ip_address(address).version == 6 else f"{address}:{port}"


def _metadata(member: LbEndpoint) -> bytes:
    """A Metadata; keys in order, as deterministic encoding has them."""
    istio = _entry("istio", _struct(_about(member)))
    return _MESH_TLS + istio if member.mtls else istio


def _about(member: LbEndpoint) -> dict[str, bytes]:
    """What the mesh knows of a member: keys with encoded Values."""
    about = {"cluster": member.cluster, "network": member.network, "workload": member.workload}
    # Never empty: Envoy leaves out a header without a value, and then the gateway would pass for an endpoint.
    about |= {GATEWAY_KEY: member.network or ANY_NETWORK} if member.gateway else {}
    return {key: _string(text) for key, text in about.items()}


def _struct(fields: dict[str, bytes]) -> bytes:
    """A Struct of encoded Values; keys in order."""
    return b"".join(_entry(key, fields[key]) for key in sorted(fields))


def _string(text: str) -> bytes:
    """A Value that is a string."""
    return length_delimited(3, text.encode())


def _entry(key: str, value: bytes) -> bytes:
    """One entry of the first map field of a message."""
    return length_delimited(1, length_delimited(1, key.encode()) + length_delimited(2, value))


def _text(key: str, text: str) -> bytes:
    """One field of a Struct that is a string."""
    return _entry(key, _string(text))


_TUNNEL = _entry("envoy.transport_socket_match", _text("tunnel", "http"))
_MESH_TLS = _entry("envoy.transport_socket_match", _text("tlsMode", "istio"))


def _weight(value: int) -> bytes:
    """A UInt32Value."""
    return _UINT32_VALUE + varint(value)
