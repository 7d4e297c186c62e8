"""PeerAuthentication: workload over namespace over mesh, port over workload, oldest first."""

import pytest

from isthmus.derive.peers import namespace_policy, workload_mode
from isthmus.model.rows import Labels, MtlsMode, PeerAuthentication, labels

UNSET, DISABLE, PERMISSIVE, STRICT = MtlsMode.UNSET, MtlsMode.DISABLE, MtlsMode.PERMISSIVE, MtlsMode.STRICT
APP = labels({"app": "web"})


def policy(
    mode: MtlsMode = UNSET,
    *,
    selector: Labels = (),
    ports: tuple[tuple[int, MtlsMode], ...] = (),
    created: str = "1",
    name: str = "p",
) -> PeerAuthentication:
    """One object."""
    return PeerAuthentication(
        cluster="c", namespace="ns", name=name, mode=mode, selector=selector, port_modes=ports, created=created
    )


@pytest.mark.parametrize(
    ("own", "root", "mode"),
    [
        pytest.param([], [], PERMISSIVE, id="default"),
        pytest.param([], [policy(STRICT)], STRICT, id="mesh"),
        pytest.param([policy(DISABLE)], [policy(STRICT)], DISABLE, id="namespace beats mesh"),
        pytest.param([policy(UNSET)], [policy(STRICT)], STRICT, id="unset inherits"),
        pytest.param([policy(STRICT, selector=APP)], [policy(DISABLE)], STRICT, id="workload beats all"),
        pytest.param([policy(UNSET, selector=APP), policy(DISABLE)], [], DISABLE, id="workload unset inherits"),
        pytest.param([policy(STRICT, selector=labels({"app": "x"}))], [], PERMISSIVE, id="not selected"),
        pytest.param([policy(STRICT, created="2"), policy(DISABLE, created="1")], [], DISABLE, id="oldest of equals"),
        pytest.param(
            [policy(STRICT, created="1", name="b"), policy(DISABLE, created="1", name="a")],
            [],
            DISABLE,
            id="then by name",
        ),
        pytest.param(
            [], [policy(STRICT, selector=APP)], PERMISSIVE, id="no selector reaches out of the root namespace"
        ),
    ],
)
def test_mode_of_a_workload(own: list[PeerAuthentication], root: list[PeerAuthentication], mode: MtlsMode) -> None:
    assert workload_mode(namespace_policy(own, root), APP).mode is mode


def test_ports_beat_the_workload_and_need_a_selector() -> None:
    ports = ((80, DISABLE), (90, UNSET))
    selected = workload_mode(namespace_policy([policy(STRICT, selector=APP, ports=ports)], []), APP)
    assert [selected.at(port) for port in (80, 90, 100)] == [DISABLE, STRICT, STRICT]
    whole = workload_mode(namespace_policy([policy(STRICT, ports=ports)], []), APP)
    assert whole.ports == ()
