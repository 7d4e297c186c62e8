"""Kubeconfig files, the pod's account, tokens."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from isthmus.base.errors import IsthmusError, UsageError
from isthmus.edge.kube_access import TOKEN_REREAD, Credentials, from_kubeconfig, in_cluster
from isthmus.kube.kubeconfig import Access


def write(path: Path, name: str, **user: Any) -> Path:
    """A kubeconfig with one context of that name."""
    path.parent.mkdir(exist_ok=True)
    document = {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}", "certificate-authority": "ca.crt"}}],
        "users": [{"name": name, "user": user or {"token": name}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    path.write_text(json.dumps(document))
    return path


def test_the_file_named_else_the_environment_else_home(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    write(tmp_path / ".kube" / "config", "home")
    one, two = write(tmp_path / "one", "one"), write(tmp_path / "two", "two")
    several = home | {"KUBECONFIG": f"{tmp_path}/missing:{one}:{two}"}
    assert from_kubeconfig(env=home).server == "https://home"
    assert from_kubeconfig(env=several).server == "https://one"
    assert from_kubeconfig(context="two", env=several).token == "two"
    assert from_kubeconfig(str(two), env=several).server == "https://two"


def test_relative_files_are_beside_the_kubeconfig(tmp_path: Path) -> None:
    path = write(tmp_path / "k", "k", tokenFile="token", **{"client-certificate": "/abs/c", "client-key": "k"})
    access = from_kubeconfig(str(path))
    assert access.ca_file == str(tmp_path / "ca.crt")
    assert access.token_file == str(tmp_path / "token")
    assert (access.client_cert_file, access.client_key_file) == ("/abs/c", str(tmp_path / "k"))


def test_no_kubeconfig_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Give --kubeconfig"):
        from_kubeconfig(env={"HOME": str(tmp_path)})


def test_in_a_pod(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("istio-system\n")
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert in_cluster(env, tmp_path) == Access(
        server="https://[fd00::1]:6443",
        ca_file=str(tmp_path / "ca.crt"),
        token_file=str(tmp_path / "token"),
        namespace="istio-system",
    )


@pytest.mark.parametrize("env", [{}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}])
def test_outside_of_a_pod(env: Mapping[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not running in a pod"):
        in_cluster(env, tmp_path)


class Time:
    """A time that moves by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now


def header(credentials: Credentials) -> str:
    """What would be sent."""
    return asyncio.run(credentials.headers()).get("Authorization", "")


def test_a_fixed_token() -> None:
    credentials = Credentials(Access(server="", token="t"), Time())
    assert header(credentials) == "Bearer t"
    assert not credentials.refused()
    assert header(Credentials(Access(server=""), Time())) == ""


def test_a_token_file_is_read_again_after_a_while_and_after_a_refusal(tmp_path: Path) -> None:
    file, time = tmp_path / "token", Time()
    file.write_text("one\n")
    credentials = Credentials(Access(server="", token_file=str(file)), time)
    assert header(credentials) == "Bearer one"
    file.write_text("two")
    assert header(credentials) == "Bearer one"
    time.now = TOKEN_REREAD
    assert header(credentials) == "Bearer two"
    file.write_text("three")
    assert credentials.refused()
    assert header(credentials) == "Bearer three"
    file.unlink()
    credentials.refused()
    assert header(credentials) == "Bearer three"


def test_a_missing_token_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(IsthmusError, match="cannot read the token"):
        header(Credentials(Access(server="", token_file=str(tmp_path / "none")), Time()))


def plugin(script: str) -> Credentials:
    """Credentials of a plugin that runs the script."""
    command = {"command": sys.executable, "args": ["-c", script], "env": [{"name": "GIVEN", "value": "x"}]}
    return Credentials(Access(server="", command=command), Time())


def test_a_credential_plugin() -> None:
    script = (
        "import os,json;json.loads(os.environ['KUBERNETES_EXEC_INFO']);"
        "print(json.dumps({'status':{'token':'from-'+os.environ['GIVEN'],'expirationTimestamp':'2999-01-01T00:00:00Z'}}))"
    )
    credentials = plugin(script)
    assert header(credentials) == "Bearer from-x"
    assert credentials.refused()


@pytest.mark.parametrize("script", ["raise SystemExit(1)", "print('no json')", "print('{}')"])
def test_a_plugin_that_fails_is_told(script: str) -> None:
    with pytest.raises(IsthmusError, match="gave no token"):
        header(plugin(script))
