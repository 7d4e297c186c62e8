"""Stands behind the agent of a node: one that is killed is there again at once, and finds its Envoy still running.

A container ends with its first process, and takes Envoy along: all pods of the node would be cut off for as long as it
takes to start another. So the first process is one that does nothing, and the agent is its child.
"""

import ctypes
import os
import signal
import time

MOST_AT_ONCE = 5
WITHIN = 60.0
"""So many agents may be killed within so many seconds; then there is more wrong than a new process mends."""

_PR_SET_PDEATHSIG = 1
_SIGNAL_BASE = 128
"""A process that was ended by signal n leaves with 128 + n, as shells tell it."""


def stand_by() -> int | None:
    """None in a new process, which is to be the agent; in this one the exit code, when there is to be none any more.

    Call it with everything imported that an agent needs, and before there are threads: the next one comes from here.
    """
    parent = os.getpid()
    killed: list[float] = []
    stopping = False
    child = 0

    def pass_on(number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        if child:
            os.kill(child, number)

    kept = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    while True:
        child = os.fork()
        if child == 0:
            for number, handler in kept.items():
                signal.signal(number, handler)
            _end_with(parent)
            return None
        code = _wait(child)
        now = time.monotonic()
        killed = [at for at in killed if now - at < WITHIN] + [now]
        if code >= 0 or stopping or len(killed) > MOST_AT_ONCE:
            return code if code >= 0 else _SIGNAL_BASE - code


def _end_with(parent: int) -> None:
    """This process ends when its parent does, as all of a container does with its first process."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(_SIGNAL_BASE + signal.SIGKILL)


def _wait(child: int) -> int:
    """The exit code of that child, negative for a signal. What an agent left behind may be a child by now, too."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return os.waitstatus_to_exitcode(status)
