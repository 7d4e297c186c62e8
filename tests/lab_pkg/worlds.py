"""Runs a test's body in namespaces of its own: tests make networks and mounts without root and leave nothing."""

import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from isthmus_lab.supervisor import enter
from isthmus_lab.supervisor.state import StateDirectory

T = TypeVar("T")


def in_new_world(directory: Path, body: Callable[[StateDirectory], T]) -> T:
    """What `body` returns, called as process 1 of new namespaces with `directory` at /run/lab; errors fail the test."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(directory, body, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    assert data, "the body ended without a result"
    good, value = pickle.loads(data)
    assert good, value
    result: T = value
    return result


def _child(directory: Path, body: Callable[[StateDirectory], object], writer: int) -> None:
    try:
        enter.unshare_all(user=enter.needs_user_namespace())
        first = os.fork()
        if first:
            os.waitpid(first, 0)
            os._exit(0)
        answer: tuple[bool, object] = (True, body(enter.furnish(StateDirectory(directory))))
    except BaseException:
        answer = (False, traceback.format_exc())
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(pickle.dumps(answer))
    os._exit(0)
