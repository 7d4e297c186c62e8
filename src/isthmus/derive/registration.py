"""Machines that register themselves: which WorkloadEntry a proxy gets, and when it is taken away (VM1-VM8)."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from isthmus.base.labels import NETWORK_LABEL
from isthmus.model.external import (
    CONNECTED_AT,
    CONTROLLER,
    DISCONNECTED_AT,
    GROUP,
    HEALTH_CHECKS,
    WorkloadEntry,
    WorkloadGroup,
)
from isthmus.model.rows import Labels
from isthmus.trust.caller import Caller

Json = dict[str, Any]

API_VERSION = "networking.istio.io/v1"
LONGEST_NAME = 253

LOCALITY_LABEL = "istio-locality"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a proxy that asks to be registered says of itself."""

    namespace: str
    group: str
    address: str
    network: str = ""
    labels: Labels = ()
    locality: str = ""


def entry_name(group: str, address: str, network: str) -> str:
    """The name of a machine's WorkloadEntry (VM1): the same machine gets the same entry from any control plane."""
    parts = [group, address.replace(":", "-"), *([network] if network else [])]
    # A name may not begin with a dash, wherever it is cut.
    return "-".join(parts)[-LONGEST_NAME:].lstrip("-.")


def rfc3339(now: float) -> str:
    """A time as Kubernetes writes it, to the microsecond."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def refusal(group: WorkloadGroup, caller: Caller | None) -> str:
    """Why a caller may not register with a group (VM4): it must prove the group's service account in the group's
    cluster. Another cluster's account of that name is another identity where trust domains differ.

    `caller` None: nobody's identity is verified here.
    """
    wanted = (group.cluster, group.namespace, group.service_account)
    if caller is None or (caller.cluster, caller.namespace, caller.service_account) == wanted:
        return ""
    return (
        f"{caller} may not register with WorkloadGroup {group.namespace}/{group.name}, which is for "
        f"service account {group.service_account} of cluster {group.cluster}"
    )


def claim_refusal(entry: WorkloadEntry, caller: Caller | None) -> str:
    """Why a caller may not speak for an entry (VM7): others of its namespace could say that it is ill, or well.

    An entry without service account may be claimed by any of its namespace and cluster.
    """
    account = entry.endpoint.service_account
    if caller is None or (
        (caller.cluster, caller.namespace) == (entry.cluster, entry.namespace)
        and account in ("", caller.service_account)
    ):
        return ""
    whose = f"service account {account}" if account else "accounts"
    return (
        f"{caller} may not claim WorkloadEntry {entry.namespace}/{entry.name}, which is for {whose} of its namespace "
        f"in cluster {entry.cluster}"
    )


def manifest(machine: Machine, group: WorkloadGroup, *, instance: str, now: float) -> Json:
    """The WorkloadEntry of a machine that connected (VM2): the group's template with what the machine itself knows."""
    spec: Json = json.loads(group.template)
    labels = {**dict(group.template_labels), **dict(group.labels), **dict(machine.labels)}
    labels.pop(LOCALITY_LABEL, None)
    network = machine.network or group.network or labels.get(NETWORK_LABEL, "")
    spec |= {"address": machine.address, "labels": labels}
    if network:
        spec["network"] = network
    if machine.locality:
        spec["locality"] = machine.locality
    spec.setdefault("serviceAccount", group.service_account)
    owner = {
        "apiVersion": API_VERSION,
        "kind": "WorkloadGroup",
        "name": group.name,
        "uid": group.uid,
        "controller": True,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "WorkloadEntry",
        "metadata": {
            "name": entry_name(group.name, machine.address, network),
            "namespace": group.namespace,
            "labels": labels,
            "annotations": {
                **dict(group.annotations),
                GROUP: group.name,
                CONTROLLER: instance,
                CONNECTED_AT: rfc3339(now),
                **({HEALTH_CHECKS: "true"} if group.health_checked else {}),
            },
            **({"ownerReferences": [owner]} if group.uid else {}),
        },
        "spec": spec,
    }


def merged(found: Json, wanted: Json) -> Json:
    """The entry that is there, as it must be now: somebody else's annotations and the status stay."""
    meta, new = found.get("metadata") or {}, wanted["metadata"]
    annotations = {**(meta.get("annotations") or {}), **new["annotations"]}
    annotations.pop(DISCONNECTED_AT, None)
    labels = {**(meta.get("labels") or {}), **new["labels"]}
    return {**found, "metadata": {**meta, "labels": labels, "annotations": annotations}, "spec": wanted["spec"]}


def departed(found: Json, now: float) -> Json:
    """The merge patch that notes that a machine is not connected any more (VM5), if nobody changed the entry since."""
    return _noted(found, {DISCONNECTED_AT: rfc3339(now)})


def adopted(found: Json, instance: str, now: float) -> Json:
    """The merge patch by which this instance takes over an entry that nobody looks after."""
    return _noted(found, {CONTROLLER: instance, DISCONNECTED_AT: rfc3339(now)})


def _noted(found: Json, annotations: dict[str, str]) -> Json:
    return {"metadata": {"resourceVersion": version(found), "annotations": annotations}}


def version(found: Mapping[str, Any]) -> str:
    """The resourceVersion of an object as the API server returns it."""
    return str((found.get("metadata") or {}).get("resourceVersion", ""))


def annotation(found: Mapping[str, Any], name: str) -> str:
    """An annotation of an object as the API server returns it; empty if absent."""
    return str(((found.get("metadata") or {}).get("annotations") or {}).get(name, ""))


def is_controlled_by(found: Mapping[str, Any], instance: str) -> bool:
    """True if a machine's entry is this instance's."""
    return annotation(found, CONTROLLER) == instance


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to do about entries whose machines are gone: to be deleted, and to be taken over first."""

    delete: tuple[WorkloadEntry, ...] = ()
    adopt: tuple[WorkloadEntry, ...] = ()


def sweep(
    rows: Collection[WorkloadEntry],
    *,
    instance: str,
    connected: Collection[tuple[str, str]],
    alive: Collection[str],
    now: float,
    grace: float,
) -> Sweep:
    """Entries that outlived their machines (VM5).

    Deleted: those that were disconnected longer ago than `grace` seconds. Taken over, to be deleted later: those whose
    instance is gone (not `alive`), or that are this instance's own from before it was restarted. Istio keeps an entry
    for ever if machine and control plane die together. Where our own pod is not among those that are seen, others' are
    not either, and nobody is taken for dead.
    """
    dead = {row.controller for row in rows} - set(alive) if instance in alive else set()
    delete: list[WorkloadEntry] = []
    adopt: list[WorkloadEntry] = []
    for row in rows:
        if not row.group or (row.namespace, row.name) in connected:
            continue
        if row.disconnected_at > row.connected_at:
            if now - row.disconnected_at > grace:
                delete.append(row)
        elif row.controller in {instance, *dead} and now - row.connected_at > grace:
            adopt.append(row)
    return Sweep(tuple(delete), tuple(adopt))


def with_health(status: Any, message: str, now: float) -> Json:
    """An entry's status with the condition Healthy (VM6); an empty message means healthy. Other conditions stay."""
    conditions = status.get("conditions") if isinstance(status, dict) else None
    others = [one for one in conditions or () if isinstance(one, dict) and one.get("type") != "Healthy"]
    before = next((one for one in conditions or () if isinstance(one, dict) and one.get("type") == "Healthy"), {})
    word = "False" if message else "True"
    changed = before.get("status") != word
    condition = {
        "type": "Healthy",
        "status": word,
        "lastProbeTime": rfc3339(now),
        "lastTransitionTime": rfc3339(now) if changed else before.get("lastTransitionTime", rfc3339(now)),
        **({"message": message} if message else {}),
    }
    return {"status": {"conditions": [*others, condition]}}


def without_health(status: Any) -> Json:
    """An entry's status when nobody reports its health any more."""
    conditions = status.get("conditions") if isinstance(status, dict) else None
    others = [one for one in conditions or () if isinstance(one, dict) and one.get("type") != "Healthy"]
    return {"status": {"conditions": others}}
