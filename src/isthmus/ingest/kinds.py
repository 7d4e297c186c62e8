"""The registry: every kind that the control plane watches. A further kind is one entry here and one function."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from isthmus.base.errors import ObjectRef, Problem
from isthmus.ingest.core import namespace, node
from isthmus.ingest.destination_rule import destination_rule
from isthmus.ingest.finding import Result, refused
from isthmus.ingest.gateway import gateway
from isthmus.ingest.mesh_config import CONFIG_MAP, mesh_config
from isthmus.ingest.peer_authentication import peer_authentication, strict
from isthmus.ingest.place import Place
from isthmus.ingest.service import endpoint_slice, service
from isthmus.ingest.workload import workload
from isthmus.kube import objects, requests
from isthmus.kube.objects import KubeObject
from isthmus.kube.requests import Resource, Scope
from isthmus.model import rows
from isthmus.model.rows import Row

O = TypeVar("O", bound=KubeObject)  # noqa: E741 - an object
ObjectKey = tuple[str, str]
"""(namespace, name)."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one object says. `rows` None means refused: what was accepted before stays in force (fail static)."""

    where: ObjectRef
    rows: tuple[Row, ...] | None
    problems: tuple[Problem, ...] = ()

    @property
    def key(self) -> ObjectKey:
        """Names the object within its kind and cluster."""
        return (self.where.namespace, self.where.name)


@dataclass(frozen=True, slots=True)
class Kind(Generic[O]):
    """One kind: where it is served, the shape it is decoded to, the function that reads it, the rows it yields.

    `config_only`: read only from the config cluster (RS10). `optional`: a reader's account may lack the right to it.
    `closed`: rows in force while an object is refused, for policies that must fail closed; given those before.
    """

    name: str
    resource: Resource
    shape: type[O]
    read: Callable[[Place, O], Result]
    rows: tuple[type[Row], ...]
    config_only: bool = False
    optional: bool = False
    scope: Callable[[Place], Scope] = lambda _: Scope()
    closed: Callable[[ObjectRef, Sequence[Row]], tuple[Row, ...]] | None = None


def _istio(group: str, version: str, plural: str) -> Resource:
    return Resource(f"{group}.istio.io", version, plural)


def _mesh_config_scope(place: Place) -> Scope:
    return Scope(namespace=place.system_namespace, field_selector=f"metadata.name={CONFIG_MAP}")


KINDS: tuple[Kind[Any], ...] = (
    Kind("ConfigMap", requests.CONFIG_MAPS, objects.ConfigMap, mesh_config, (rows.Cluster,),
         optional=True, scope=_mesh_config_scope),
    Kind("Namespace", requests.NAMESPACES, objects.Namespace, namespace, (rows.Namespace,)),
    Kind("Node", requests.NODES, objects.Node, node, (rows.Node,), optional=True),
    Kind("Service", requests.SERVICES, objects.Service, service, (rows.Service,)),
    Kind("EndpointSlice", requests.ENDPOINT_SLICES, objects.EndpointSlice, endpoint_slice, (rows.EndpointSlice,)),
    Kind("Pod", requests.PODS, objects.Pod, workload, (rows.Workload,)),
    Kind("Gateway", _istio("networking", "v1", "gateways"), objects.Custom, gateway, (rows.Gateway,),
         config_only=True),
    Kind("DestinationRule", _istio("networking", "v1", "destinationrules"), objects.Custom, destination_rule,
         (rows.DestinationRule,), config_only=True),
    Kind("PeerAuthentication", _istio("security", "v1", "peerauthentications"), objects.Custom, peer_authentication,
         (rows.PeerAuthentication,), config_only=True, closed=strict),
)  # fmt: skip
"""In the order in which rows are shown; all kinds of a cluster are watched at once."""


def kinds_of(*, config: bool) -> tuple[Kind[Any], ...]:
    """The kinds to watch in the config cluster, or in another one."""
    return tuple(kind for kind in KINDS if config or not kind.config_only)


class _HeadMeta(msgspec.Struct, gc=False):
    name: Any = ""
    namespace: Any = ""


class _Head(msgspec.Struct, gc=False):
    metadata: _HeadMeta = _HeadMeta()


_decode_head = msgspec.json.Decoder(_Head).decode
_AT = re.compile(r" - at `(?P<key>key in )?\$(?P<path>.*)`$")


def observer(kind: Kind[O], place: Place) -> Callable[[bytes | msgspec.Raw], Observation]:
    """A function from an object's bytes to what it says. It never raises: broken bytes are an observation too."""
    decode = msgspec.json.Decoder(kind.shape).decode
    read, cluster, name = kind.read, place.cluster, kind.name

    def observe(raw: bytes | msgspec.Raw) -> Observation:
        try:
            obj = decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _undecodable(ObjectRef(cluster, name, *_name(raw)), str(error))
        found, problems = read(place, obj)
        meta = obj.metadata
        rows_or_none = None if not found and refused(problems) else tuple(found)
        return Observation(ObjectRef(cluster, name, meta.namespace, meta.name), rows_or_none, tuple(problems))

    return observe


def _name(raw: bytes | msgspec.Raw) -> tuple[str, str]:
    try:
        meta = _decode_head(raw).metadata
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ("", "")
    return (meta.namespace if isinstance(meta.namespace, str) else "", meta.name if isinstance(meta.name, str) else "")


def _undecodable(where: ObjectRef, text: str) -> Observation:
    """Turn the decoder's words (`Expected `int`, got `str` - at `$.spec.ports[0].port``) into a problem."""
    at = _AT.search(text)
    field = at.group("path").lstrip(".") if at else ""
    message = text[: at.start()] if at else text
    remedy = f"Correct the field; kubectl explain {where.kind.lower()}{'.' + field if field else ''} shows its type"
    problem = Problem(where, field or "(object)", message[0].lower() + message[1:], re.sub(r"\[[^]]*\]", "", remedy))
    return Observation(where, None, (problem,))
