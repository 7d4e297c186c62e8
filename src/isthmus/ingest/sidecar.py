"""`networking.istio.io` Sidecars: what the proxies of a namespace know of (TE3)."""

from typing import Any

from isthmus.ingest.finding import Reader, Result, is_host
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.routing import Sidecar
from isthmus.model.rows import Labels

_SPEC = ("workloadSelector", "egress", "outboundTrafficPolicy")
_WORDS = ("*", ".", "~")
_MODES = ("REGISTRY_ONLY", "ALLOW_ANY")


def sidecar(place: Place, obj: objects.Custom) -> Result:
    """Which hosts some proxies see, and what becomes of calls to others. All egress listeners count together."""
    read = Reader(place.cluster, "Sidecar", obj)
    spec = read.mapping(obj.spec, "spec")
    read.set_aside(spec, "spec", _SPEC)
    selector = _selector(read, spec.get("workloadSelector"))
    if selector and obj.metadata.namespace == place.system_namespace:
        remedy = "Remove the selector, or put the object into the namespace of the workloads"
        read.error("spec.workloadSelector", "has no meaning for the whole mesh", remedy)
    policy = read.mapping(spec.get("outboundTrafficPolicy"), "spec.outboundTrafficPolicy")
    read.set_aside(policy, "spec.outboundTrafficPolicy", ("mode",))
    mode = read.choice(policy.get("mode"), "spec.outboundTrafficPolicy.mode", _MODES)
    row = Sidecar(
        cluster=place.cluster,
        namespace=obj.metadata.namespace,
        name=obj.metadata.name,
        selector=selector,
        egress=_egress(read, spec.get("egress")),
        allow_any={"": None, "ALLOW_ANY": True, "REGISTRY_ONLY": False}[mode],
        created=obj.metadata.creation_timestamp or "",
    )
    return read.result(row)


def _selector(read: Reader, value: Any) -> Labels:
    part = read.mapping(value, "spec.workloadSelector")
    read.set_aside(part, "spec.workloadSelector", ("labels",))
    return read.labels(part.get("labels"), "spec.workloadSelector.labels")


def _egress(read: Reader, value: Any) -> tuple[str, ...] | None:
    if not value:
        return None
    found: list[str] = []
    for i, item in enumerate(read.items(value, "spec.egress")):
        field = f"spec.egress[{i}]"
        listener = read.mapping(item, field)
        read.set_aside(listener, field, ("hosts",))
        hosts = read.strings(listener.get("hosts"), f"{field}.hosts")
        if not hosts and not read.is_refused():
            read.error(f"{field}.hosts", "is empty", "Write <namespace>/<host>, such as ./* or ~/* for nothing")
        for j, host in enumerate(hosts):
            place, slash, name = host.partition("/")
            if not slash or not (place in _WORDS or (is_host(place) and "*" not in place)):
                read.error(f"{field}.hosts[{j}]", f"{host!r} has no namespace", "Write <namespace>/<host>, such as ./*")
            elif not is_host(name):
                read.error(f"{field}.hosts[{j}]", f"{name!r} is no host name", "Write a DNS name, *.<name> or *")
        found += hosts
    return tuple(found)
