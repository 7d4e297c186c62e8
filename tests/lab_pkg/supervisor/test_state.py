"""The state directory: names, ports, sockets behind long paths."""

import socket
from pathlib import Path

import pytest

from isthmus_lab.supervisor.state import StateDirectory, connectable, default_root


def test_sockets_behind_any_path_can_be_reached(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-long-directory-name"] * 8)
    deep.mkdir(parents=True)
    path = deep / "sock"
    with pytest.raises(OSError, match="too long"), socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(connectable(path))
        server.listen()
        client.connect(connectable(path))
    assert path.is_socket()


def test_short_paths_stay_as_they_are() -> None:
    assert connectable(Path("/run/lab/sock")) == "/run/lab/sock"


def test_ports_of_a_new_lab(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.ports() == {}
    state.ports_file.write_text('{"east": 4711}')
    assert state.ports() == {"east": 4711}


def test_the_default_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/x/state")
    assert default_root() == Path("/x/state/isthmus/lab")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_root() == Path("/home/me/.local/state/isthmus/lab")
