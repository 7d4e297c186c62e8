"""`isthmus waypoint` against the embedded API server, as a user calls it."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from isthmus.cli import main as cli
from isthmus.cli.waypoint import GATEWAYS
from isthmus.edge.manifest_applier import ManifestApplier
from isthmus.install.crds import definitions
from isthmus.kube.requests import NAMESPACES
from tests.embedded import EmbeddedCluster

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def east(tmp_path: Any) -> Iterator[EmbeddedCluster]:
    cluster = EmbeddedCluster("east", tmp_path)

    async def prepare() -> None:
        await cluster.start()
        async with await cluster.client() as client:
            wanted = [one for one in definitions(gateway_api=True) if one["spec"]["names"]["kind"] == "Gateway"]
            mine = [one for one in wanted if one["spec"]["group"] == GATEWAYS.group]
            await ManifestApplier(client, report=lambda _: None).apply(mine, within=20)
            for namespace in ("shop", "other"):
                await client.create(NAMESPACES, {"metadata": {"name": namespace}})

    with asyncio.Runner() as runner:
        runner.run(prepare())
        yield cluster
        runner.run(cluster.kill())


@pytest.fixture
def call(east: EmbeddedCluster, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command; its exit code, output and messages."""

    def run(command: str, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main(["waypoint", command, "--kubeconfig", str(east.kubeconfig), *arguments])
        out = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out.out, out.err

    return run


def labels_of(east: EmbeddedCluster, namespace: str) -> dict[str, str]:
    """The labels of a namespace."""

    async def work() -> Any:
        async with await east.client() as client:
            return await client.get(NAMESPACES, "", namespace)

    found: dict[str, str] = asyncio.run(work())["metadata"].get("labels") or {}
    return found


def programme(east: EmbeddedCluster, *, good: bool, message: str) -> None:
    """Say of the waypoint what a control plane says."""
    condition = {"type": "Programmed", "status": str(good), "reason": "Programmed" if good else "Pending",
                 "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip

    async def work() -> None:
        async with await east.client() as client:
            status = {"status": {"conditions": [condition]}}
            await client.patch_status(GATEWAYS, status, namespace="shop", name="waypoint")

    asyncio.run(work())


def test_generate_prints_what_apply_makes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["waypoint", "generate", "-n", "shop", "--for", "all", "-r", "canary"])
    (made,) = yaml.safe_load_all(capsys.readouterr().out)
    assert made["metadata"] == {
        "name": "waypoint",
        "namespace": "shop",
        "labels": {"istio.io/waypoint-for": "all", "istio.io/rev": "canary"},
    }
    assert made["spec"] == {
        "gatewayClassName": "istio-waypoint",
        "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
    }


def test_apply_enrols_a_namespace(east: EmbeddedCluster, call: Call) -> None:
    code, out, err = call("apply", "-n", "shop", "--enroll-namespace")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "waypoint shop/waypoint applied",
        "namespace shop labeled with istio.io/use-waypoint: waypoint",
    ]
    assert labels_of(east, "shop")["istio.io/use-waypoint"] == "waypoint"


def test_another_waypoint_of_a_namespace_stays_unless_told(east: EmbeddedCluster, call: Call) -> None:
    call("apply", "-n", "shop", "--enroll-namespace")
    code, out, err = call("apply", "-n", "shop", "--name", "second", "--enroll-namespace")
    assert (code, out) == (2, "")
    assert "namespace shop goes through waypoint waypoint now" in err
    assert labels_of(east, "shop")["istio.io/use-waypoint"] == "waypoint"
    code, _, _ = call("apply", "-n", "shop", "--name", "second", "--enroll-namespace", "--overwrite")
    assert (code, labels_of(east, "shop")["istio.io/use-waypoint"]) == (0, "second")


def test_waiting_says_what_is_said_of_it(east: EmbeddedCluster, call: Call) -> None:
    call("apply", "-n", "shop")
    programme(east, good=False, message="No pod is ready")
    code, _, err = call("apply", "-n", "shop", "--wait", "--waypoint-timeout", "1")
    assert code != 0
    assert "waypoint shop/waypoint is not ready after 1 s: No pod is ready" in err
    programme(east, good=True, message="1 ready")
    code, out, _ = call("apply", "-n", "shop", "--wait")
    assert (code, out.splitlines()[-1]) == (0, "waypoint shop/waypoint is ready")


def test_list_and_status(east: EmbeddedCluster, call: Call) -> None:
    assert call("list", "-n", "shop")[1] == "No waypoints found.\n"
    call("apply", "-n", "shop", "--for", "all")
    code, out, err = call("status", "-n", "shop")
    assert (code, out.splitlines()[1].split()[:2]) == (1, ["waypoint", "Unknown"])
    assert "not programmed: waypoint" in err
    programme(east, good=True, message="1 ready, reached at 10.96.0.9")
    code, out, _ = call("status", "-n", "shop")
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "STATUS", "TYPE", "REASON", "MESSAGE"],
        ["waypoint", "True", "Programmed", "Programmed", "1", "ready,", "reached", "at", "10.96.0.9"],
    ]
    assert code == 0
    call("apply", "-n", "other")
    _, out, _ = call("list", "-A")
    assert [line.split() for line in out.splitlines()] == [
        ["NAMESPACE", "NAME", "REVISION", "TRAFFIC", "TYPE", "PROGRAMMED"],
        ["other", "waypoint", "default", "service", "Unknown"],
        ["shop", "waypoint", "default", "all", "True"],
    ]


def test_delete_names_what_is_not_there(call: Call) -> None:
    call("apply", "-n", "shop")
    code, out, err = call("delete", "absent", "-n", "shop")
    assert (code, out) == (2, "")
    assert "absent: no waypoint in namespace shop" in err
    assert call("delete", "-n", "shop")[0] == 2
    assert call("delete", "--all", "-n", "shop")[:2] == (0, "waypoint shop/waypoint deleted\n")
    assert call("list", "-n", "shop")[1] == "No waypoints found.\n"


@pytest.mark.parametrize("more", [(), ("--enroll-namespace",)])
def test_a_namespace_that_is_not_there_is_named(call: Call, more: tuple[str, ...]) -> None:
    code, out, err = call("apply", "-n", "shp", *more)
    assert (code, out) == (2, "")
    assert "there is no namespace shp. Make it first: kubectl create namespace shp" in err
