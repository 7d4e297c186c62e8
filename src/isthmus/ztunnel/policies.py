"""Policies as `istio.security.Authorization` (AM19): who may connect, and which connections must be mutual TLS.

What ztunnel makes of them (§2.2): a policy matches if one of its rules does, never without rules; a rule if all of its
clauses do; a clause if one of its matches does, or if it has none; a match without any field never does.

ztunnel sees connections, not requests. As with Envoy, an ALLOW rule that asks for something of a request never
matches, and a DENY rule matches as if it did not ask. Istio leaves an empty match in such a DENY rule, which denies
nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network

from google.protobuf.empty_pb2 import Empty

from isthmus.model.mesh import WorkloadMode
from isthmus.model.policy import AuthorizationPolicy, Condition, PolicyAction, PolicyRule
from isthmus.model.rows import MtlsMode
from isthmus.proto import authorization_pb2 as pb
from isthmus.xds.resource import AUTHORIZATION, XdsResource
from isthmus.ztunnel.build import encoded

STATIC_STRICT = "istio_converted_static_strict"
"""Policy of the root namespace that workloads name from which mutual TLS is demanded."""
CONVERTED = "converted_peer_authentication_"
CLOSED = "isthmus_closed"
"""Policy of the root namespace that refuses everything: what workloads name whose policies could not be derived."""

ACTIONS = {PolicyAction.ALLOW: pb.ALLOW, PolicyAction.DENY: pb.DENY, PolicyAction.CUSTOM: pb.DENY}
"""What is refused is refused, as CUSTOM is here; AUDIT has no effect at this level."""


def policy_name(namespace: str, name: str) -> str:
    """The name of a policy's resource, and how workloads refer to it."""
    return f"{namespace}/{name}"


def converted_name(namespace: str, name: str) -> str:
    """The name of what is made of a PeerAuthentication."""
    return policy_name(namespace, CONVERTED + name)


def authorization(row: AuthorizationPolicy, root_namespace: str) -> XdsResource | None:
    """An AuthorizationPolicy; None if it has no effect on connections."""
    action = ACTIONS.get(row.action)
    if action is None:
        return None
    rules = [made for rule in row.rules for made in _rules(rule, allow=action == pb.ALLOW)]
    return _resource(
        pb.Authorization(
            name=row.name,
            namespace=row.namespace,
            scope=_scope(row, root_namespace),
            action=action,
            rules=rules,
            dry_run=row.dry_run,
        )
    )


def _scope(row: AuthorizationPolicy, root_namespace: str) -> pb.Scope:
    if row.selector:
        return pb.WORKLOAD_SELECTOR
    return pb.GLOBAL if row.namespace == root_namespace else pb.NAMESPACE


def static_strict(root_namespace: str) -> XdsResource:
    """Refuses every connection without an identity."""
    return _resource(_demand(STATIC_STRICT, root_namespace, pb.Match(not_principals=[_anybody()])))


def closed(root_namespace: str) -> XdsResource:
    """Refuses every connection."""
    return _resource(
        pb.Authorization(
            name=CLOSED, namespace=root_namespace, scope=pb.WORKLOAD_SELECTOR, action=pb.DENY, rules=[pb.Rule()]
        )
    )


def from_mode(namespace: str, name: str, mode: WorkloadMode) -> XdsResource | None:
    """What a PeerAuthentication with ports demands of a connection; None if nothing differs by port.

    One policy says it all: another beside it would refuse what this one lets through.
    """
    if not needs_conversion(mode):
        return None
    strict = mode.mode is MtlsMode.STRICT
    ports = [number for number, one in mode.ports if (one is MtlsMode.STRICT) != strict]
    match = pb.Match(not_principals=[_anybody()])
    (match.not_destination_ports if strict else match.destination_ports).extend(ports)
    return _resource(_demand(CONVERTED + name, namespace, match))


def needs_conversion(mode: WorkloadMode) -> bool:
    """True if some port differs from the rest in whether mutual TLS is demanded."""
    strict = mode.mode is MtlsMode.STRICT
    return any((one is MtlsMode.STRICT) != strict for _, one in mode.ports)


def _demand(name: str, namespace: str, match: pb.Match) -> pb.Authorization:
    rule = pb.Rule(clauses=[pb.Clause(matches=[match])])
    return pb.Authorization(name=name, namespace=namespace, scope=pb.WORKLOAD_SELECTOR, action=pb.DENY, rules=[rule])


def _resource(message: pb.Authorization) -> XdsResource:
    return XdsResource(AUTHORIZATION, policy_name(message.namespace, message.name), encoded(message))


# -- rules ------------------------------------------------------------------------------------------------------------


def _rules(rule: PolicyRule, *, allow: bool) -> list[pb.Rule]:
    """The same as rules of ztunnel. Several where a source says two things of the same attribute: within one match
    its values are alternatives."""
    conditions = [one for part in (*rule.sources, *rule.operations, rule.when) for one in part]
    if allow and any(_fields_of(one) is None for one in conditions):
        return []
    others = [*_clause(rule.operations), *(clause for one in rule.when for clause in _clause(((one,),)))]
    if all(map(_is_plain, rule.sources)):
        return [pb.Rule(clauses=[*_clause(rule.sources), *others])]
    return [
        pb.Rule(clauses=[*(clause for one in source for clause in _clause(((one,),))), *others])
        for source in rule.sources
    ]


def _is_plain(source: Sequence[Condition]) -> bool:
    fields = [field for one in source for field in _fields_of(one) or ()]
    return len(fields) == len(set(fields))


def _clause(parts: Iterable[Sequence[Condition]]) -> list[pb.Clause]:
    """One of the parts must match; no clause where one of them always does, or there is none."""
    matches = []
    for part in parts:
        match = pb.Match()
        for one in part:
            _add(match, one)
        if not match.ByteSize():
            return []
        matches.append(match)
    return [pb.Clause(matches=matches)] if matches else []


def _fields_of(one: Condition) -> tuple[str, ...] | None:
    """The fields of a match that a condition fills; None if a connection does not tell, or ztunnel cannot ask."""
    kind = _KINDS.get(one.key)
    if kind is None or not all(map(_EXPRESSIBLE.get(one.key, _always), (*one.values, *one.not_values))):
        return None
    field = kind[0]
    return (*([field] if one.values else ()), *([f"not_{field}"] if one.not_values else ()))


def _add(match: pb.Match, one: Condition) -> None:
    if _fields_of(one) is None:
        return
    field, convert = _KINDS[one.key]
    getattr(match, field).extend(convert(value) for value in one.values)
    getattr(match, f"not_{field}").extend(convert(value) for value in one.not_values)


def _anybody() -> pb.StringMatch:
    return pb.StringMatch(presence=Empty())


def _text(value: str) -> pb.StringMatch:
    if value == "*":
        return _anybody()
    if value.startswith("*"):
        return pb.StringMatch(suffix=value[1:])
    return pb.StringMatch(prefix=value[:-1]) if value.endswith("*") else pb.StringMatch(exact=value)


def _trust_domain(value: str) -> pb.StringMatch:
    """A trust domain is what a principal begins with."""
    if value == "*":
        return _anybody()
    return pb.StringMatch(prefix=value[:-1] if value.endswith("*") else value + "/")


def _network(value: str) -> pb.Address:
    found = ip_network(value, strict=False)
    return pb.Address(address=found.network_address.packed, length=found.prefixlen)


def _account(value: str) -> pb.ServiceAccountMatch:
    namespace, _, name = value.partition("/")
    return pb.ServiceAccountMatch(namespace=namespace, serviceAccount=name)


def _always(_: str) -> bool:
    return True


_KINDS: dict[str, tuple[str, Callable[[str], object]]] = {
    "source.principal": ("principals", _text),
    "source.trustDomain": ("principals", _trust_domain),
    "source.namespace": ("namespaces", _text),
    "source.serviceAccount": ("service_accounts", _account),
    "source.ip": ("source_ips", _network),
    "remote.ip": ("source_ips", _network),
    "destination.ip": ("destination_ips", _network),
    "destination.port": ("destination_ports", int),
}
"""Key of a condition -> the field of a match, and how a value is written there."""

_EXPRESSIBLE: dict[str, Callable[[str], bool]] = {
    "source.trustDomain": lambda value: value == "*" or not value.startswith("*"),
}
"""Values that ztunnel can be asked for, where not all of them can."""
