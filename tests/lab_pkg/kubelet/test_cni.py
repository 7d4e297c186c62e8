"""CNI on a lab node: what is read, what plugins are told, what becomes of their answers; and real plugins."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.kubelet import cni
from isthmus_lab.kubelet.cni import CniError, Network, Subject
from isthmus_lab.kubelet.config import NodeConfig
from isthmus_lab.kubelet.plugins import Plugins
from isthmus_lab.kubelet.sandbox import Sandbox
from isthmus_lab.net.plan import make_plan
from tests.lab_pkg.test_world import good

SUBJECT = Subject("ns", "web", "uid-1", "web.ns.east")
BOX = Sandbox("web.ns.east", "10.10.1.2", None, "tag", False, 0.0)
POD = {"metadata": {"namespace": "ns", "name": "web", "uid": "uid-1"}}


def write(directory: Path, name: str, document: object) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(document if isinstance(document, str) else json.dumps(document))


def test_a_node_starts_with_the_labs_own_network_and_keeps_what_was_chained_to_it(tmp_path: Path) -> None:
    cni.ensure_own(tmp_path / "net.d")
    found = cni.read_network(tmp_path / "net.d")
    assert (found.name, found.foreign) == ("lab", [])
    chained = {"cniVersion": "1.0.0", "name": "lab", "plugins": [{"type": "lab"}, {"type": "isthmus-cni"}]}
    write(tmp_path / "net.d", "10-lab.conflist", chained)
    cni.ensure_own(tmp_path / "net.d")
    assert cni.read_network(tmp_path / "net.d").foreign == [{"type": "isthmus-cni"}]


def test_the_first_usable_configuration_by_name_counts(tmp_path: Path) -> None:
    write(tmp_path, "00-broken.conflist", "{")
    write(tmp_path, "05-notes.txt", {"name": "n", "type": "x"})
    write(tmp_path, "10-one.conf", {"name": "one", "type": "first", "cniVersion": "0.4.0"})
    write(tmp_path, "20-two.conflist", {"name": "two", "plugins": [{"type": "second"}]})
    found = cni.read_network(tmp_path)
    assert (found.name, found.version, [plugin["type"] for plugin in found.plugins]) == ("one", "0.4.0", ["first"])


@pytest.mark.parametrize(
    ("name", "document", "words"),
    [
        ("a.conflist", "[]", "not a network configuration"),
        ("a.conflist", {"name": "n", "plugins": [{"type": "../sh"}]}, "is no file name"),
        ("a.conflist", {"name": "n", "plugins": [{"no": "type"}]}, "not a network configuration"),
        ("a.txt", {"name": "n", "type": "x"}, "it is empty"),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, name: str, document: object, words: str) -> None:
    write(tmp_path, name, document)
    with pytest.raises(CniError, match=words):
        cni.read_network(tmp_path)


def test_a_plugin_is_told_the_pod_and_what_was_made_before() -> None:
    told = cni.variables("ADD", SUBJECT, "/opt")
    assert (told["CNI_COMMAND"], told["CNI_NETNS"], told["CNI_IFNAME"]) == ("ADD", "/run/netns/web.ns.east", "eth0")
    arguments = dict(item.split("=") for item in told["CNI_ARGS"].split(";"))
    assert arguments["K8S_POD_NAMESPACE"] == "ns"
    assert arguments["K8S_POD_NAME"] == "web"
    assert arguments["K8S_POD_UID"] == "uid-1"
    assert arguments["K8S_POD_INFRA_CONTAINER_ID"] == told["CNI_CONTAINERID"]
    network = Network("lab", "1.0.0", [{"type": "lab"}])
    own = cni.own_result(SUBJECT, [("10.10.1.2", 16)], "10.10.0.1")
    read = json.loads(cni.configuration(network, {"type": "x", "level": "debug", "capabilities": {}}, own))
    assert read == {"type": "x", "level": "debug", "name": "lab", "cniVersion": "1.0.0", "prevResult": own}
    assert own["ips"] == [{"address": "10.10.1.2/16", "interface": 0, "gateway": "10.10.0.1"}]


@pytest.mark.parametrize(
    ("command", "code", "out", "err", "words"),
    [
        ("ADD", 1, b'{"code": 11, "msg": "try again", "details": "agent away"}', b"", "try again; agent away"),
        ("ADD", 1, b"", b"Traceback", "Traceback"),
        ("DEL", 3, b"", b"", "exit code 3"),
        ("ADD", 0, b"", b"", "it printed no result"),
    ],
)
def test_a_failure_is_told_in_the_plugins_words(command: str, code: int, out: bytes, err: bytes, words: str) -> None:
    with pytest.raises(CniError, match=words):
        cni.outcome(command, "x", code=code, stdout=out, stderr=err)


def test_only_adding_must_have_a_result() -> None:
    assert cni.outcome("DEL", "x", code=0, stdout=b"", stderr=b"") is None
    assert cni.outcome("ADD", "x", code=0, stdout=b'{"cniVersion": "1.0.0"}', stderr=b"") == {"cniVersion": "1.0.0"}


PLUGIN = """#!/bin/sh
read config
echo "$0 $CNI_COMMAND $CNI_NETNS $config" >> {log}
if [ -e {log}.refuse ] && [ $CNI_COMMAND = ADD ]; then
  echo '{{"cniVersion": "1.0.0", "code": 7, "msg": "not today"}}'; exit 1
fi
[ $CNI_COMMAND = ADD ] && echo '{{"cniVersion": "1.0.0", "by": "'${{0##*/}}'"}}'
exit 0
"""


class Node:
    """A node's plugins, two of which are chained to the lab's own network."""

    def __init__(self, tmp_path: Path) -> None:
        plan = make_plan(good())
        cluster = plan.clusters[0]
        self.config = NodeConfig(
            cluster=cluster.name,
            node=cluster.nodes[0],
            network=plan.networks[0],
            service_cidr=cluster.service_cidr,
            api_socket="",
            api_token_file="",
            api_service_ip="",
            directory=str(tmp_path),
        )
        self.log = tmp_path / "calls"
        self.plugins = Plugins(self.config, tmp_path / "pods")
        (tmp_path / "pods" / "uid-1").mkdir(parents=True)
        plugins = Path(self.config.network_plugins)
        plugins.mkdir(parents=True)
        for name in ("one", "two"):
            (plugins / name).write_text(PLUGIN.format(log=self.log))
            (plugins / name).chmod(0o755)
        chained = [{"type": "lab"}, {"type": "one"}, {"type": "two"}]
        self.configure(chained)

    def configure(self, plugins: list[dict[str, str]]) -> None:
        document = {"cniVersion": "1.0.0", "name": "lab", "plugins": plugins}
        write(Path(self.config.network_configurations), cni.OWN_FILE, document)

    def calls(self) -> list[tuple[str, str, str, Any]]:
        """(plugin, command, namespace's path, what it was told of those before it) of each call."""
        found = []
        for line in self.log.read_text().splitlines() if self.log.exists() else []:
            words, _, document = line.partition(" {")
            program, command, *rest = words.split(" ")
            previous = json.loads("{" + document).get("prevResult", {})
            found.append((program.rpartition("/")[2], command, "".join(rest), previous.get("by", "lab")))
        return found


def test_plugins_are_run_in_order_each_with_the_result_before_and_backwards_at_the_end(tmp_path: Path) -> None:
    node = Node(tmp_path)

    async def life() -> None:
        await node.plugins.add(POD, BOX)
        await node.plugins.add(POD, BOX)  # a kubelet that comes back finds it done
        node.configure([{"type": "lab"}])
        assert await node.plugins.remove("uid-1") == []
        assert await node.plugins.remove("uid-1") == []

    asyncio.run(life())
    netns = "/run/netns/web.ns.east"
    assert node.calls() == [
        ("one", "ADD", netns, "lab"),
        ("two", "ADD", netns, "one"),
        ("two", "DEL", netns, "two"),
        ("one", "DEL", netns, "two"),
    ]


def test_a_pod_that_is_refused_is_detached_and_may_try_again(tmp_path: Path) -> None:
    node = Node(tmp_path)
    refuse = Path(f"{node.log}.refuse")
    refuse.touch()
    with pytest.raises(CniError, match=r'plugin type="one" failed \(add\): not today'):
        asyncio.run(node.plugins.add(POD, BOX))
    refuse.unlink()
    asyncio.run(node.plugins.add(POD, BOX))
    assert [call[:2] for call in node.calls()] == [
        ("one", "ADD"), ("two", "DEL"), ("one", "DEL"), ("one", "ADD"), ("two", "ADD"),
    ]  # fmt: skip


def test_a_plugin_that_is_not_there_is_named_and_the_end_of_a_dead_namespace_is_told_without_it(tmp_path: Path) -> None:
    node = Node(tmp_path)
    asyncio.run(node.plugins.add(POD, BOX))
    Path(node.config.network_plugins, "one").unlink()
    problems = asyncio.run(node.plugins.remove("uid-1", gone=True))
    assert "failed to find plugin" in problems[0]
    with pytest.raises(CniError, match="failed to find plugin"):
        asyncio.run(node.plugins.add(POD, BOX))
    assert node.calls()[2] == ("two", "DEL", "", "two")
