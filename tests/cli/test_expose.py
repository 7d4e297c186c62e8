"""`isthmus multicluster expose`: what it prints, refuses, applies and waits for, against a real API server."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from isthmus.cli.main import main
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.manifest_applier import ManifestApplier
from isthmus.install.istiod import namespace
from isthmus.install.manifests import definitions
from isthmus.install.values import MeshValues
from isthmus.kube.requests import NAMESPACES, Resource
from tests.embedded import EmbeddedCluster

GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways")


@pytest.fixture(scope="module")
def east(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster("east", tmp_path_factory.mktemp("east"))
    with asyncio.Runner() as runner:
        runner.run(made.start())
        yield made
        runner.run(made.kill())


def isthmus(cluster: EmbeddedCluster, *words: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(["multicluster", "expose", "-c", str(cluster.kubeconfig), *words])
    return int(ended.value.code or 0)


def ask(cluster: EmbeddedCluster, work: Any) -> Any:
    async def asked() -> Any:
        async with await cluster.client() as client:
            return await work(client)

    return asyncio.run(asked())


def test_what_is_missing_is_named_one_by_one(east: EmbeddedCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert isthmus(east) == 2
    assert "isthmus install" in capsys.readouterr().err
    ask(east, lambda client: client.create(NAMESPACES, {"metadata": {"name": "istio-system"}}))
    assert isthmus(east) == 2
    assert "kubectl label namespace istio-system topology.istio.io/network=<name>" in capsys.readouterr().err
    ask(east, lambda client: client.apply(NAMESPACES, namespace(MeshValues(cluster="e", network="net")), manager="t"))
    assert isthmus(east) == 2
    assert "isthmus install --gateway-api" in capsys.readouterr().err


def test_generate_prints_the_gateway_and_changes_nothing(
    east: EmbeddedCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isthmus(east, "--generate", "--namespace", "gws", "--network", "net-x") == 0
    space, gateway = yaml.safe_load_all(capsys.readouterr().out)
    assert space["metadata"]["name"] == "gws"
    assert gateway["metadata"] == {
        "name": "istio-eastwest",
        "namespace": "gws",
        "labels": {"istio.io/expose-istiod": "15012", "topology.istio.io/network": "net-x"},
    }
    assert gateway["spec"]["gatewayClassName"] == "istio-eastwest"
    listeners = [(one["port"], one["protocol"], one["tls"]["mode"]) for one in gateway["spec"]["listeners"]]
    assert listeners == [(15008, "HBONE", "Passthrough"), (15012, "TLS", "Passthrough")]
    assert ask(east, lambda client: client.find(NAMESPACES, "", "gws")) is None


async def _programmed(client: KubeClient) -> None:
    """What a control plane does: says that the gateway can be called."""
    async with asyncio.timeout(20):
        while (found := await client.find(GATEWAYS, "istio-gateways", "istio-eastwest")) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    condition = {
        "type": "Programmed",
        "status": "True",
        "reason": "Programmed",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": found["metadata"]["generation"],
    }
    addresses = [{"type": "IPAddress", "value": "198.18.0.9"}]
    status = {"status": {"conditions": [condition], "addresses": addresses}}
    await client.patch_status(GATEWAYS, status, namespace="istio-gateways", name="istio-eastwest")


def test_it_waits_until_the_gateway_can_be_called(east: EmbeddedCluster, capsys: pytest.CaptureFixture[str]) -> None:
    async def prepare(client: KubeClient) -> None:
        await client.apply(NAMESPACES, namespace(MeshValues(cluster="e", network="net")), manager="t")
        wanted = [one for one in definitions(gateway_api=True) if one["spec"]["names"]["kind"] == "Gateway"]
        await ManifestApplier(client, report=lambda _: None).apply(wanted, within=20)

    ask(east, prepare)
    assert isthmus(east, "--timeout", "1") == 3
    assert "no control plane has looked at it" in capsys.readouterr().err
    thread = threading.Thread(target=ask, args=(east, _programmed))
    thread.start()
    assert isthmus(east) == 0
    thread.join()
    assert capsys.readouterr().out == "Gateway istio-gateways/istio-eastwest: network net is entered at 198.18.0.9\n"
