"""`isthmus-cni` as a container runtime sees it: fails closed without an agent, never stops a pod's end."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.cli.cni import run

ENV = {
    "CNI_CONTAINERID": "abc",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=u1",
}


def call(command: str, path: Path, **changes: Any) -> tuple[dict[str, Any], int]:
    conf = {"cniVersion": "1.0.0", "name": "net", "prevResult": {"ips": []}, "socket": str(path), "patience": 0.3}
    said, code = run({**ENV, "CNI_COMMAND": command}, json.dumps({**conf, **changes}))
    return json.loads(said) if said else {}, code


class Agent:
    """Answers the next question, or keeps silent if it has no answer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer: bytes | None = b'{"ok": true, "captured": true}\n'
        self.asked: list[dict[str, Any]] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._held: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.asked.append(json.loads(connection.makefile().readline()))
            self._held.append(connection)
            if self.answer is not None:
                with contextlib.suppress(OSError):  # who asked has given up
                    connection.sendall(self.answer)
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for one in (self._listening, *self._held):
            one.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "s")
    yield made
    made.close()


def test_a_captured_pod_starts(agent: Agent) -> None:
    assert call("ADD", agent.path) == ({"ips": [], "cniVersion": "1.0.0"}, 0)
    assert [one["op"] for one in agent.asked] == ["add"]
    assert call("CHECK", agent.path) == ({}, 0)
    assert call("STATUS", agent.path) == ({}, 0)


def test_a_pod_that_is_not_captured_does_not_start(agent: Agent) -> None:
    agent.answer = b'{"ok": false, "error": "no certificate yet", "remedy": "see the log"}\n'
    said, code = call("ADD", agent.path)
    assert (said, code) == (
        {"cniVersion": "1.0.0", "code": 11, "msg": "no certificate yet", "details": "see the log"},
        1,
    )
    assert call("DEL", agent.path) == ({}, 0)


@pytest.mark.parametrize("answer", [None, b"", b"nonsense\n"])
def test_a_silent_agent_keeps_pods_from_starting_and_lets_them_end(agent: Agent, answer: bytes | None) -> None:
    agent.answer = answer
    said, code = call("ADD", agent.path)
    assert (said["code"], code) == (11, 1)
    if answer is not None:
        assert call("DEL", agent.path) == ({}, 0)


def test_without_an_agent(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    said, code = call("ADD", nowhere)
    assert (said["code"], code) == (11, 1)
    assert "isthmus-node" in said["details"]
    assert call("STATUS", nowhere)[0]["code"] == 50
    assert call("DEL", nowhere) == ({}, 0)
    assert call("ADD", nowhere, excludeNamespaces=["shop"])[1] == 0
    assert call("GC", nowhere) == ({}, 0)


def test_as_a_program_it_needs_nothing_but_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "isthmus.cli.cni"],
        env={"CNI_COMMAND": "ADD", "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        input="{}",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 1), done.stderr
