"""The names of resources, as Istio's users know them (SN1), and the ports of a proxy."""

from typing import NamedTuple

PASSTHROUGH = "PassthroughCluster"
BLACK_HOLE = "BlackHoleCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"
CONNECT_TERMINATE = "connect_terminate"
"""The listener of a proxy's own HBONE port, and its routes."""
INBOUND_HBONE = "inbound_hbone"
"""The internal listener for what came to a sidecar by HBONE, and the cluster that leads there."""
SDS_CLUSTER = "sds-grpc"
CONNECT_ORIGINATE = "connect_originate"
"""The internal listener that reaches an endpoint by HBONE."""
INNER_CONNECT_ORIGINATE = "inner_connect_originate"
"""The internal listener that reaches a service behind a gateway by HBONE in HBONE (SH18, AM13)."""
OUTER_CONNECT_ORIGINATE = "outer_connect_originate"
"""The internal listener that carries such a tunnel to the gateway."""
PROBE_SNI = "probe.gateway.isthmus.dev"
"""The server name at which a gateway answers whoever wants to know that it serves."""

OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
HBONE_PORT = 15008
READINESS_PORT = 15021
RESERVED_PORTS = frozenset((OUTBOUND_PORT, INBOUND_PORT, READINESS_PORT))
"""Ports at which the proxy itself listens on every address: Envoy refuses a second such listener, bound or not."""
TUNNEL_PORTS = frozenset((OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT))
"""Ports in a captured pod at which its node's proxy listens: nobody may ask for them inside a tunnel."""


class ClusterName(NamedTuple):
    """What a cluster's name says. `sni_dnat` is the form that gateways use and that is also the SNI.

    `vip` is `tcp` or `http` for clusters behind a waypoint or a gateway for HBONE.
    """

    port: int
    subset: str
    host: str
    sni_dnat: bool = False
    vip: str = ""


def outbound(port: int, host: str, subset: str = "") -> str:
    """`outbound|<port>|<subset>|<host>`."""
    return f"outbound|{port}|{subset}|{host}"


def sni_dnat(port: int, host: str, subset: str = "") -> str:
    """`outbound_.<port>_.<subset>_.<host>`: a gateway's cluster, and the SNI that a client sends for it (SN2)."""
    return f"outbound_.{port}_.{subset}_.{host}"


def is_sni_dnat(name: str) -> bool:
    """True for the name of a gateway's cluster that passes mTLS on."""
    return name.startswith("outbound_.")


def is_passed_on(name: str) -> bool:
    """True for the name of a gateway's cluster whose callers chose the service themselves."""
    return is_sni_dnat(name) or name.startswith("inbound-vip|")


def inbound(port: int) -> str:
    """`inbound|<port>||`, with the workload's port."""
    return f"inbound|{port}||"


BY_WAYPOINT = "waypoint"
"""Kind of the clusters by which a gateway leads to a service's waypoint instead of its endpoints."""


def inbound_vip(port: int, host: str, kind: str = "tcp") -> str:
    """`inbound-vip|<port>|<kind>|<host>`: a service's own endpoints, as what stands before them reaches them."""
    return f"inbound-vip|{port}|{kind}|{host}"


def inbound_hbone(port: int) -> str:
    """`inbound-hbone|<port>||`: the routes of a workload's port for what came by HBONE, and the cluster by which
    somebody who named a service instead of an address gets there."""
    return f"inbound-hbone|{port}||"


def parse(name: str) -> ClusterName | None:
    """The parts of the name of a cluster of a service; None for any other name."""
    sni = is_sni_dnat(name)
    separator = "_." if sni else "|"
    parts = name.split(separator, 3)
    if len(parts) != 4 or not parts[1].isdecimal():
        return None
    if parts[0] == "inbound-vip":
        return ClusterName(int(parts[1]), "", parts[3], vip=parts[2])
    if parts[0] != "outbound":
        return None
    return ClusterName(int(parts[1]), parts[2], parts[3], sni)


def port_listener(port: int) -> str:
    """The listener of all HTTP traffic to one port number."""
    return f"0.0.0.0_{port}"


def address_listener(address: str, port: int) -> str:
    """The listener of the traffic to one address and port."""
    return f"{address}_{port}"


def parse_listener(name: str) -> tuple[str, int] | None:
    """Address and port of an outbound listener's name."""
    address, _, port = name.rpartition("_")
    return (address, int(port)) if address and port.isdecimal() else None
