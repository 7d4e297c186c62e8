"""DestinationRule: which one a client goes by, and what it says of one port or subset."""

from collections.abc import Iterable, Iterator

import msgspec

from isthmus.derive.visibility import exported
from isthmus.model.mesh_config import MeshConfig
from isthmus.model.rows import DestinationRule, Subset, TrafficPolicy


class Rule(msgspec.Struct, frozen=True):
    """What all rules of one namespace for one host say together."""

    policy: TrafficPolicy = TrafficPolicy()
    subsets: tuple[Subset, ...] = ()
    names: tuple[str, ...] = ()
    spill_below: int = 0

    def subset(self, name: str) -> Subset | None:
        """The subset of that name."""
        for subset in self.subsets:
            if subset.name == name:
                return subset
        return None


NO_RULE = Rule()


def host_patterns(host: str) -> Iterator[str]:
    """What a rule's host may be to apply to this one: itself, then wildcards, longest first."""
    yield host
    rest = host
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
    yield "*"


def merge(rows: Iterable[DestinationRule]) -> Rule:
    """One rule of all that one namespace has for a host: the oldest policy that says something, all subsets."""
    ordered = sorted(rows, key=lambda row: (row.created, row.name))
    policy = next((row.policy for row in ordered if row.policy is not None), TrafficPolicy())
    subsets: dict[str, Subset] = {}
    for row in ordered:
        for subset in row.subsets:
            subsets.setdefault(subset.name, subset)
    return Rule(
        policy,
        tuple(subsets.values()),
        tuple(f"{row.name}.{row.namespace}" for row in ordered),
        next((row.spill_below for row in ordered if row.spill_below), 0),
    )


def visible(row: DestinationRule, client_namespace: str) -> bool:
    """True if clients of that namespace go by the rule (exportTo; none means everybody)."""
    return exported(row.export_to, row.namespace, client_namespace)


def policy_for(rule: Rule, subset: str, port: int) -> TrafficPolicy:
    """What the rule says of one port of one subset: the subset's word first, field by field, then the rule's (SH13).

    A policy for the port replaces the one around it whole, as Istio documents.
    """
    outer = _at_port(rule.policy, port)
    found = rule.subset(subset) if subset else None
    if found is None or found.policy is None:
        return outer
    inner = _at_port(found.policy, port)
    return TrafficPolicy(
        tls_mode=inner.tls_mode or outer.tls_mode,
        sni=inner.sni if inner.tls_mode else outer.sni,
        subject_alt_names=inner.subject_alt_names if inner.tls_mode else outer.subject_alt_names,
        load_balancer=inner.load_balancer or outer.load_balancer,
        outlier_detection=inner.outlier_detection or outer.outlier_detection,
        connection_pool=inner.connection_pool or outer.connection_pool,
        # What a subset says of its load balancer replaces all that is said around it, as in Istio.
        locality=inner.locality or (outer.locality if not inner.load_balancer else None),
        warmup=inner.warmup or outer.warmup,
    )


def _at_port(policy: TrafficPolicy, port: int) -> TrafficPolicy:
    for number, own in policy.port_policies:
        if number == port:
            return own
    return policy


def with_defaults(policy: TrafficPolicy, config: MeshConfig) -> TrafficPolicy:
    """The policy with what the mesh configuration says of every destination where the policy is silent."""
    if config.outlier_detection is None and config.warmup is None:
        return policy
    return msgspec.structs.replace(
        policy,
        outlier_detection=policy.outlier_detection or config.outlier_detection,
        warmup=policy.warmup or config.warmup,
    )


def is_about_places(row: DestinationRule) -> bool:
    """True if the rule may make its service prefer what is near: by a locality setting or outlier detection (LB2)."""
    policies = [row.policy, *(subset.policy for subset in row.subsets)]
    said = [policy for policy in policies if policy is not None]
    said += [own for policy in said for _, own in policy.port_policies]
    return any(policy.outlier_detection is not None or policy.locality is not None for policy in said)
