"""Pod -> Node: among ready nodes that fit, spread the pods of one owner over zones, then nodes."""

from __future__ import annotations

from collections import Counter

from isthmus_lab.apiserver.objects import JsonObject, labels_of, lookup
from isthmus_lab.controllers.client import NODE, POD
from isthmus_lab.controllers.facts import (
    condition,
    controller_of,
    is_active,
    is_deleting,
    spec_of,
    status_of,
    with_condition,
    zone_of,
)
from isthmus_lab.controllers.plan import Action, Bind, Controller, Patch, Plan, Record, own_key
from isthmus_lab.controllers.view import Key, Moment, View

_BLOCKING = ("NoSchedule", "NoExecute")
UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
"""What a cordoned node counts as."""


def desired(view: View, key: Key, now: Moment) -> Plan:
    """Binds a waiting pod, or says why it cannot be."""
    pod = view.pods.get(*key)
    if pod is None or not is_active(pod) or spec_of(pod).get("nodeName"):
        return Plan()
    if spec_of(pod).get("schedulerName") not in (None, "", "default-scheduler"):
        return Plan()
    refused: Counter[str] = Counter()
    fitting = []
    for node in view.nodes:
        why = refusal(pod, node)
        if why:
            refused[why] += 1
        else:
            fitting.append(node)
    if not fitting:
        return _unschedulable(pod, refused, now)
    return Plan((Bind(pod, choose(view, pod, fitting)),))


def refusal(pod: JsonObject, node: JsonObject) -> str:
    """Why the node cannot take the pod, in the words of Kubernetes' events; empty when it can."""
    spec = spec_of(node)
    taints = spec.get("taints") or []
    taint = next((item for item in taints if item.get("effect") in _BLOCKING and not tolerated(pod, item)), None)
    if spec.get("unschedulable") and not tolerated(pod, UNSCHEDULABLE):
        return "node(s) were unschedulable"
    if taint is not None:
        return f"node(s) had untolerated taint {{{taint.get('key')}: {taint.get('value', '')}}}"
    if is_deleting(node) or condition(node, "Ready").get("status") != "True":
        return "node(s) were not ready"
    if not selected(pod, node):
        return "node(s) didn't match Pod's node affinity/selector"
    return ""


def tolerated(pod: JsonObject, taint: JsonObject) -> bool:
    """True if the pod may be where this taint is."""
    for item in spec_of(pod).get("tolerations") or []:
        effect, key = item.get("effect"), item.get("key")
        if effect and effect != taint.get("effect"):
            continue
        if not key and item.get("operator") == "Exists":
            return True
        same = item.get("operator") == "Exists" or item.get("value", "") == taint.get("value", "")
        if key == taint.get("key") and same:
            return True
    return False


def selected(pod: JsonObject, node: JsonObject) -> bool:
    """True if the pod's selector and its required affinity want this node."""
    labels = labels_of(node)
    wanted = spec_of(pod).get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    path = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    terms = lookup(spec_of(pod), *path, default=[])
    fields = {"metadata.name": str(node["metadata"]["name"])}
    return not terms or any(_term(term, labels, fields) for term in terms)


def _term(term: JsonObject, labels: dict[str, str], fields: dict[str, str]) -> bool:
    expressions, of_fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    found = [_expression(item, labels) for item in expressions] + [_expression(item, fields) for item in of_fields]
    return bool(found) and all(found)


def _expression(item: JsonObject, labels: dict[str, str]) -> bool:
    value, operator, values = labels.get(str(item.get("key"))), item.get("operator"), item.get("values") or []
    answers = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }
    return answers.get(str(operator), False)  # Gt and Lt are not known here: such a term selects nothing


def choose(view: View, pod: JsonObject, nodes: list[JsonObject]) -> str:
    """The name of the node: fewest siblings in its zone, then on it, then fewest pods, then by name."""
    on_node: Counter[str] = Counter()
    siblings: Counter[str] = Counter()
    in_zone: Counter[str] = Counter()
    zones = {str(node["metadata"]["name"]): zone_of(node) for node in view.nodes}
    for other in view.pods:
        name = str(spec_of(other).get("nodeName") or "")
        if not name or not is_active(other):
            continue
        on_node[name] += 1
        if _are_siblings(pod, other):
            siblings[name] += 1
            in_zone[zones.get(name, "")] += 1

    def cost(node: JsonObject) -> tuple[int, int, int, str]:
        name = str(node["metadata"]["name"])
        return in_zone[zone_of(node)], siblings[name], on_node[name], name

    return str(min(nodes, key=cost)["metadata"]["name"])


def _are_siblings(pod: JsonObject, other: JsonObject) -> bool:
    owner = controller_of(pod).get("uid")
    return bool(owner) and controller_of(other).get("uid") == owner


def _unschedulable(pod: JsonObject, refused: Counter[str], now: Moment) -> Plan:
    reasons = ", ".join(f"{count} {why}" for why, count in sorted(refused.items()))
    message = f"0/{sum(refused.values())} nodes are available: {reasons or 'no nodes registered'}."
    new = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    before = list(status_of(pod).get("conditions") or [])
    conditions = with_condition(before, new, wall=now.wall)
    if conditions == before:
        return Plan()
    actions: list[Action] = [Patch(POD, pod, {"status": {"conditions": conditions}}, "status")]
    actions.append(Record(pod, "FailedScheduling", message, "Warning"))
    return Plan(tuple(actions))


def _waiting(view: View, _node: JsonObject) -> list[Key]:
    return [
        (pod["metadata"]["namespace"], pod["metadata"]["name"])
        for pod in view.pods
        if is_active(pod) and not spec_of(pod).get("nodeName")
    ]


CONTROLLER = Controller("scheduler", desired, {POD: own_key, NODE: _waiting})
