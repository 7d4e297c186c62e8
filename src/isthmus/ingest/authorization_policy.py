"""AuthorizationPolicy. A broken one fails closed: what it guarded is refused until it is corrected.

A broken ALLOW allows nothing (others still do), a broken DENY refuses everything, a broken AUDIT logs everything.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from isthmus.base.errors import ObjectRef
from isthmus.ingest.finding import Reader, Result
from isthmus.ingest.patterns import is_header_name
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.policy import EVERYTHING, AuthorizationPolicy, Condition, PolicyAction, PolicyRule, PolicyTarget
from isthmus.model.rows import Row

DRY_RUN = "istio.io/dry-run"
ACTIONS = tuple(PolicyAction)
SOURCE = {
    "principals": "source.principal",
    "requestPrincipals": "request.auth.principal",
    "namespaces": "source.namespace",
    "serviceAccounts": "source.serviceAccount",
    "ipBlocks": "source.ip",
    "remoteIpBlocks": "remote.ip",
    "trustDomains": "source.trustDomain",
}
OPERATION = {
    "hosts": "request.host",
    "ports": "destination.port",
    "methods": "request.method",
    "paths": "request.path",
}
"""Field of `from` or `to` -> the condition's key; each has a negative form, `notPrincipals` and so on."""

KEYS = frozenset((*SOURCE.values(), "destination.ip", "destination.port", "connection.sni",
                  "request.auth.audiences", "request.auth.presenter"))  # fmt: skip
KEYED = ("request.headers", "request.auth.claims")
"""Keys with a name in brackets."""

_SPEC = ("selector", "action", "rules", "provider", "targetRef", "targetRefs")
_TARGET = ("group", "kind", "name", "namespace")
_GROUPS = {
    "Service": ("", "core"),
    "Gateway": ("gateway.networking.k8s.io",),
    "GatewayClass": ("gateway.networking.k8s.io",),
    "ServiceEntry": ("networking.istio.io",),
}
"""Kind that a policy may be attached to -> its group."""
_BRACKETS = re.compile(r"(\[[^\[\]]+\])+")
_SEGMENT = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+")
_NAME = re.compile(r"[^/*]+(/[^/*]+)?")
_LONGEST_TEMPLATE = 256
"""Characters that Envoy takes."""


def authorization_policy(place: Place, obj: objects.Custom) -> Result:
    """Who may do what. With an error and a readable selector: closed for the selected."""
    read = Reader(place.cluster, "AuthorizationPolicy", obj)
    meta = obj.metadata
    spec = read.mapping(obj.spec, "spec")
    targets = _targets(read, spec, meta.namespace)
    part = read.mapping(spec.get("selector"), "spec.selector")
    selector = read.labels(part.get("matchLabels"), "spec.selector.matchLabels")
    read.only_known(part, "spec.selector", ("matchLabels",))
    if targets and part:
        read.error(
            "spec.selector", "stands beside targetRefs", "Keep one: workloads by labels, or what a waypoint takes"
        )
    if read.is_refused():
        return (), read.problems
    read.only_known(spec, "spec", _SPEC)
    word = read.choice(spec.get("action"), "spec.action", ACTIONS)
    unreadable = not word and bool(spec.get("action"))
    action = PolicyAction.DENY if unreadable else PolicyAction(word or PolicyAction.ALLOW)
    rules = tuple(
        _rule(read, item, f"spec.rules[{i}]", meta.namespace)
        for i, item in enumerate(read.items(spec.get("rules"), "spec.rules"))
    )
    if action is PolicyAction.DENY and spec.get("rules") is None:
        read.error("spec.rules", "is missing: the policy would deny nothing", "Add {} to the rules to deny everything")
    row = AuthorizationPolicy(
        cluster=place.cluster,
        namespace=meta.namespace,
        name=meta.name,
        selector=selector,
        action=action,
        rules=rules,
        dry_run=_dry_run(read, meta.annotations or {}),
        targets=targets,
    )
    row = _closed(row) if read.is_refused() else row
    if action is PolicyAction.CUSTOM:
        read.error("spec.action", "CUSTOM is not supported, so what the rules match is refused", "Use ALLOW or DENY")
    return (row,), read.problems


def _targets(read: Reader, spec: Mapping[str, Any], namespace: str) -> tuple[PolicyTarget, ...]:
    """What the policy is attached to, in its own namespace."""
    single = spec.get("targetRef")
    fields = [("spec.targetRef", single)] if single is not None else []
    fields += [
        (f"spec.targetRefs[{i}]", item) for i, item in enumerate(read.items(spec.get("targetRefs"), "spec.targetRefs"))
    ]
    found = []
    for field, item in fields:
        part = read.mapping(item, field)
        read.only_known(part, field, _TARGET)
        kind = read.choice(part.get("kind"), f"{field}.kind", tuple(_GROUPS))
        group, name = read.text(part.get("group"), f"{field}.group"), read.text(part.get("name"), f"{field}.name")
        if kind and group not in _GROUPS[kind]:
            read.error(f"{field}.group", f"{group!r} has no {kind}", f"Write {_GROUPS[kind][0] or 'nothing'!r}")
        if not kind or not name:
            read.error(field, "names nothing", "Give kind and name")
        if read.text(part.get("namespace"), f"{field}.namespace") not in ("", namespace):
            read.error(f"{field}.namespace", "is another namespace", "Put the policy beside what it is attached to")
        found.append((kind, name))
    return tuple(sorted(set(found)))


def closed(where: ObjectRef, before: Sequence[Row]) -> tuple[Row, ...]:
    """In force while the object cannot be read: closed for what it selected before, else for its whole namespace."""
    rows = tuple(_closed(row) for row in before if isinstance(row, AuthorizationPolicy))
    if rows:
        return rows
    new = AuthorizationPolicy(cluster=where.cluster, namespace=where.namespace, name=where.name)
    return (_closed(replace(new, action=PolicyAction.DENY)),)


def _closed(row: AuthorizationPolicy) -> AuthorizationPolicy:
    """The policy as it must be while nobody knows what it wants to say."""
    if row.action is PolicyAction.ALLOW:
        return replace(row, rules=())
    return replace(row, rules=EVERYTHING)


def _dry_run(read: Reader, annotations: Mapping[str, str]) -> bool:
    word = annotations.get(DRY_RUN, "false")
    if word.lower() not in ("true", "false"):
        read.error(f"metadata.annotations[{DRY_RUN}]", f"{word!r} is not true or false", "Write true or false")
    return word.lower() == "true"


# -- rules --------------------------------------------------------------------------------------------------------


def _rule(read: Reader, item: Any, field: str, namespace: str) -> PolicyRule:
    part = read.mapping(item, field)
    if item is None:
        read.error(field, "is null", "Write {} for a rule that matches everything, or remove it")
    read.only_known(part, field, ("from", "to", "when"))
    return PolicyRule(
        sources=_parts(read, part.get("from"), f"{field}.from", ("source", SOURCE), namespace),
        operations=_parts(read, part.get("to"), f"{field}.to", ("operation", OPERATION), namespace),
        when=tuple(
            _when(read, one, f"{field}.when[{i}]", namespace)
            for i, one in enumerate(read.items(part.get("when"), f"{field}.when"))
        ),
    )


def _parts(
    read: Reader, value: Any, field: str, kind: tuple[str, Mapping[str, str]], namespace: str
) -> tuple[tuple[Condition, ...], ...]:
    """The entries of `from` or `to`: an empty one would match everything, which nobody means."""
    word, known = kind
    if value == []:
        read.error(field, "is empty", "Remove it, or say who or what it is about")
    found = []
    for i, item in enumerate(read.items(value, field)):
        at = f"{field}[{i}]"
        part = read.mapping(item, at)
        read.only_known(part, at, (word,))
        conditions = _conditions(read, read.mapping(part.get(word), f"{at}.{word}"), f"{at}.{word}", known, namespace)
        if not conditions:
            read.error(f"{at}.{word}", "is empty", "Say who or what it is about, or remove the entry")
        found.append(conditions)
    return tuple(found)


def _conditions(
    read: Reader, part: Mapping[str, Any], field: str, known: Mapping[str, str], namespace: str
) -> tuple[Condition, ...]:
    fields = [name for plain in known for name in (plain, _negative(plain))]
    read.only_known(part, field, fields)
    found = []
    for name, key in known.items():
        values, nots = (
            _values(read, part.get(one), f"{field}.{one}", key, namespace) for one in (name, _negative(name))
        )
        if values or nots:
            found.append(Condition(key, values, nots))
    return tuple(found)


def _when(read: Reader, item: Any, field: str, namespace: str) -> Condition:
    part = read.mapping(item, field)
    read.only_known(part, field, ("key", "values", "notValues"))
    key = read.text(part.get("key"), f"{field}.key")
    stem, bracket, _ = key.partition("[")
    keyed = stem in KEYED and _BRACKETS.fullmatch(key[len(stem) :]) is not None
    if stem == "request.headers" and not is_header_name(key[len(stem) + 1 : -1].removeprefix(":")):
        keyed = False
    if not keyed and (key not in KEYS or bracket):
        wanted = ", ".join([*sorted(KEYS), *(f"{name}[…]" for name in KEYED)])
        read.error(f"{field}.key", f"{key!r} is not known", f"Use one of {wanted}")
    values = _values(read, part.get("values"), f"{field}.values", key, namespace)
    nots = _values(read, part.get("notValues"), f"{field}.notValues", key, namespace)
    if not values and not nots:
        read.error(field, "has neither values nor notValues", "Add one of them")
    return Condition(key, values, nots)


def _negative(name: str) -> str:
    return f"not{name[0].upper()}{name[1:]}"


# -- values -------------------------------------------------------------------------------------------------------


def _values(read: Reader, value: Any, field: str, key: str, namespace: str) -> tuple[str, ...]:
    found = read.strings(value, field)
    complaint = _COMPLAINTS.get(key, _plain)
    for text in found:
        wrong = complaint(text) if text else "is empty"
        if wrong:
            read.error(field, f"{text!r} {wrong}", "Correct the value")
    if key == "source.serviceAccount":
        return tuple(text if "/" in text else f"{namespace}/{text}" for text in found)
    return found


def _plain(text: str) -> str:
    """Exact, prefix `x*`, suffix `*x`, or `*` for presence. Istio takes any other star for itself."""
    return ""


def _block(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "is no IP address or block"
    return ""


def _port(text: str) -> str:
    return "" if text.isascii() and text.isdigit() and int(text) < 65536 else "is no port"


def _account(text: str) -> str:
    return "" if _NAME.fullmatch(text) else "is no <service account> or <namespace>/<service account>"


def _trust_domain(text: str) -> str:
    if "/" in text:
        return "has a slash, but a trust domain has none"
    return "" if "*" not in text[1:-1] and text.count("*") < 2 else "has a star in the middle"


def _path(text: str) -> str:
    """Envoy's path templates: `{*}` is one segment, `{**}` any number of them and the last operator.

    Envoy does not refuse a template that it cannot read in a policy: it ends.
    """
    template = "{*}" in text or "{**}" in text
    if template and not text.startswith("/"):
        return "does not begin with a slash"
    if template and len(text) > _LONGEST_TEMPLATE:
        return f"is longer than {_LONGEST_TEMPLATE} characters"
    rest_seen = False
    for segment in (text[1:].removesuffix("/") if template else text.strip("/")).split("/"):
        if segment in ("{*}", "{**}"):
            if rest_seen:
                return "has an operator after {**}"
            rest_seen = segment == "{**}"
        elif "{" in segment or "}" in segment:
            return "has braces that are neither {*} nor {**}"
        elif template and not _SEGMENT.fullmatch(segment):
            return f"has the segment {segment!r}, which is no literal beside {{*}} or {{**}}"
    return ""


_COMPLAINTS: Mapping[str, Callable[[str], str]] = {
    "source.ip": _block,
    "remote.ip": _block,
    "destination.ip": _block,
    "destination.port": _port,
    "source.serviceAccount": _account,
    "source.trustDomain": _trust_domain,
    "request.path": _path,
}
