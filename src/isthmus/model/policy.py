"""Rows that say who may call whom: `security.istio.io` AuthorizationPolicy."""

from enum import StrEnum
from typing import ClassVar

import msgspec

from isthmus.model.rows import Labels, Row

PolicyKey = tuple[str, str]
"""(namespace, name) of a policy of the config cluster."""


PolicyTarget = tuple[str, str]
"""(kind, name) of what a policy is attached to: something of its namespace, or a GatewayClass."""


class PolicyAction(StrEnum):
    """What a policy does with the connections and requests that it matches.

    CUSTOM asks somebody else in Istio; here what it matches is refused, and that is reported.
    """

    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


class Condition(msgspec.Struct, frozen=True, gc=False):
    """One attribute: it has one of `values`, if there are any, and none of `not_values`.

    Keys are those of Istio's `when`, also for what `from` and `to` say (`source.principal`, `destination.port`); those
    that `when` has no name for are `request.host`, `request.method` and `request.path`.
    """

    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class PolicyRule(msgspec.Struct, frozen=True, gc=False):
    """Matches if one of the sources, one of the operations and all of `when` match; what is empty matches.

    A source or operation is all of its conditions.
    """

    sources: tuple[tuple[Condition, ...], ...] = ()
    operations: tuple[tuple[Condition, ...], ...] = ()
    when: tuple[Condition, ...] = ()


class AuthorizationPolicy(Row, frozen=True, kw_only=True, gc=False):
    """Matches if one of its rules does, never without rules. No selector: all workloads of the namespace.

    In the root namespace it is for the workloads of every namespace. With `targets` it is for what a waypoint takes
    for these, and for no workload itself. `dry_run`: only logged, nothing is refused.
    """

    TABLE: ClassVar[str] = "authorization_policies"
    selector: Labels = ()
    action: PolicyAction = PolicyAction.ALLOW
    rules: tuple[PolicyRule, ...] = ()
    dry_run: bool = False
    targets: tuple[PolicyTarget, ...] = ()


EVERYTHING = (PolicyRule(),)
"""The rules that match whatever comes."""
