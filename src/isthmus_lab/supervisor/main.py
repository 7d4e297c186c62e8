"""The supervisor's program: enters the namespaces, becomes process 1 there, runs the lab until it is told to end."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from isthmus_lab.labfile.load import load
from isthmus_lab.net.plan import make_plan
from isthmus_lab.supervisor import enter
from isthmus_lab.supervisor.control import ControlServer
from isthmus_lab.supervisor.lab import Lab
from isthmus_lab.supervisor.state import StateDirectory


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="isthmus-lab-supervisor")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--lab", type=Path, required=True)
    parser.add_argument("--host-fd", action="append", default=[], metavar="CLUSTER=FD")
    return parser.parse_args(arguments)


async def _run(lab: Lab) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lab.down.set)
    server = asyncio.create_task(ControlServer(lab).serve(str(lab.state.control_socket)))
    try:
        await lab.run()
    finally:
        server.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await server


def main(arguments: Sequence[str]) -> int:
    """Runs in the background of `isthmus lab up`; its log is supervisor.log of the state directory."""
    options = _parse(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)
    outside = StateDirectory(options.state_dir.resolve())
    world = load(options.lab)
    enter.unshare_all(user=enter.needs_user_namespace())
    enter.become_first_process(lambda pid: _note_pid(outside, pid))
    state = enter.furnish(outside)
    os.chdir("/")
    host_fds = {name: int(fd) for name, _, fd in (item.partition("=") for item in options.host_fd)}
    for fd in host_fds.values():
        os.set_inheritable(fd, False)
    asyncio.run(_run(Lab(world, make_plan(world), state, host_fds)))
    state.control_socket.unlink(missing_ok=True)
    state.pid_file.unlink(missing_ok=True)
    return 0


def _note_pid(state: StateDirectory, pid: int) -> None:
    document = {"pid": pid, "started": enter.start_time(pid)}
    temporary = state.pid_file.with_suffix(".new")
    temporary.write_text(json.dumps(document))
    temporary.replace(state.pid_file)
