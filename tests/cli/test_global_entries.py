"""`isthmus global-entries` against the embedded API server, as a user calls it."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from isthmus.cli import main as cli
from isthmus.kube.requests import CONFIG_MAPS, NAMESPACES, PODS, SERVICES
from tests.embedded import EmbeddedCluster

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def west(tmp_path: Any) -> Iterator[EmbeddedCluster]:
    cluster = EmbeddedCluster("west", tmp_path)
    with asyncio.Runner() as runner:
        runner.run(cluster.start())
        yield cluster
        runner.run(cluster.kill())


@pytest.fixture
def call(west: EmbeddedCluster, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command; its exit code, output and messages."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main(["global-entries", "--kubeconfig", str(west.kubeconfig), *arguments])
        out = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out.out, out.err

    return run


def put(west: EmbeddedCluster, *, marked: bool) -> None:
    """A service with a pod, a gateway with an address, a mesh configuration."""
    marks = {"istio.io/global": "true"} if marked else {}
    gateway = {
        "metadata": {"name": "gw", "labels": {"topology.istio.io/network": "net-west"}},
        "spec": {"ports": [{"name": "tls", "port": 15443}], "externalIPs": ["172.18.0.2"]},
    }
    web = {"metadata": {"name": "web", "labels": marks}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}
    pod = {
        "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "isthmus/sleep"}]},
    }

    async def work() -> None:
        async with await west.client() as client:
            for namespace in ("istio-system", "shop"):
                await client.create(NAMESPACES, {"metadata": {"name": namespace}})
            config = {"metadata": {"name": "istio"}, "data": {"mesh": "trustDomain: west.example"}}
            await client.create(CONFIG_MAPS, config, namespace="istio-system")
            await client.create(SERVICES, gateway, namespace="istio-system")
            await client.create(SERVICES, web, namespace="shop")
            await client.create(PODS, pod, namespace="shop")

    asyncio.run(work())


def test_entries_for_the_services_with_the_label(west: EmbeddedCluster, call: Call) -> None:
    put(west, marked=True)
    code, out, err = call("--cluster", "west")
    assert (code, err) == (0, "")
    (entry,) = yaml.safe_load_all(out)
    assert entry["spec"]["hosts"] == ["web.shop.global"]
    assert entry["spec"]["endpoints"][0]["address"] == "172.18.0.2"
    assert entry["spec"]["subjectAltNames"] == ["spiffe://west.example/ns/shop/sa/default"]


def test_nothing_to_offer_is_said(west: EmbeddedCluster, call: Call) -> None:
    put(west, marked=False)
    code, out, err = call("--cluster", "west")
    assert (code, out) == (2, "")
    assert "no service has the label istio.io/global=true" in err
