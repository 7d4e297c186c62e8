"""Flags and environment become the one settings object; signals end the control plane."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from isthmus.app.settings import ServeSettings
from isthmus.base.errors import ExitCode
from isthmus.cli import main as cli
from isthmus.cli import serving

KUBECONFIG = """
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    path = tmp_path / "config"
    path.write_text(KUBECONFIG)
    return str(path)


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Logs are configured for a whole process: what a test did must not outlive it."""
    yield
    structlog.reset_defaults()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(["serve", *arguments])
    code = left.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServeSettings]:
    """What would be run."""
    found: list[ServeSettings] = []
    monkeypatch.setattr(serving, "run_until_signal", found.append)
    monkeypatch.setattr(serving, "configure_logs", lambda *_: None)
    return found


def test_defaults_are_istiods(started: list[ServeSettings], kubeconfig: str) -> None:
    assert run("--kubeconfig", kubeconfig) == ExitCode.GOOD
    [settings] = started
    assert (settings.cluster, settings.trust_domain, settings.system_namespace) == (
        "Kubernetes",
        "cluster.local",
        "istio-system",
    )
    listen = settings.listen
    assert (listen.plain, listen.tls, listen.admin, listen.webhook) == (15010, 15012, 15014, 15017)
    assert settings.access.server == "https://127.0.0.1:1"


def test_the_environment_of_the_manifests_is_read(
    started: list[ServeSettings], kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {
        "CLUSTER_ID": "east",
        "NETWORK": "n1",
        "MESH_ID": "m",
        "TRUST_DOMAIN": "td",
        "DOMAIN_SUFFIX": "example",
        "REVISION": "canary",
        "DNS_CAPTURE": "false",
        "PROXY_IMAGE": "p",
        "INIT_IMAGE": "i",
        "CHECKPOINT_DIR": "/c",
        "CA_DIRECTORY": "/ca",
        "POD_NAME": "istiod-1",
        "POD_NAMESPACE": "mesh",
        "MAX_WORKLOAD_CERT_TTL_SECONDS": "60",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run("--kubeconfig", kubeconfig) == ExitCode.GOOD
    [settings] = started
    assert (settings.cluster, settings.network, settings.mesh_id, settings.trust_domain) == ("east", "n1", "m", "td")
    assert (settings.domain, settings.revision, settings.dns_capture) == ("example", "canary", False)
    assert (settings.images.proxy, settings.images.init) == ("p", "i")
    assert (settings.checkpoint_dir, str(settings.ca_directory), settings.instance) == ("/c", "/ca", "istiod-1")
    assert (settings.system_namespace, settings.max_certificate_lifetime) == ("mesh", 60.0)


def test_a_flag_beats_the_environment(
    started: list[ServeSettings], kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_ID", "east")
    assert run("--kubeconfig", kubeconfig, "--cluster", "west", "--tls-port", "0") == ExitCode.GOOD
    assert (started[0].cluster, started[0].listen.tls) == ("west", 0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--cluster", ""], "the cluster has no name"),
        (["--trust-domain", "a/b"], "is no trust domain"),
        (["--log-level", "loud"], "no log level 'loud'"),
        (["--log-format", "xml"], "in form 'xml'"),
        (["--context", "nobody"], "nobody"),
    ],
)
def test_wrong_usage_ends_at_once(
    kubeconfig: str, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    assert run("--kubeconfig", kubeconfig, *arguments) == ExitCode.USAGE
    assert text in capsys.readouterr().err


def test_outside_of_a_cluster_it_says_what_to_give(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert run() == ExitCode.USAGE
    assert "Give --kubeconfig" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_with_logs_as_json(kubeconfig: str, number: signal.Signals) -> None:
    program = [sys.executable, "-m", "isthmus.cli.main", "serve", "--kubeconfig", kubeconfig, "--log-format", "json"]
    ports = [f"--{name}-port=0" for name in ("tls", "plain", "webhook", "admin")]
    process = subprocess.Popen(
        [*program, *ports, "--listen", "127.0.0.1"], stderr=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stderr is not None
    try:
        wait_until_it_listens(process.pid)
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in errors.decode().splitlines()]
    assert "stopping" in events


def wait_until_it_listens(pid: int) -> None:
    """The admin port is the first thing that is there; signals are handled by then."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        listening = Path("/proc/net/tcp").read_text()
        inodes = {line.split()[9] for line in listening.splitlines()[1:] if line.split()[3] == "0A"}
        if any(link in inodes for link in sockets(pid)):
            return
        time.sleep(0.02)
    raise AssertionError("it does not listen")


def sockets(pid: int) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found
