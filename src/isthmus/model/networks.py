"""Rows about how networks are entered, beside Services and `meshNetworks`."""

from typing import ClassVar

from isthmus.model.mesh_config import NetworkEntry
from isthmus.model.rows import Row


class ApiGateway(Row, frozen=True, kw_only=True, gc=False):
    """A `gateway.networking.k8s.io` Gateway with the network label, address by listener (NW9).

    `remote`: of class istio-remote, so a description of something elsewhere, which only the config cluster may give
    (NW12). Without the label there is no row, so that taking the label off takes the gateways away (not NW13).
    """

    TABLE: ClassVar[str] = "api_gateways"
    network: str = ""
    remote: bool = False
    entries: tuple[NetworkEntry, ...] = ()


class ResolvedName(Row, frozen=True, kw_only=True, gc=False):
    """What a host name of a gateway means, as this control plane last resolved it; `cluster` is the config cluster.

    A name that could not be asked for keeps its row; one that does not exist has no addresses (SH26).
    """

    TABLE: ClassVar[str] = "resolved_names"
    addresses: tuple[str, ...] = ()
