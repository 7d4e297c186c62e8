"""Which pods of a node are ambient, and what is to be done next about one: decisions, without I/O.

In: annotated `pending`, so that the control plane sends the pod's listeners; once they listen in the pod's network
namespace its traffic is redirected to them; annotated `enabled`, so that others are told to come by HBONE.
Out: annotated `pending`, so that nobody is told any more; redirection ends; connections drain; the annotation goes,
and with it the listeners. So nothing is ever redirected to where nobody listens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from isthmus.base.labels import (
    BYPASS_INBOUND_ANNOTATION,
    DATAPLANE_MODE_LABEL,
    DNS_CAPTURE_ANNOTATION,
    REDIRECTION_ANNOTATION,
)
from isthmus.kube.objects import KubeObject, Part, PodIP

PENDING, ENABLED = "pending", "enabled"
AMBIENT = "ambient"
SIDECAR_ANNOTATION = "sidecar.istio.io/status"
SIDECAR_CONTAINER = "istio-proxy"
_OVER = ("Succeeded", "Failed")


class _Container(Part):
    name: str = ""


class _DnsConfig(Part):
    nameservers: list[str] | None = None


class _Spec(Part):
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    service_account_name: str = ""
    node_name: str = ""
    host_network: bool | None = None
    dns_policy: str = ""
    dns_config: _DnsConfig | None = None


class _Status(Part):
    phase: str = ""
    pod_ips: list[PodIP] | None = msgspec.field(name="podIPs", default=None)


class NodePod(KubeObject):
    """core/v1 Pod, as far as the agent of its node is concerned."""

    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of this node. `mark` is its annotation; `mode` its own label; `able`: it could be captured at all."""

    uid: str
    namespace: str
    name: str
    service_account: str = "default"
    mark: str = ""
    mode: str = ""
    able: bool = True
    addresses: tuple[str, ...] = ()
    name_servers: tuple[str, ...] = ()
    """The pod's own, where it does not ask the cluster's."""
    captures_names: bool = True
    """False: the pod asks its name servers itself, whatever the mesh has captured of others."""
    bypasses_inbound: bool = False
    """True: only what it calls goes through the proxy; what comes in without HBONE is its own."""

    @property
    def key(self) -> str:
        """As people name it."""
        return f"{self.namespace}/{self.name}"


def read_pod(found: NodePod) -> Pod:
    """A pod that has a sidecar, the node's network, or nothing to do any more is captured by nobody's wish."""
    meta, spec = found.metadata, found.spec
    annotations = meta.annotations or {}
    names = {container.name for container in (*(spec.containers or ()), *(spec.init_containers or ()))}
    sidecar = SIDECAR_CONTAINER in names or SIDECAR_ANNOTATION in annotations
    own_servers = (spec.dns_config.nameservers or ()) if spec.dns_policy == "None" and spec.dns_config else ()
    return Pod(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        service_account=spec.service_account_name or "default",
        mark=annotations.get(REDIRECTION_ANNOTATION, ""),
        mode=(meta.labels or {}).get(DATAPLANE_MODE_LABEL, ""),
        able=not (spec.host_network or sidecar or found.status.phase in _OVER),
        addresses=tuple(one.ip for one in found.status.pod_ips or () if one.ip),
        name_servers=tuple(own_servers),
        captures_names=annotations.get(DNS_CAPTURE_ANNOTATION, "").lower() != "false",
        bypasses_inbound=annotations.get(BYPASS_INBOUND_ANNOTATION, "").lower() == "true",
    )


def wants_ambient(pod: Pod, namespace_labels: Mapping[str, str]) -> bool:
    """The pod's label counts before its namespace's."""
    return pod.able and (pod.mode or namespace_labels.get(DATAPLANE_MODE_LABEL, "")) == AMBIENT


class Step(Enum):
    """What to do next about a pod."""

    NOTHING = auto()
    """It is as it should be."""
    MARK_PENDING = auto()
    PREPARE = auto()
    """Get its certificate, and answer names in its namespace."""
    AWAIT_LISTENERS = auto()
    REDIRECT = auto()
    MARK_ENABLED = auto()
    STOP_REDIRECT = auto()
    DRAIN = auto()
    UNMARK = auto()
    FORGET = auto()
    """Nothing of it is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a pod stands. `reachable`: its network namespace is there; `redirected` None: not known (a new agent)."""

    wanted: bool
    mark: str = ""
    reachable: bool = True
    prepared: bool = False
    listening: bool = False
    redirected: bool | None = None
    drained: bool = False


def next_step(now: Standing) -> Step:
    """The step that brings a pod nearer to what is wanted; each is harmless if it is repeated."""
    return _inward(now) if now.wanted and now.reachable else _outward(now)


def _inward(now: Standing) -> Step:
    if now.mark not in (PENDING, ENABLED):
        return Step.MARK_PENDING
    if now.mark == ENABLED and now.redirected is False:
        return Step.MARK_PENDING  # a new namespace: what was said of the one before does not hold
    if not now.prepared:
        return Step.PREPARE
    if not now.redirected:
        return Step.REDIRECT if now.listening else Step.AWAIT_LISTENERS
    return Step.NOTHING if now.mark == ENABLED else Step.MARK_ENABLED


def _outward(now: Standing) -> Step:
    """A namespace that is gone has nothing to drain."""
    if not now.mark:
        return Step.FORGET
    if now.reachable:
        if now.mark == ENABLED:
            return Step.MARK_PENDING
        if now.redirected is not False:
            return Step.STOP_REDIRECT
        if not now.drained:
            return Step.DRAIN
    return Step.UNMARK
