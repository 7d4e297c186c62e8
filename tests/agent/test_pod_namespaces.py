"""Pods that started without the plugin: their namespaces are found by the addresses in them."""

import asyncio
from pathlib import Path

import pytest

from isthmus.agent.pod_namespaces import find_namespace
from isthmus_lab.net import links, netns
from isthmus_lab.supervisor.state import StateDirectory
from tests.lab_pkg.worlds import in_new_world


@pytest.mark.lab
def test_a_namespace_is_found_by_all_of_its_addresses(tmp_path: Path) -> None:
    def body(_state: StateDirectory) -> list[str]:
        for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2")):
            netns.create(name)
            with links.rtnetlink(name) as ip:
                ip.link("set", index=1, state="up")
                ip.addr("add", index=1, address=address, prefixlen=32)
        (netns.DIRECTORY / "left-over").touch()
        wanted: tuple[list[str], ...] = (["10.0.0.2"], ["10.0.0.1"], ["10.0.0.1", "10.0.0.2"], ["10.0.0.3"], [])
        found = [asyncio.run(find_namespace(netns.DIRECTORY, addresses)) for addresses in wanted]
        return [path.name if path else "" for path in found]

    assert in_new_world(tmp_path, body) == ["b", "a", "", "", ""]


def test_a_node_without_that_directory_has_none(tmp_path: Path) -> None:
    assert asyncio.run(find_namespace(tmp_path / "none", ["10.0.0.1"])) is None
