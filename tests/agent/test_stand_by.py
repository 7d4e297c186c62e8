"""An agent that is killed is there again; one that ends by itself is not."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from isthmus.agent.stand_by import MOST_AT_ONCE

PROGRAM = """
import os, sys, time
from isthmus.agent.stand_by import stand_by
code = stand_by()
if code is None:
    print(os.getpid(), flush=True)
    code = int(sys.stdin.readline() or 9)
sys.exit(code)
"""


@pytest.fixture
def program() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def agent(program: "subprocess.Popen[str]") -> int:
    """The process that is the agent now."""
    assert program.stdout is not None
    return int(program.stdout.readline())


def test_an_agent_that_is_killed_is_replaced_until_that_is_hopeless(program: "subprocess.Popen[str]") -> None:
    seen = set()
    for _ in range(MOST_AT_ONCE + 1):
        pid = agent(program)
        assert pid != program.pid
        seen.add(pid)
        os.kill(pid, signal.SIGKILL)
    assert program.wait(5) == 128 + signal.SIGKILL
    assert len(seen) == MOST_AT_ONCE + 1


def test_an_agent_that_ends_by_itself_is_not(program: "subprocess.Popen[str]") -> None:
    agent(program)
    assert program.stdin is not None
    program.stdin.write("3\n")
    assert program.wait(5) == 3


def test_a_stop_is_passed_on(program: "subprocess.Popen[str]") -> None:
    agent(program)
    program.terminate()
    assert program.wait(5) == 128 + signal.SIGTERM


def test_an_agent_does_not_outlive_who_stands_by(program: "subprocess.Popen[str]") -> None:
    with open_pidfd(agent(program)) as ended:
        program.kill()
        assert select.select([ended], [], [], 5)[0]


@contextlib.contextmanager
def open_pidfd(pid: int) -> Iterator[int]:
    """Readable once that process has ended."""
    number = os.pidfd_open(pid)
    try:
        yield number
    finally:
        os.close(number)
