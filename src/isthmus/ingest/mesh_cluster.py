"""`isthmus.dev` MeshCluster and LivenessPolicy: the clusters one counts on, and how their life is judged."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypeVar

from isthmus.ingest.finding import Reader, Result
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.liveness import (
    Action,
    ClusterState,
    DrainPlan,
    Liveness,
    LivenessPolicy,
    LivenessRule,
    MeshCluster,
    Signal,
)

W = TypeVar("W", bound=StrEnum)

LEAST_INTERVAL = 0.5
"""Seconds between probes of one gateway, at least."""


def mesh_cluster(place: Place, obj: objects.Custom) -> Result:
    """A declared cluster. Its name is that of the cluster unless `spec.cluster` says otherwise."""
    read = Reader(place.cluster, "MeshCluster", obj)
    spec = read.mapping(obj.spec, "spec")
    row = MeshCluster(
        cluster=place.cluster,
        namespace=obj.metadata.namespace,
        name=obj.metadata.name,
        subject=read.text(spec.get("cluster"), "spec.cluster") or obj.metadata.name,
        required=read.typed(spec.get("required"), bool, "spec.required") or False,
        state=_word(read, spec.get("state"), "spec.state", ClusterState) or ClusterState.ACTIVE,
        drain=_drain(read, read.mapping(spec.get("drain"), "spec.drain")),
        liveness=_liveness(read, read.mapping(spec.get("liveness"), "spec.liveness"), "spec.liveness"),
        created=obj.metadata.creation_timestamp or "",
    )
    return read.result(row)


def liveness_policy(place: Place, obj: objects.Custom) -> Result:
    """The rule of the whole mesh."""
    read = Reader(place.cluster, "LivenessPolicy", obj)
    row = LivenessPolicy(
        cluster=place.cluster,
        namespace=obj.metadata.namespace,
        name=obj.metadata.name,
        liveness=_liveness(read, read.mapping(obj.spec, "spec"), "spec"),
        created=obj.metadata.creation_timestamp or "",
    )
    return read.result(row)


def _drain(read: Reader, found: dict[str, Any]) -> DrainPlan:
    plan = DrainPlan()
    over = read.seconds(found.get("over"), "spec.drain.over")
    steps = read.natural(found.get("steps"), "spec.drain.steps", most=100)
    if steps == 0:
        read.error("spec.drain.steps", "0 steps drain nothing", "Use a number from 1 to 100")
    failing = read.natural(found.get("maxFailingPercent"), "spec.drain.maxFailingPercent", most=100)
    return DrainPlan(
        over=plan.over if over is None else over,
        steps=steps or plan.steps,
        max_failing=plan.max_failing if failing is None else failing,
    )


def _liveness(read: Reader, found: dict[str, Any], field: str) -> Liveness:
    rules = None
    if found.get("rules") is not None:
        items = read.items(found["rules"], f"{field}.rules")
        rules = tuple(_rule(read, item, f"{field}.rules[{i}]") for i, item in enumerate(items))
    probe = read.mapping(found.get("gatewayProbe"), f"{field}.gatewayProbe")
    interval = read.seconds(probe.get("interval"), f"{field}.gatewayProbe.interval")
    if interval is not None and interval < LEAST_INTERVAL:
        where = f"{field}.gatewayProbe.interval"
        read.error(where, f"{interval:g}s is too often", f"Use {LEAST_INTERVAL:g}s or longer")
    return Liveness(
        rules=rules,
        recovery=read.seconds(found.get("recovery"), f"{field}.recovery"),
        minimum_healthy=read.natural(found.get("minimumHealthyPercent"), f"{field}.minimumHealthyPercent", most=100),
        probe_interval=interval,
        probe_timeout=read.seconds(probe.get("timeout"), f"{field}.gatewayProbe.timeout"),
    )


def _rule(read: Reader, value: Any, field: str) -> LivenessRule:
    found = read.mapping(value, field)
    when = _words(read, found.get("when"), f"{field}.when", Signal)
    if not when:
        read.error(f"{field}.when", "is empty", f"Name the signals that must be bad: {', '.join(Signal)}")
    action = _word(read, found.get("action"), f"{field}.action", Action)
    if action is None:
        read.error(f"{field}.action", "is missing", f"Use one of {', '.join(Action)}")
    return LivenessRule(
        when=when,
        action=action or Action.KEEP,
        after=read.seconds(found.get("after"), f"{field}.after") or 0.0,
        unless=_words(read, found.get("unless"), f"{field}.unless", Signal),
    )


def _words(read: Reader, value: Any, field: str, words: type[W]) -> tuple[W, ...]:
    found = [_word(read, text, f"{field}[{i}]", words) for i, text in enumerate(read.strings(value, field))]
    return tuple(dict.fromkeys(word for word in found if word is not None))


def _word(read: Reader, value: Any, field: str, words: type[W]) -> W | None:
    allowed: Sequence[str] = [word.value for word in words]
    text = read.choice(value, field, allowed)
    return words(text) if text else None
