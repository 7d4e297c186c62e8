"""The container runtime for real: processes in namespaces of their own, commands beside them, endings told."""

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.kubelet.container import ContainerSpec, Mount
from isthmus_lab.kubelet.runtime import Runtime, listen, own_run
from isthmus_lab.kubelet.runtime_client import RuntimeClient, RuntimeRefusedError
from isthmus_lab.net import netns
from isthmus_lab.supervisor.state import StateDirectory
from tests.lab_pkg.worlds import in_new_world

pytestmark = pytest.mark.lab


def with_runtime(body: Callable[[RuntimeClient, Path], Any]) -> Callable[[StateDirectory], Any]:
    """`body` beside a runtime."""

    def run(state: StateDirectory) -> Any:
        path = state.path / "runtime.sock"
        listener = listen(path)
        pid = os.fork()
        if pid == 0:
            Runtime(listener, None).run()
        listener.close()
        try:
            return body(RuntimeClient(str(path)), state.path)
        finally:
            os.kill(pid, signal.SIGKILL)

    return run


def ended(client: RuntimeClient, container: str) -> int:
    """Wait for the end of a container; its exit code."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = next(p for p in client.processes() if p["id"] == container)
        if not found["running"]:
            return int(found["exitCode"])
        select.select([], [], [], 0.02)
    raise AssertionError(f"{container} did not end")


def shell(name: str, script: str, directory: Path, **fields: Any) -> ContainerSpec:
    env = {"PATH": os.environ["PATH"], "GREETING": "hello"}
    return ContainerSpec(id=name, argv=["sh", "-c", script], env=env, log=str(directory / f"{name}.log"), **fields)


def test_a_container_has_its_own_run_files_name_and_network(tmp_path: Path) -> None:
    def body(client: RuntimeClient, directory: Path) -> tuple[int, list[str]]:
        netns.create("pod")
        (directory / "vol").mkdir()
        (directory / "vol" / "file").write_text("from the volume\n")
        (directory / "hosts").write_text("from the host\n")
        script = (
            "cat /var/run/secrets/x/file /etc/hosts; hostname; ls /run | tr '\\n' ' '; echo; echo $GREETING; "
            "touch /run/secrets/x/new 2>/dev/null && echo writable || echo read-only; tail -n +3 /proc/net/dev | wc -l"
        )
        spec = shell(
            "u/c/0", script, directory, netns="pod", hostname="my-pod",
            mounts=[Mount(str(directory / "vol"), "/var/run/secrets/x", read_only=True)],
            files={"/etc/hosts": str(directory / "hosts")},
        )  # fmt: skip
        spec = ContainerSpec(**{f: getattr(spec, f) for f in spec.__struct_fields__} | {"log": str(directory / "log")})
        client.start(spec)
        return ended(client, "u/c/0"), (directory / "log").read_text().splitlines()

    code, lines = in_new_world(tmp_path, with_runtime(body))
    assert code == 0
    assert lines[:3] == ["from the volume", "from the host", "my-pod"]
    assert lines[3].split() == ["secrets", "tmp"]
    assert lines[4:6] == ["hello", "read-only"]
    assert lines[6] == "1", "only loopback is in a new network namespace"


def test_mount_points_that_this_machine_does_not_have_are_in_the_containers_view_alone(tmp_path: Path) -> None:
    places = ["/no-such-top/opt/cni/bin", "/no-such-top/etc", "/etc/no-such-part/net.d"]

    def body(client: RuntimeClient, directory: Path) -> tuple[str, list[bool]]:
        (directory / "vol").mkdir()
        (directory / "vol" / "file").write_text("here\n")
        script = (
            "for d in " + " ".join(places) + "; do cat $d/file; done; test -e /etc/passwd && echo etc; "
            "test -d /tmp && test -d /proc/self && echo rest; touch /no-such-top/etc/written; ls /run"
        )
        mounts = [Mount(str(directory / "vol"), place) for place in places]
        client.start(shell("c", script, directory, mounts=mounts))
        ended(client, "c")
        client.start(shell("d", "exec sleep 60", directory, mounts=mounts))
        deadline, output = time.monotonic() + 5, ""
        while not output and time.monotonic() < deadline:
            output, _ = run(client, "d", ["sh", "-c", f"cat {places[0]}/file 2>/dev/null"])
        return (directory / "c.log").read_text() + output, [Path(place).exists() for place in places]

    output, outside = in_new_world(tmp_path, with_runtime(body))
    assert output.split() == ["here", "here", "here", "etc", "rest", "tmp", "here"]
    assert outside == [False, False, False]
    assert (tmp_path / "vol" / "written").exists()


def test_a_container_that_asks_for_it_sees_namespaces_come_and_go(tmp_path: Path) -> None:
    def body(client: RuntimeClient, directory: Path) -> list[int]:
        one_way = Mount(str(netns.DIRECTORY), "/var/run/theirs", propagation="HostToContainer")
        client.start(shell("late", "exec sleep 60", directory, mounts=[one_way]))
        plain = Mount(str(netns.DIRECTORY), "/var/run/theirs")
        client.start(shell("plain", "exec sleep 60", directory, mounts=[plain]))

        def seen(container: str) -> int:
            return int(run(client, container, ["sh", "-c", "grep -c theirs/pod /proc/self/mountinfo"])[0])

        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and run(client, "late", ["grep", "-q", "theirs", "/proc/self/mountinfo"])[1]:
            select.select([], [], [], 0.02)
        while time.monotonic() < deadline and run(client, "plain", ["grep", "-q", "theirs", "/proc/self/mountinfo"])[1]:
            select.select([], [], [], 0.02)
        netns.create("pod")
        here = [seen("late"), seen("plain")]
        run(client, "late", ["sh", "-c", "mkdir /run/theirs/own && mount -t tmpfs none /run/theirs/own"])
        outside = int("netns/own" in Path("/proc/self/mountinfo").read_text())
        netns.delete("pod")
        return [*here, seen("late"), outside]

    assert in_new_world(tmp_path, with_shared_run(body)) == [1, 0, 0, 0]


def with_shared_run(body: Callable[[RuntimeClient, Path], Any]) -> Callable[[StateDirectory], Any]:
    """`body` beside a runtime on a node that has its own /run."""

    def run(state: StateDirectory) -> Any:
        own_run()
        return with_runtime(body)(state)

    return run


def test_what_a_container_leaves_behind_ends_with_it_and_nothing_else_does(tmp_path: Path) -> None:
    def body(client: RuntimeClient, directory: Path) -> list[bool]:
        client.start(shell("other", "setsid sleep 62 & exec sleep 63", directory))
        client.start(shell("node", "setsid sleep 64 & exec sleep 65", directory, private=False))
        client.start(shell("c", "setsid sleep 66 & sleep 0.2; exit 0", directory))
        found = [wait_for(f"sleep {number}", there=True) for number in (62, 64, 66)]
        ended(client, "c")
        found.append(wait_for("sleep 66", there=False))
        client.signal("node", signal.SIGKILL)
        ended(client, "node")
        lines = command_lines()
        return [*found, *(any(f"sleep {number}" in line for line in lines) for number in (62, 63, 64))]

    assert in_new_world(tmp_path, with_runtime(body)) == [True] * 7


def test_python_images_run_in_a_fork_and_end_with_their_code(tmp_path: Path) -> None:
    def body(client: RuntimeClient, directory: Path) -> tuple[int, int, str]:
        entry = "isthmus_lab.apps.reach:main"
        good = ContainerSpec(id="good", argv=["reach"], entry=entry, log=str(directory / "good"), private=False)
        bad = ContainerSpec(id="bad", argv=["reach", "1"], entry=entry, log=str(directory / "bad"), private=False)
        client.start(good)
        client.start(bad)
        return ended(client, "good"), ended(client, "bad"), (directory / "bad").read_text()

    good, bad, text = in_new_world(tmp_path, with_runtime(body))
    assert (good, bad) == (0, 127)
    assert "ValueError" in text


def test_signals_and_starting_twice(tmp_path: Path) -> None:
    def body(client: RuntimeClient, directory: Path) -> list[Any]:
        first = client.start(shell("a", "exec sleep 60", directory, private=False))
        again = client.start(shell("a", "exec sleep 60", directory, private=False))
        refused = ""
        try:
            client.execute(shell("x", "true", directory), "nobody", [0, 1, 2])
        except RuntimeRefusedError as error:
            refused = str(error)
        client.signal("a", signal.SIGTERM)
        code = ended(client, "a")
        client.remove("a")
        return [first["pid"] == again["pid"], code, client.processes(), refused]

    same, code, left, refused = in_new_world(tmp_path, with_runtime(body))
    assert same
    assert code == 143
    assert left == []
    assert "container nobody is not running" in refused


def test_a_command_runs_inside_a_container_and_dies_with_its_caller(tmp_path: Path) -> None:
    def body(client: RuntimeClient, directory: Path) -> list[Any]:
        netns.create("pod")
        client.start(shell("c", "touch /run/marker; exec sleep 60", directory, netns="pod", hostname="my-pod"))
        deadline = time.monotonic() + 5
        output = ""
        while "marker" not in output and time.monotonic() < deadline:
            output, code = run(client, "c", ["sh", "-c", "ls /run; hostname; exit 4"])
        sock = client.execute(command(["sleep", "61"]), "c", [0, 1, 2])
        found = [wait_for("sleep 61", there=True)]
        sock.close()
        return [output.split(), code, *found, wait_for("sleep 61", there=False)]

    output, code, ran, gone = in_new_world(tmp_path, with_runtime(body))
    assert output == ["marker", "tmp", "my-pod"]
    assert code == 4
    assert ran
    assert gone


def wait_for(command_line: str, *, there: bool) -> bool:
    """True once a process with that command line is (or is no longer) there."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if any(command_line in line for line in command_lines()) is there:
            return True
        select.select([], [], [], 0.02)
    return False


def command_lines() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def command(argv: list[str]) -> ContainerSpec:
    return ContainerSpec(id="exec", argv=argv, env={"PATH": os.environ["PATH"]}, private=False, log=None)


def run(client: RuntimeClient, target: str, argv: list[str]) -> tuple[str, int]:
    reader, writer = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    sock = client.execute(command(argv), target, [null, writer, null])
    os.close(writer)
    with os.fdopen(reader) as pipe:
        output = pipe.read()
    os.close(null)
    return output, exit_code(sock)


def exit_code(sock: socket.socket) -> int:
    import json

    with sock:
        return int(json.loads(sock.recv(1000))["exitCode"])
