"""`isthmus create-remote-secret` against the embedded API server, as a user calls it."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.base.errors import UsageError
from isthmus.cli import main as cli
from isthmus.cli.create_remote_secret import Wanted
from isthmus.kube.requests import CLUSTER_ROLES, CONFIG_MAPS, NAMESPACES, SECRETS, SERVICE_ACCOUNTS
from tests.embedded import EmbeddedCluster

SERVER = "https://203.0.113.7:6443"


@pytest.fixture(scope="module")
def west(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    """A cluster without anything of the mesh."""
    cluster = EmbeddedCluster("west", tmp_path_factory.mktemp("west"))
    with asyncio.Runner() as runner:
        runner.run(cluster.start())
        yield cluster
        runner.run(cluster.kill())


@pytest.fixture
def call(west: EmbeddedCluster, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command; its exit code, output and messages."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main(["create-remote-secret", "--kubeconfig", str(west.kubeconfig), *arguments])
        out = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out.out, out.err

    return run


Call = Callable[..., tuple[int, str, str]]


def kubeconfig_of(text: str) -> dict[str, Any]:
    """The kubeconfig in a printed secret."""
    (value,) = yaml.safe_load(text)["stringData"].values()
    found = yaml.safe_load(value)
    assert isinstance(found, dict)
    return found


def ask(west: EmbeddedCluster, resource: Any, namespace: str, name: str) -> dict[str, Any] | None:
    """An object of the cluster."""

    async def work() -> dict[str, Any] | None:
        async with await west.client() as client:
            return await client.find(resource, namespace, name)

    return asyncio.run(work())


def test_a_loopback_server_without_published_address_is_wrong_usage_and_changes_nothing(
    west: EmbeddedCluster, call: Call
) -> None:
    code, out, err = call("--name", "west")
    assert (code, out) == (2, "")
    assert "Give --server https://<host>:<port>" in err
    assert ask(west, NAMESPACES, "", "istio-system") is None


def test_account_rights_and_token_are_made_and_the_secret_is_printed(west: EmbeddedCluster, call: Call) -> None:
    code, out, err = call("--name", "west", "--server", SERVER)
    assert (code, err) == (0, "")
    config = kubeconfig_of(out)
    assert config["clusters"][0]["cluster"]["server"] == SERVER
    assert config["users"][0]["user"]["token"].count(".") == 2
    assert ask(west, SERVICE_ACCOUNTS, "istio-system", "istio-reader-service-account")
    role = ask(west, CLUSTER_ROLES, "", "istio-reader-clusterrole-istio-system")
    assert role is not None
    assert not any("secrets" in rule.get("resources", []) for rule in role["rules"])
    assert call("--name", "west", "--server", SERVER)[1] == out


def test_the_published_address_is_taken_where_the_contexts_is_loopback(west: EmbeddedCluster, call: Call) -> None:
    info = "clusters: [{name: '', cluster: {server: 'https://192.0.2.5:7443'}}]"

    async def publish() -> None:
        async with await west.client() as client:
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "cluster-info", "namespace": "kube-public"},
                "data": {"kubeconfig": info},
            }
            await client.apply(CONFIG_MAPS, body, manager="test")

    asyncio.run(publish())
    code, out, _ = call("--name", "west")
    assert code == 0
    assert kubeconfig_of(out)["clusters"][0]["cluster"]["server"] == "https://192.0.2.5:7443"
    asyncio.run(_remove(west))


async def _remove(west: EmbeddedCluster) -> None:
    async with await west.client() as client:
        await client.delete(CONFIG_MAPS, "kube-public", "cluster-info")


def test_a_loopback_server_that_is_asked_for_is_warned_of(call: Call) -> None:
    code, _, err = call("--name", "west", "--server", "https://127.0.0.1:6443")
    assert code == 0
    assert err.startswith("Warning: https://127.0.0.1:6443 is this machine only")


def test_the_name_is_the_uid_of_kube_system_by_default(west: EmbeddedCluster, call: Call) -> None:
    system = ask(west, NAMESPACES, "", "kube-system")
    assert system is not None
    uid = system["metadata"]["uid"]
    code, out, _ = call("--server", SERVER)
    assert code == 0
    assert yaml.safe_load(out)["metadata"]["name"] == f"istio-remote-secret-{uid}"


def test_other_accounts_secrets_and_users(call: Call) -> None:
    code, _, err = call("--name", "west", "--server", SERVER, "--service-account", "none")
    assert code == 2
    assert "there is no service account istio-system/none" in err
    code, _, err = call("--name", "west", "--server", SERVER, "--secret-name", "none")
    assert code == 2
    assert "there is no secret istio-system/none" in err
    code, out, _ = call(
        "--name", "west", "--server", SERVER, "--auth-type", "plugin", "--auth-plugin-config", "id-token=x"
    )
    assert code == 0
    assert kubeconfig_of(out)["users"][0]["user"] == {"auth-provider": {"name": "oidc", "config": {"id-token": "x"}}}


def test_without_creating_what_is_missing(call: Call) -> None:
    arguments = ("--name", "west", "--server", SERVER, "--create-service-account=false", "--tls-server-name", "api")
    code, out, _ = call(*arguments)
    assert code == 0
    assert kubeconfig_of(out)["clusters"][0]["cluster"]["tls-server-name"] == "api"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "West"}, "is no cluster name"),
        ({"server": "10.0.0.1:6443"}, "is no URL"),
        ({"plugin_config": ("x",)}, "is not key=value"),
    ],
)
def test_wrong_usage(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Wanted(**fields)


@pytest.mark.kubectl
def test_kubectl_applies_what_is_printed(west: EmbeddedCluster, call: Call, tmp_path: Path) -> None:
    _, out, _ = call("--name", "west", "--server", SERVER)
    kubectl = ["kubectl", "--kubeconfig", str(west.kubeconfig), "--cache-dir", str(tmp_path)]
    done = subprocess.run([*kubectl, "apply", "-f", "-"], input=out.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    secret = ask(west, SECRETS, "istio-system", "istio-remote-secret-west")
    assert secret is not None
    assert list(secret["data"]) == ["west"]
