"""A pod's status out of what its containers do: pure, after the rules of Kubernetes' kubelet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

Object = dict[str, Any]


class Role(StrEnum):
    """Why a container is in the pod: it prepares (init), accompanies (a native sidecar), or is what the pod is for."""

    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of a container ended."""

    exit_code: int
    started: float
    finished: float
    reason: str = ""

    def show(self, container_id: str) -> Object:
        """The `terminated` state."""
        return {
            "exitCode": self.exit_code,
            "reason": self.reason or ("Completed" if self.exit_code == 0 else "Error"),
            "startedAt": timestamp(self.started),
            "finishedAt": timestamp(self.finished),
            "containerID": container_id,
        }


@dataclass(slots=True)
class ContainerState:
    """What is known of one container now."""

    name: str
    image: str
    role: Role
    running_since: float | None = None
    waiting: str = "PodInitializing"
    message: str = ""
    ended: Ended | None = None
    last: Ended | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False
    container_id: str = ""
    pid: int = 0

    def show(self) -> Object:
        """The containerStatus."""
        if self.running_since is not None:
            state: Object = {"running": {"startedAt": timestamp(self.running_since)}}
        elif self.ended is not None:
            state = {"terminated": self.ended.show(self.container_id)}
        else:
            state = {"waiting": {"reason": self.waiting, **({"message": self.message} if self.message else {})}}
        return {
            "name": self.name,
            "image": self.image,
            "imageID": self.image,
            "containerID": self.container_id,
            "state": state,
            "lastState": {"terminated": self.last.show(self.container_id)} if self.last else {},
            "restartCount": self.restarts,
            "started": self.started,
            "ready": self.ready,
        }

    @property
    def succeeded(self) -> bool:
        """True once it ended well and stays so."""
        return self.running_since is None and self.ended is not None and self.ended.exit_code == 0


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with full seconds, as metav1.Time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def phase(states: Iterable[ContainerState], *, initialized: bool, restart_policy: str) -> str:
    """Pending, Running, Succeeded or Failed."""
    states = list(states)
    mains = [s for s in states if s.role is Role.MAIN]
    if not initialized:
        broken = any(s.role is Role.INIT and s.ended and s.ended.exit_code for s in states)
        return "Failed" if broken and restart_policy == "Never" else "Pending"
    if any(s.running_since is not None for s in mains):
        return "Running"
    if mains and all(s.ended is not None for s in mains):
        if restart_policy == "Always":
            return "Running"
        failed = any(s.ended and s.ended.exit_code for s in mains)
        if not failed:
            return "Succeeded"
        return "Failed" if restart_policy == "Never" else "Running"
    started_before = any(s.restarts or s.last for s in mains)
    return "Running" if started_before else "Pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """What a pod's status needs beside its containers."""

    pod_ip: str
    host_ip: str
    start_time: float
    initialized: bool
    restart_policy: str
    reason: str = ""
    message: str = ""


def pod_status(facts: PodFacts, states: list[ContainerState], old: Mapping[str, Any], now: float) -> Object:
    """The status to report. `old` is the one reported before: conditions keep their time while they do not change."""
    by_role = {role: [s for s in states if s.role is role] for role in Role}
    lasting = by_role[Role.MAIN] + by_role[Role.SIDECAR]
    ready = facts.initialized and all(s.ready for s in lasting if not s.succeeded or s.role is Role.SIDECAR)
    current = phase(states, initialized=facts.initialized, restart_policy=facts.restart_policy)
    if current in ("Succeeded", "Failed"):
        ready = False
    unready = [s.name for s in lasting if not s.ready]
    why = ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    wanted = {
        "PodReadyToStartContainers": (bool(facts.pod_ip), "", ""),
        "Initialized": (facts.initialized, "" if facts.initialized else "ContainersNotInitialized", ""),
        "Ready": (ready, *(("", "") if ready else why)),
        "ContainersReady": (ready, *(("", "") if ready else why)),
        "PodScheduled": (True, "", ""),
    }
    status: Object = {
        "phase": current,
        "conditions": conditions(wanted, old.get("conditions") or [], now),
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": timestamp(facts.start_time),
        "qosClass": "BestEffort",
        "containerStatuses": [s.show() for s in by_role[Role.MAIN]],
        "reason": facts.reason or None,
        "message": facts.message or None,
    }
    if facts.pod_ip:
        status |= {"podIP": facts.pod_ip, "podIPs": [{"ip": facts.pod_ip}]}
    inits = [s for s in states if s.role is not Role.MAIN]
    if inits:
        status["initContainerStatuses"] = [s.show() for s in inits]
    return status


def conditions(wanted: Mapping[str, tuple[bool, str, str]], old: list[Object], now: float) -> list[Object]:
    """Conditions by type (true?, reason, message), with the time of their last change; others' conditions are kept."""
    before = {c["type"]: c for c in old}
    result = []
    for kind, (true, reason, message) in wanted.items():
        status = "True" if true else "False"
        known = before.pop(kind, None)
        changed = timestamp(now) if known is None or known["status"] != status else known.get("lastTransitionTime")
        condition: Object = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": changed}
        if reason:
            condition["reason"] = reason
        if message:
            condition["message"] = message
        result.append(condition)
    return [*result, *before.values()]
