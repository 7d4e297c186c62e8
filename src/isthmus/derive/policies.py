"""AuthorizationPolicy: which policies hold for a workload, and under which names a caller is meant (TE5, TR7)."""

from collections.abc import Iterable

from msgspec.structs import replace

from isthmus.base.names import DEFAULT_DOMAIN
from isthmus.model.policy import (
    EVERYTHING,
    AuthorizationPolicy,
    Condition,
    PolicyAction,
    PolicyKey,
    PolicyRule,
    PolicyTarget,
)
from isthmus.model.rows import Labels, labels_match

Bound = tuple[Labels, PolicyKey]
"""A policy that holds in a namespace for the workloads that its selector matches."""

Attached = tuple[PolicyTarget, PolicyKey]
"""A policy and what it is attached to."""

ANYTHING: PolicyTarget = ("", "")
CLOSED_KEY: PolicyKey = ("", "closed")
CLOSED: tuple[Bound, ...] = (((), CLOSED_KEY),)
"""What holds where the policies of a namespace could not be derived: nobody gets in."""

CLOSED_TARGETS: tuple[Attached, ...] = ((ANYTHING, CLOSED_KEY),)
"""The same for what is attached."""

CLOSED_ROW = AuthorizationPolicy(
    cluster="", name=CLOSED_KEY[1], action=PolicyAction.DENY, rules=EVERYTHING
)  # fmt: skip


def bound(own: Iterable[AuthorizationPolicy], root: Iterable[AuthorizationPolicy]) -> tuple[Bound, ...]:
    """The policies of a namespace with those of the root namespace; in an order that does not depend on time.

    What is attached to a service or gateway is a waypoint's to say.
    """
    return tuple(sorted({(row.selector, (row.namespace, row.name)) for row in (*own, *root) if not row.targets}))


def attached(rows: Iterable[AuthorizationPolicy]) -> tuple[Attached, ...]:
    """What the policies of a namespace are attached to."""
    return tuple(sorted((target, (row.namespace, row.name)) for row in rows for target in row.targets))


def attached_to(found: Iterable[Attached], *targets: PolicyTarget) -> tuple[PolicyKey, ...]:
    """The policies for one of these; where it is not known what there is, the closed one."""
    return tuple(sorted({key for target, key in found if target in targets or target == ANYTHING}))


def selected(policies: Iterable[Bound], labels: Labels) -> tuple[PolicyKey, ...]:
    """The policies that hold for a workload with these labels."""
    return tuple(sorted(key for selector, key in policies if labels_match(selector, labels)))


def under_aliases(row: AuthorizationPolicy, trust_domains: tuple[str, ...]) -> AuthorizationPolicy:
    """The policy with callers under every name that they may have (TR7)."""
    return replace(row, rules=tuple(_rule(rule, trust_domains) for rule in row.rules))


def _rule(rule: PolicyRule, trust_domains: tuple[str, ...]) -> PolicyRule:
    return PolicyRule(
        sources=tuple(tuple(_condition(one, trust_domains) for one in source) for source in rule.sources),
        operations=rule.operations,
        when=tuple(_condition(one, trust_domains) for one in rule.when),
    )


def _condition(condition: Condition, trust_domains: tuple[str, ...]) -> Condition:
    expand = {"source.principal": principals, "source.trustDomain": domains}.get(condition.key)
    if expand is None:
        return condition
    return Condition(
        condition.key, expand(condition.values, trust_domains), expand(condition.not_values, trust_domains)
    )


def principals(values: Iterable[str], trust_domains: tuple[str, ...]) -> tuple[str, ...]:
    """Principals under each name of the mesh's trust domain (TR7).

    That is so where a value names one of `trust_domains`, or `cluster.local`, which means the mesh's own. Others, and
    patterns that leave the trust domain open, stay as they are: another cluster's trust domain is no alias.
    """
    found: list[str] = []
    for value in values:
        domain, *rest = value.split("/")
        ours = domain == DEFAULT_DOMAIN or any(_is(domain, one) for one in trust_domains)
        if len(rest) != 4 or domain == "*" or not ours:
            found.append(value)
            continue
        kept = domain.startswith("*")
        found.extend(value if kept and _is(domain, one) else "/".join((one, *rest)) for one in trust_domains)
    return tuple(dict.fromkeys(found))


def domains(values: Iterable[str], trust_domains: tuple[str, ...]) -> tuple[str, ...]:
    """Trust domains with their aliases (TR7)."""
    found = [one for value in values for one in (trust_domains if value in trust_domains else (value,))]
    return tuple(dict.fromkeys(found))


def _is(pattern: str, domain: str) -> bool:
    if pattern.startswith("*"):
        return domain.endswith(pattern[1:])
    return domain.startswith(pattern[:-1]) if pattern.endswith("*") else domain == pattern
