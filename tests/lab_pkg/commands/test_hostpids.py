"""Process ids of the lab, as the host has them."""

import os

from isthmus_lab.commands.hostpids import HostPids, HostProcess, processes

SUPERVISOR = 500
FOUND = [
    HostProcess(500, 1, (500, 1), "lab"),
    HostProcess(501, 500, (501, 2), "lab"),  # an API server
    HostProcess(502, 500, (502, 3, 1), "node-a"),
    HostProcess(503, 500, (503, 4, 1), "node-b"),
    HostProcess(510, 502, (510, 9, 5), "node-a"),
    HostProcess(511, 503, (511, 10, 5), "node-b"),
    HostProcess(900, 1, (900, 1), "other lab"),
    HostProcess(901, 900, (901, 2), "other lab"),
    HostProcess(902, 900, (902, 3, 1), "other node"),
]


def test_ids_are_found_through_the_right_namespace() -> None:
    pids = HostPids(FOUND, SUPERVISOR)
    assert [pids.of_lab(2), pids.of_lab(3)] == [501, 502]
    assert [pids.on_node(3, 5), pids.on_node(4, 5)] == [510, 511]


def test_what_is_gone_is_zero() -> None:
    pids = HostPids(FOUND, SUPERVISOR)
    assert [pids.of_lab(77), pids.on_node(3, 77), pids.on_node(77, 5)] == [0, 0, 0]


def test_processes_of_our_own_namespace_are_no_labs() -> None:
    assert all(found.pid != os.getpid() for found in processes())
