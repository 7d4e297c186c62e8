"""How a proxy is named on the command line."""

import asyncio
from typing import Any, cast

import pytest

from isthmus.base.errors import UnreachableError, UsageError
from isthmus.cli.proxies import PodName, resolve, split_name
from isthmus.edge.kube_client import KubeClient
from isthmus.kube.requests import Resource, Scope


@pytest.mark.parametrize(
    ("text", "namespace", "kind", "pod"),
    [
        ("sleep-1", "", "pod", PodName("sleep-1", "default")),
        ("sleep-1.sample", "", "pod", PodName("sleep-1", "sample")),
        ("sleep-1", "sample", "pod", PodName("sleep-1", "sample")),
        ("sleep-1.sample", "sample", "pod", PodName("sleep-1", "sample")),
        ("pod/sleep-1.sample", "", "pod", PodName("sleep-1", "sample")),
        ("deploy/sleep", "sample", "deploy", PodName("sleep", "sample")),
        ("deployments/sleep.sample", "", "deploy", PodName("sleep", "sample")),
        ("web.v1.sample", "", "pod", PodName("web.v1", "sample")),
    ],
)
def test_a_name_is_split(text: str, namespace: str, kind: str, pod: PodName) -> None:
    assert split_name(text, namespace) == (kind, pod)


@pytest.mark.parametrize("text", ["service/sleep", "deploy/", "/"])
def test_what_names_no_proxy_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="names no proxy"):
        split_name(text, "")


def test_it_is_printed_as_it_is_written() -> None:
    assert str(PodName("a", "b")) == "a.b"


class Cluster:
    """Pods by name, as far as a client is asked for them here."""

    def __init__(self, **pods: tuple[str, dict[str, str], dict[str, str]]) -> None:
        self._pods: dict[str, Any] = {
            name: {
                "metadata": {
                    "name": name,
                    "namespace": "istio-system" if labels else "app",
                    "uid": f"uid-{name}",
                    "labels": labels,
                    "annotations": annotations,
                },
                "spec": {"nodeName": node},
            }
            for name, (node, labels, annotations) in pods.items()
        }

    async def find(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        found = self._pods.get(name)
        return found if found is not None and found["metadata"]["namespace"] == namespace else None

    async def list(self, resource: Resource, scope: Scope) -> list[dict[str, Any]]:
        def chosen(pod: dict[str, Any]) -> bool:
            labels = {f"{key}={value}" for key, value in pod["metadata"]["labels"].items()}
            return scope.label_selector in labels and scope.field_selector == f"spec.nodeName={pod['spec']['nodeName']}"

        return [pod for pod in self._pods.values() if chosen(pod)]


NODE, CAPTURED = {"app": "isthmus-node"}, {"ambient.istio.io/redirection": "enabled"}


def test_an_ambient_pod_is_spoken_for_by_the_proxy_of_its_node(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster(sleep=("n2", {}, CAPTURED), plain=("n2", {}, {}), node1=("n1", NODE, {}), node2=("n2", NODE, {}))
    client = cast("KubeClient", cluster)
    assert asyncio.run(resolve(client, "sleep.app", "")) == PodName("node2", "istio-system", "uid-sleep")
    assert "sleep.app is ambient: this is the proxy of its node n2, node2.istio-system" in capsys.readouterr().err
    assert asyncio.run(resolve(client, "plain.app", "")) == PodName("plain", "app")
    assert asyncio.run(resolve(client, "node1.istio-system", "")) == PodName("node1", "istio-system")


def test_an_ambient_pod_whose_node_has_no_proxy() -> None:
    client = cast("KubeClient", Cluster(sleep=("n2", {}, CAPTURED), node1=("n1", NODE, {})))
    with pytest.raises(UnreachableError, match="node n2 has no proxy"):
        asyncio.run(resolve(client, "sleep.app", ""))
