"""A proxy that connects: what it says of itself, held against what its credentials prove."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.base.errors import ObjectRef, Problem, Severity
from isthmus.ingest.finding import is_address
from isthmus.model.rows import Labels, Locality, Proxy, labels

TYPES = ("sidecar", "router", "waypoint", "ztunnel", "node")

NOWHERE = Locality()

_REINJECT = "Restart the pod, so that it is injected again"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the stream's token or certificate proves: verified against the cluster that issued it."""

    cluster: str
    namespace: str
    service_account: str
    trust_domain: str = "cluster.local"


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a proxy sends in its first request: node id, metadata as plain data, locality."""

    id: str
    metadata: Mapping[str, Any]
    locality: Locality = NOWHERE


def proxy(
    node: NodeInfo, identity: Identity | None, *, default_cluster: str = "", trust_domain: str = "cluster.local"
) -> tuple[Proxy | None, list[Problem]]:
    """The proxy's row, or None and the reason to refuse it.

    Every claim is checked: namespace and service account (AU4) and, beyond Istio, the cluster (AU5: a token of one
    cluster must not fetch what is meant for another). Without identity (plaintext on loopback, AU3) the claims count.
    """
    read = _Claims(node, identity, default_cluster)
    parts = node.id.split("~")
    if len(parts) != 4 or "." not in parts[2]:
        return None, read.refuse("node.id", f"{node.id!r} is not <type>~<ip>~<name>.<namespace>~<domain>")
    kind, address, full_name, domain = parts
    name, _, namespace = full_name.rpartition(".")
    if kind not in TYPES:
        return None, read.refuse("node.id", f"a proxy of type {kind!r} is not served", f"Use {' or '.join(TYPES)}")
    claimed = read.text("NAMESPACE") or namespace
    if claimed != namespace:
        return None, read.refuse("NAMESPACE", f"{claimed!r} differs from {namespace!r} in node.id")
    refusal = _mismatch(read, identity, namespace)
    if refusal:
        return None, refusal
    addresses = read.list_of("INSTANCE_IPS") or (address,)
    if not all(map(is_address, addresses)):
        return None, read.refuse("INSTANCE_IPS", f"{', '.join(addresses)} is no list of IP addresses")
    row = Proxy(
        cluster=read.cluster,
        namespace=namespace,
        name=name,
        type=kind,
        network=read.text("NETWORK"),
        addresses=addresses,
        labels=read.labels(),
        service_account=read.text("SERVICE_ACCOUNT") or (identity.service_account if identity else "default"),
        node=read.text("NODE_NAME"),
        domain=domain,
        dns_capture=read.flag("DNS_CAPTURE"),
        requested_network_view=read.list_of("REQUESTED_NETWORK_VIEW"),
        locality=node.locality,
        trust_domain=identity.trust_domain if identity else trust_domain,
        hbone=read.flag("ENABLE_HBONE"),
        netns_dir=read.text("NETNS_DIR"),
    )
    return row, read.problems


def _mismatch(read: "_Claims", identity: Identity | None, namespace: str) -> list[Problem]:
    """Why the credentials do not cover the claims; empty if they do."""
    if identity is None:
        return []
    if identity.cluster != read.cluster:
        message = f"claims cluster {read.cluster!r}, but the token is of cluster {identity.cluster!r}"
        return read.refuse("CLUSTER_ID", message, f"Set the cluster's own id at its injection. {_REINJECT}")
    account = read.text("SERVICE_ACCOUNT") or identity.service_account
    if (identity.namespace, identity.service_account) != (namespace, account):
        proved = f"{identity.namespace}/{identity.service_account}"
        return read.refuse("SERVICE_ACCOUNT", f"claims {namespace}/{account}, but the token is of {proved}", _REINJECT)
    return []


class _Claims:
    """Reads node metadata, which agents write as strings or as JSON values."""

    def __init__(self, node: NodeInfo, identity: Identity | None, default_cluster: str) -> None:
        self._metadata = node.metadata
        self.problems: list[Problem] = []
        self.cluster = self.text("CLUSTER_ID") or default_cluster or (identity.cluster if identity else "")
        self._where = ObjectRef(self.cluster, "Proxy", "", node.id)

    def refuse(self, field: str, message: str, remedy: str = _REINJECT) -> list[Problem]:
        """The one error that ends the stream."""
        return [*self.problems, Problem(self._where, field, message, remedy)]

    def _set_aside(self, field: str, message: str) -> None:
        self.problems.append(Problem(self._where, field, message, _REINJECT, Severity.WARNING))

    def text(self, name: str) -> str:
        """A string; empty if absent or something else."""
        value = self._metadata.get(name)
        return value if isinstance(value, str) else ""

    def flag(self, name: str) -> bool:
        """True for `true` as JSON or text."""
        value = self._metadata.get(name)
        return value is True or (isinstance(value, str) and value.lower() in ("true", "1"))

    def list_of(self, name: str) -> tuple[str, ...]:
        """A list, or words with commas between."""
        value = self._metadata.get(name)
        words = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
        return tuple(word.strip() for word in words if isinstance(word, str) and word.strip())

    def labels(self) -> Labels:
        """LABELS, as an object or as JSON text."""
        value = self._metadata.get("LABELS")
        if isinstance(value, str) and value:
            try:
                value = json.loads(value)
            except ValueError:
                value = 0
        if value is None or value == "":
            return ()
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            self._set_aside("LABELS", "is no map of strings and is ignored")
            return ()
        return labels(value)
