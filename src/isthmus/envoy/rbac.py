"""AuthorizationPolicy as Envoy's RBAC filters: of a connection, or of each HTTP request.

One filter for each action, in the order in which Istio asks: AUDIT, which only marks for the log, then DENY, then
ALLOW. CUSTOM refuses like DENY. Policies of a dry run are shadow rules of the same filters: they are evaluated, and
the access log has the outcome.

HTTP filters are always there, and empty: their rules are in the routes, which connections that are open already follow
at once. Rules in the listener would leave open connections under the old ones until they are drained.

An ALLOW rule that asks for something that a connection does not have (a path, a header) never matches a connection;
a DENY rule matches as if it did not ask for it. Both err on the closed side, as in Istio.
"""

from collections.abc import Iterable

from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2

from isthmus.envoy.build import Message, packed
from isthmus.envoy.rbac_conditions import permission, principal
from isthmus.model.policy import AuthorizationPolicy, Condition, PolicyAction, PolicyRule

HTTP_FILTER = "envoy.filters.http.rbac"
NETWORK_FILTER = "envoy.filters.network.rbac"

DRY_RUN_PREFIXES = {PolicyAction.ALLOW: "istio_dry_run_allow_", PolicyAction.DENY: "istio_dry_run_deny_"}
"""Of what shadow rules leave in the metadata, as Istio's users know them."""

RBAC = rbac_pb2.RBAC
_ORDER = (
    ("isthmus.audit", RBAC.LOG, (PolicyAction.AUDIT,)),
    ("isthmus.deny", RBAC.DENY, (PolicyAction.DENY, PolicyAction.CUSTOM)),
    ("isthmus.allow", RBAC.ALLOW, (PolicyAction.ALLOW,)),
)
"""Name of the HTTP filter, Envoy's word for what it does, and the actions that it is for."""

_PERMISSIONS = frozenset(
    ("destination.ip", "destination.port", "connection.sni", "request.host", "request.method", "request.path")
)
"""Keys that Envoy calls permissions; it calls all others principals."""


def http_filters() -> list[Message]:
    """HTTP filters, to stand before the router; without rules of a route they let everything through."""
    empty = packed(http_rbac_pb2.RBAC())
    return [hcm_pb2.HttpFilter(name=name, typed_config=empty) for name, _, _ in _ORDER]


def route_rules(policies: Iterable[AuthorizationPolicy], *, tunnelled: bool = False) -> dict[str, Message]:
    """The rules of the HTTP filters, by filter, as a virtual host or route holds them.

    `tunnelled`: callers are known by filter state, see `rbac_conditions`.
    """
    return {
        name: packed(http_rbac_pb2.RBACPerRoute(rbac=http_rbac_pb2.RBAC(**fields)))
        for name, fields in _filters(policies, tcp=False, tunnelled=tunnelled)
    }


def network_filters(policies: Iterable[AuthorizationPolicy], *, tunnelled: bool = False) -> list[Message]:
    """Network filters, to stand before the TCP proxy. They decide when the first bytes of the caller arrive."""
    return [
        listener_components_pb2.Filter(
            name=NETWORK_FILTER, typed_config=packed(network_rbac_pb2.RBAC(stat_prefix="tcp.", **fields))
        )
        for _, fields in _filters(policies, tcp=True, tunnelled=tunnelled)
    ]


def tunnel_rules(policies: Iterable[AuthorizationPolicy]) -> dict[str, Message]:
    """The rules of the HTTP filters for a CONNECT: what is asked of connections, before there is one."""
    return {
        name: packed(http_rbac_pb2.RBACPerRoute(rbac=http_rbac_pb2.RBAC(**fields)))
        for name, fields in _filters(policies, tcp=True, tunnelled=False)
    }


def log_fields(policies: Iterable[AuthorizationPolicy], kind: str) -> tuple[tuple[str, str], ...]:
    """Fields of the access log for what the filters of one kind only note: outcomes of dry runs, and audits.

    `dry_run_allow` and `dry_run_deny` are `allowed` or `denied`, beside the name of the rule that said so; `audit` is
    true where an AUDIT policy matched.
    """
    rows = list(policies)
    found: list[tuple[str, str]] = []
    for action, prefix in DRY_RUN_PREFIXES.items():
        if any(row.dry_run and row.action is action for row in rows):
            name = f"dry_run_{action.lower()}"
            found.append((name, f"%DYNAMIC_METADATA({kind}:{prefix}shadow_engine_result)%"))
            found.append((f"{name}_rule", f"%DYNAMIC_METADATA({kind}:{prefix}shadow_effective_policy_id)%"))
    if any(row.action is PolicyAction.AUDIT and not row.dry_run for row in rows):
        found.append(("audit", "%DYNAMIC_METADATA(envoy.common:access_log_hint)%"))
    return tuple(found)


def _filters(
    policies: Iterable[AuthorizationPolicy], *, tcp: bool, tunnelled: bool
) -> list[tuple[str, dict[str, object]]]:
    """Name and fields of each filter that has something to do."""
    rows = list(policies)
    found: list[tuple[str, dict[str, object]]] = []
    for filter_name, verb, actions in _ORDER:
        mine = [row for row in rows if row.action in actions]
        fields: dict[str, object] = {}
        for name, dry_run in (("rules", False), ("shadow_rules", True)):
            these = [row for row in mine if row.dry_run is dry_run]
            if these:
                fields[name] = _rules(these, verb, tcp=tcp, tunnelled=tunnelled)
        if "shadow_rules" in fields and actions[0] in DRY_RUN_PREFIXES:
            fields["shadow_rules_stat_prefix"] = DRY_RUN_PREFIXES[actions[0]]
        if fields:
            found.append((filter_name, fields))
    return found


def _rules(policies: Iterable[AuthorizationPolicy], verb: int, *, tcp: bool, tunnelled: bool) -> Message:
    """The rules of one action; with none left, ALLOW allows nothing and DENY denies nothing."""
    made = RBAC(action=verb)
    for row in policies:
        for i, rule in enumerate(row.rules):
            usable = _for_connections(rule, allow=verb == RBAC.ALLOW) if tcp else rule
            if usable is not None:
                made.policies[f"ns[{row.namespace}]-policy[{row.name}]-rule[{i}]"].CopyFrom(
                    _policy(usable, tunnelled=tunnelled)
                )
    return made


def _for_connections(rule: PolicyRule, *, allow: bool) -> PolicyRule | None:
    """The rule without what only HTTP requests have; None if an ALLOW rule needs it."""
    conditions = [one for part in (*rule.sources, *rule.operations, rule.when) for one in part]
    if not any(_http_only(one) for one in conditions):
        return rule
    if allow:
        return None
    return PolicyRule(
        sources=tuple(_without_http(part) for part in rule.sources),
        operations=tuple(_without_http(part) for part in rule.operations),
        when=_without_http(rule.when),
    )


def _without_http(part: tuple[Condition, ...]) -> tuple[Condition, ...]:
    return tuple(one for one in part if not _http_only(one))


def _http_only(condition: Condition) -> bool:
    return condition.key.startswith("request.")


def _policy(rule: PolicyRule, *, tunnelled: bool) -> Message:
    who = [one for one in rule.when if one.key not in _PERMISSIONS]
    what = [one for one in rule.when if one.key in _PERMISSIONS]
    return rbac_pb2.Policy(
        principals=[_principals([*part, *who], tunnelled=tunnelled) for part in rule.sources or ((),)],
        permissions=[_permissions([*part, *what]) for part in rule.operations or ((),)],
    )


def _principals(conditions: list[Condition], *, tunnelled: bool) -> Message:
    """All of the conditions; anybody if there is none."""
    kind = rbac_pb2.Principal

    def any_of(key: str, values: Iterable[str]) -> Message:
        return _either(kind, "or_ids", "ids", [principal(key, value, tunnelled=tunnelled) for value in values])

    parts: list[Message] = []
    for one in conditions:
        if one.values:
            parts.append(any_of(one.key, one.values))
        if one.not_values:
            parts.append(kind(not_id=any_of(one.key, one.not_values)))
    return kind(and_ids=kind.Set(ids=parts)) if parts else kind(any=True)


def _permissions(conditions: list[Condition]) -> Message:
    """All of the conditions; anything if there is none."""
    kind = rbac_pb2.Permission
    parts: list[Message] = []
    for one in conditions:
        if one.values:
            parts.append(_either(kind, "or_rules", "rules", [permission(one.key, value) for value in one.values]))
        if one.not_values:
            those = _either(kind, "or_rules", "rules", [permission(one.key, value) for value in one.not_values])
            parts.append(kind(not_rule=those))
    return kind(and_rules=kind.Set(rules=parts)) if parts else kind(any=True)


def _either(kind: Message, field: str, items: str, found: list[Message]) -> Message:
    return found[0] if len(found) == 1 else kind(**{field: kind.Set(**{items: found})})
