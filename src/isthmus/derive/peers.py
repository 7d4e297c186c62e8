"""PeerAuthentication: what a workload demands of those who connect to it."""

from collections.abc import Iterable

from isthmus.model.mesh import PeerPolicy, WorkloadMode
from isthmus.model.rows import Labels, MtlsMode, PeerAuthentication, labels_match


def namespace_policy(own: Iterable[PeerAuthentication], root: Iterable[PeerAuthentication]) -> PeerPolicy:
    """The policy of a namespace, from the objects in it and those of the root namespace.

    Workload beats namespace beats mesh; the default is PERMISSIVE; among equals the oldest wins.
    """
    mine = _oldest_first(own)
    mode = _default_mode(mine, _default_mode(_oldest_first(root), MtlsMode.PERMISSIVE))
    return PeerPolicy(mode, tuple((row.selector, row.mode, row.port_modes) for row in mine if row.selector))


def _oldest_first(rows: Iterable[PeerAuthentication]) -> list[PeerAuthentication]:
    return sorted(rows, key=lambda row: (row.created, row.namespace, row.name))


def _default_mode(rows: list[PeerAuthentication], inherited: MtlsMode) -> MtlsMode:
    for row in rows:
        if not row.selector:
            return inherited if row.mode is MtlsMode.UNSET else row.mode
    return inherited


def selecting(own: Iterable[PeerAuthentication], labels: Labels) -> PeerAuthentication | None:
    """The object of a workload's namespace that speaks for it by its labels: the oldest."""
    return next((row for row in _oldest_first(own) if row.selector and labels_match(row.selector, labels)), None)


def own_mode(policy: PeerPolicy, row: PeerAuthentication) -> WorkloadMode:
    """What an object with a selector demands where it is the one that counts."""
    return _inherited(policy.mode, row.mode, row.port_modes)


def _inherited(inherited: MtlsMode, mode: MtlsMode, ports: Iterable[tuple[int, MtlsMode]]) -> WorkloadMode:
    own = inherited if mode is MtlsMode.UNSET else mode
    return WorkloadMode(own, tuple(sorted((number, own if m is MtlsMode.UNSET else m) for number, m in ports)))


def workload_mode(policy: PeerPolicy, labels: Labels) -> WorkloadMode:
    """What the workload with these labels demands. Port modes count only beside a selector, UNSET inherits."""
    for selector, mode, ports in policy.workloads:
        if labels_match(selector, labels):
            return _inherited(policy.mode, mode, ports)
    return WorkloadMode(policy.mode)
