"""Policies as they are for one port, where the port is known before the connection is: inside a tunnel's CONNECT."""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from isthmus.model.policy import AuthorizationPolicy, Condition, PolicyRule

PORT = "destination.port"


def ports_of(policies: Iterable[AuthorizationPolicy]) -> frozenset[int]:
    """The ports that policies tell apart from others."""
    return frozenset(
        int(value)
        for row in policies
        for rule in row.rules
        for part in (*rule.operations, rule.when)
        for one in part
        if one.key == PORT
        for value in (*one.values, *one.not_values)
    )


def at_port(policies: Iterable[AuthorizationPolicy], port: int) -> tuple[AuthorizationPolicy, ...]:
    """The policies with what they say of ports decided; a port that none of them names may be 0.

    A policy whose rules are all about other ports stays, without rules: ALLOW then allows nothing.
    """
    return tuple(replace(row, rules=tuple(_rules(row.rules, str(port)))) for row in policies)


def _rules(rules: Iterable[PolicyRule], port: str) -> Iterator[PolicyRule]:
    for rule in rules:
        operations = tuple(_others(part) for part in rule.operations if _holds(part, port))
        if _holds(rule.when, port) and (operations or not rule.operations):
            yield PolicyRule(sources=rule.sources, operations=operations, when=_others(rule.when))


def _holds(part: Iterable[Condition], port: str) -> bool:
    mine = [one for one in part if one.key == PORT]
    return all((not one.values or port in one.values) and port not in one.not_values for one in mine)


def _others(part: Iterable[Condition]) -> tuple[Condition, ...]:
    return tuple(one for one in part if one.key != PORT)
