"""The program: its files, its certificate, SIGKILL and restart, SIGTERM."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography import x509

from isthmus_lab.apiserver.main import parse

MAPS = "/api/v1/namespaces/default/configmaps"


class Program:
    """One run of the server as a process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        sock = socket.create_server(("127.0.0.1", 0))
        command = [sys.executable, "-m", "isthmus_lab.apiserver", "--cluster", "east", "--data-dir", str(directory)]
        command += ["--host-fd", str(sock.fileno()), "--listen", "127.0.0.2:0", "--unix", str(directory / "api.sock")]
        command += ["--advertise", "https://192.0.2.7:6443", "--advertise-network", "https://10.0.0.5:6443"]
        self.process = subprocess.Popen(
            command, pass_fds=[sock.fileno()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        sock.close()

    def ready(self) -> dict[str, Any]:
        """What ready.json says; waits until this process has written it."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the server ended"
            try:
                found = json.loads((self.directory / "ready.json").read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                found = {}
            if found.get("pid") == self.process.pid:
                return dict(found)
            time.sleep(0.02)
        raise AssertionError("the server did not become ready")

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """With the admin's token, as the kubeconfig has it."""
        config = yaml.safe_load((self.directory / "admin.kubeconfig").read_text())
        token = config["users"][0]["user"]["token"]
        context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        server = config["clusters"][0]["cluster"]["server"]
        headers = {"authorization": f"Bearer {token}"}
        with httpx.Client(base_url=server, verify=context, headers=headers, trust_env=False) as client:
            yield client

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(10)


def test_a_killed_server_comes_back_with_everything(tmp_path: Path) -> None:
    first = Program(tmp_path)
    ready = first.ready()
    assert len(ready["urls"]) == 2
    assert ready["urls"][1].startswith("https://127.0.0.2:")
    with first.client() as client:
        for index in range(20):
            body = {"metadata": {"name": f"m{index}"}, "data": {"n": str(index)}}
            made = client.post(MAPS, json=body)
            assert made.status_code == 201
        revision = int(made.json()["metadata"]["resourceVersion"])
        token = client.post("/api/v1/namespaces/default/serviceaccounts/default/token", json={"spec": {}}).json()
    certificate = (tmp_path / "ca.crt").read_bytes()
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    second = Program(tmp_path)
    second.ready()
    assert (tmp_path / "ca.crt").read_bytes() == certificate
    with second.client() as client:
        listed = client.get(MAPS).json()
        assert len(listed["items"]) == 21
        assert int(listed["metadata"]["resourceVersion"]) >= revision
        as_account = {"authorization": f"Bearer {token['status']['token']}"}
        assert client.get("/api", headers=as_account).status_code == 200
    system = {"authorization": f"Bearer {(tmp_path / 'system.token').read_text()}"}
    transport = httpx.HTTPTransport(uds=str(tmp_path / "api.sock"))
    with httpx.Client(transport=transport, base_url="http://api", headers=system) as client:
        assert client.get(f"{MAPS}/m0").json()["data"] == {"n": "0"}
        assert client.get(f"{MAPS}/m0", headers={"authorization": "Bearer x"}).status_code == 401
    assert second.end(signal.SIGTERM) == 0


def test_every_answered_write_outlives_a_kill(tmp_path: Path) -> None:
    first = Program(tmp_path)
    first.ready()
    answered: list[str] = []
    enough = threading.Event()

    def write() -> None:
        with first.client() as client, contextlib.suppress(httpx.TransportError):
            for number in range(100_000):
                client.post(MAPS, json={"metadata": {"name": f"m{number}"}}).raise_for_status()
                answered.append(f"m{number}")
                if number == 100:
                    enough.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert enough.wait(20)
    first.end(signal.SIGKILL)
    writer.join(20)
    second = Program(tmp_path)
    second.ready()
    with second.client() as client:
        found = {item["metadata"]["name"] for item in client.get(MAPS).json()["items"]}
    assert set(answered) <= found
    assert len(found) - 1 - len(answered) in (0, 1)  # the one that was on its way
    second.end(signal.SIGKILL)


def test_files_and_certificate(tmp_path: Path) -> None:
    program = Program(tmp_path)
    program.ready()
    config = yaml.safe_load((tmp_path / "admin.kubeconfig").read_text())
    assert config["current-context"] == config["contexts"][0]["name"] == config["clusters"][0]["name"] == "east"
    for name in ("admin.kubeconfig", "system.token", "server.pem", "ready.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    host, port = config["clusters"][0]["cluster"]["server"].removeprefix("https://").split(":")
    pem = ssl.get_server_certificate((host, int(port)))
    names = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    addresses = {str(address) for address in names.value.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "127.0.0.2", "192.0.2.7", "10.0.0.5", "10.96.0.1"}
    assert "kubernetes.default.svc" in names.value.get_values_for_type(x509.DNSName)
    with program.client() as client:
        info = client.get("/api/v1/namespaces/kube-public/configmaps/cluster-info").json()
        published = yaml.safe_load(info["data"]["kubeconfig"])
        assert published["clusters"][0]["cluster"]["server"] == "https://192.0.2.7:6443"
    assert program.end(signal.SIGINT) == 0


def test_arguments() -> None:
    given = parse(["--cluster", "c", "--data-dir", "/d", "--listen", "1.2.3.4:1", "--listen", "1.2.3.5:2"])
    assert given.listen == ("1.2.3.4:1", "1.2.3.5:2")
    assert given.settings.service_cidr == "10.96.0.0/16"
    with pytest.raises(SystemExit):
        parse(["--cluster", "c", "--data-dir", "/d", "--controllers"])
    with pytest.raises(SystemExit):
        parse([])
