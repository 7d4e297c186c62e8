"""The scenario `vm`: a machine beside the clusters that is a part of the mesh, and a server that is not."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.harness import HELLO, SLEEP, Lab, Way, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "vm"
INVENTORY = "http://inventory.sample/hello"
BANK = "http://api.bank.example/hello"
LEDGER = "http://ledger.internal:9000/hello"
UNKNOWN = "http://198.18.32.50:8080/hello"
"""The bank by its address and port, which no object names."""

EAST, WEST, STOCK = "east/sample/sleep", "west/sample/sleep", "vm/stock"
MACHINE = "spiffe://cluster.local/ns/sample/sa/inventory"
CONFIG = ("configmap", "-n", "istio-system", "istio")
ENTRY = ("workloadentry", "-n", "sample")


def entries(lab: Lab) -> list[dict[str, Any]]:
    """The WorkloadEntries of east's API server."""
    found: list[dict[str, Any]] = lab.get("east", *ENTRY)["items"]
    return found


def switch(lab: Lab, word: str) -> None:
    """Tell the machine's application to be ready, or not."""
    post = f"import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8080/readiness/{word}', method='POST'))"
    lab.exec(STOCK, sys.executable, "-c", post)


def ways(lab: Lab, client: str, url: str, count: int = 12) -> set[tuple[str, bool, str]]:
    """(who answered, whether through a gateway, whom the caller was taken for)."""

    def short(way: Way) -> tuple[str, bool, str]:
        return (f"vm/{way.pod}" if way.cluster == "vm" else way.cluster, bool(way.gateway), way.identity)

    return {short(way) for way in lab.ways(client, url, count)}


# -- who calls whom ---------------------------------------------------------------------------------------------------


def test_the_machine_registered_itself_and_is_healthy(model: Lab) -> None:
    (entry,) = entries(model)
    assert entry["metadata"]["name"] == "inventory-10.10.0.240-east-net"
    assert entry["metadata"]["annotations"]["istio.io/autoRegistrationGroup"] == "inventory"
    assert entry["spec"]["serviceAccount"] == "inventory"
    assert [(one["type"], one["status"]) for one in entry["status"]["conditions"]] == [("Healthy", "True")]


@pytest.mark.parametrize(("client", "gateway"), [(EAST, False), (WEST, True)])
def test_both_clusters_reach_the_machine(model: Lab, client: str, gateway: bool) -> None:
    model.answered_by(client, INVENTORY, {"stock"})
    assert ways(model, client, INVENTORY) == {("vm/stock", gateway, SLEEP)}


def test_the_machine_reaches_both_clusters(model: Lab) -> None:
    model.answered_by(STOCK, HELLO, {"east", "west"})
    assert ways(model, STOCK, HELLO, 24) == {("east", False, MACHINE), ("west", True, MACHINE)}


def test_who_is_not_in_the_mesh_is_refused_by_the_machine(model: Lab) -> None:
    model.refused("east/plain/sleep-plain", "http://10.10.0.240:8080/hello")
    assert model.probe("east/plain/sleep-plain", "tcp", "10.10.0.240", "15021") == "answered"


@pytest.mark.parametrize("client", [EAST, WEST, STOCK])
@pytest.mark.parametrize("url", [BANK, LEDGER])
def test_a_server_outside_is_reached_without_an_identity(model: Lab, client: str, url: str) -> None:
    assert model.answered_by(client, url, {"bank"}, "--count", "4").identities == {""}


def test_hosts_get_addresses_on_which_both_clusters_agree(model: Lab) -> None:
    def written(cluster: str) -> list[dict[str, str]]:
        status = model.get(cluster, "serviceentry", "-n", "sample", "ledger").get("status") or {}
        return list(status.get("addresses") or [])

    (east,) = eventually(lambda: written("east"), within=20, what="east wrote the address of ledger.internal")
    assert east["host"] == "ledger.internal"
    assert east["value"].startswith("240.240.")
    assert eventually(lambda: written("west"), within=20, what="west did, too") == [east]


def test_with_registry_only_nothing_but_what_is_named_is_reached(model: Lab) -> None:
    def allow(mode: str) -> None:
        mesh = yaml.safe_load(model.get("east", *CONFIG)["data"]["mesh"]) | {"outboundTrafficPolicy": {"mode": mode}}
        patch = json.dumps({"data": {"mesh": yaml.safe_dump(mesh)}})
        model.kubectl("east", "patch", *CONFIG, "--type=merge", "-p", patch)

    model.answered_by(EAST, UNKNOWN, {"bank"}, "--count", "2")
    allow("REGISTRY_ONLY")
    try:
        model.refused(EAST, UNKNOWN)
        model.refused(STOCK, UNKNOWN)
        for url in (BANK, LEDGER):
            assert not model.call(EAST, url, "--count", "4").failures
        model.answered_by(EAST, INVENTORY, {"stock"}, "--count", "4")
    finally:
        allow("ALLOW_ANY")
    model.answered_by(EAST, UNKNOWN, {"bank"}, "--count", "2")


def test_the_command_makes_the_files_that_the_machine_was_given(model: Lab, tmp_path: Path) -> None:
    group = model.example / "east" / "inventory.yaml"
    words = ["workload", "entry", "configure", "-f", str(group), "-o", str(tmp_path / "made"), "--clusterID", "east"]
    model.run(*words, "--context", "east", "--internalIP", "10.10.0.240")
    given = model.state / "clusters" / "vm" / "nodes" / "stock" / "mesh"
    for name in ("cluster.env", "mesh.yaml", "root-cert.pem", "hosts"):
        assert (tmp_path / "made" / name).read_text() == (given / name).read_text(), name
    assert (tmp_path / "made" / "istio-token").stat().st_mode & 0o077 == 0


# -- what fails -------------------------------------------------------------------------------------------------------


def test_a_machine_that_is_not_ready_gets_no_calls(model: Lab) -> None:
    switch(model, "off")
    try:
        for client in (EAST, WEST):
            model.refused(client, INVENTORY)
        (entry,) = entries(model)
        assert entry["status"]["conditions"][0]["status"] == "False"
        assert "503" in entry["status"]["conditions"][0]["message"]
    finally:
        switch(model, "on")
    for client in (EAST, WEST):
        model.answered_by(client, INVENTORY, {"stock"}, "--count", "10")


@pytest.mark.parametrize("part", ["east/istiod", "east/apiserver"])
def test_calls_go_on_without_a_part_of_control(model: Lab, part: str) -> None:
    before = entries(model)[0]["metadata"]["uid"]
    with (
        model.under_load(WEST, INVENTORY, 5) as to_machine,
        model.under_load(STOCK, HELLO, 5) as from_machine,
        model.killed(part),
    ):
        alone = model.call(EAST, INVENTORY, "--count", "20")
    assert not alone.failures
    assert not to_machine.failures
    assert not from_machine.failures
    assert [entry["metadata"]["uid"] for entry in entries(model)] == [before]


def test_a_machine_that_died_leaves_and_comes_back_without_its_token(model: Lab) -> None:
    """It proves itself by its certificate; the token was for the first time."""
    (model.state / "clusters" / "vm" / "nodes" / "stock" / "mesh" / "istio-token").unlink()
    with model.killed(STOCK):
        eventually(lambda: not entries(model), within=40, what="the entry of the dead machine is gone")
        model.refused(WEST, INVENTORY)
    model.answered_by(EAST, INVENTORY, {"stock"}, "--count", "10", within=40)
    assert ways(model, WEST, INVENTORY) == {("vm/stock", True, SLEEP)}
