"""The plugin's place in a node's list of plugins, and the program that starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isthmus.base.errors import IsthmusError
from isthmus.install.cni_conf import (
    chained,
    container_launcher,
    direct_launcher,
    plugin_entry,
    primary,
    unchained,
)

ENTRY = plugin_entry(socket="/run/isthmus/cni.sock", excluded=["kube-system"], patience=60)
BRIDGE = {"type": "bridge", "bridge": "cni0"}
LIST = {"cniVersion": "1.0.0", "name": "net", "plugins": [BRIDGE, {"type": "portmap"}]}


def types(text: str) -> list[str]:
    return [plugin["type"] for plugin in json.loads(text)["plugins"]]


def test_the_plugin_comes_last_and_only_once() -> None:
    name, text = chained("10-net.conflist", json.dumps(LIST), ENTRY)
    assert (name, types(text)) == ("10-net.conflist", ["bridge", "portmap", "isthmus-cni"])
    assert chained(name, text, ENTRY) == (name, text)
    changed = {**ENTRY, "patience": 5}
    again = json.loads(chained(name, text, changed)[1])
    assert again["plugins"][-1] == changed
    assert json.loads(unchained(name, text)) == LIST


def test_somebody_who_was_added_after_it_comes_before_it() -> None:
    text = json.dumps({**LIST, "plugins": [BRIDGE, ENTRY, {"type": "tuning"}]})
    assert types(chained("a.conflist", text, ENTRY)[1]) == ["bridge", "tuning", "isthmus-cni"]


def test_a_single_plugin_becomes_a_list_that_is_found_first() -> None:
    name, text = chained("10-net.conf", json.dumps({"cniVersion": "0.4.0", "name": "net", **BRIDGE}), ENTRY)
    assert types(text) == ["bridge", "isthmus-cni"]
    assert (json.loads(text)["cniVersion"], json.loads(text)["name"]) == ("0.4.0", "net")
    assert min([name, "10-net.conf"]) == name
    assert primary([name, "10-net.conf", "99-loopback.conf"]) == "10-net.conf"


@pytest.mark.parametrize(
    ("names", "first"), [([], ""), (["x.txt", ".y"], ""), (["20-b.conf", "10-a.conflist"], "10-a.conflist")]
)
def test_runtimes_take_the_first_by_name(names: list[str], first: str) -> None:
    assert primary(names) == first


@pytest.mark.parametrize("text", ["{", "[]", '{"plugins": {}}', '{"plugins": ["bridge"]}'])
def test_what_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(IsthmusError, match=r"10-net\.conflist"):
        chained("10-net.conflist", text, ENTRY)


def launch(script: str, directory: Path, **env: str) -> tuple[int, dict[str, Any]]:
    path = directory / "isthmus-cni"
    path.write_text(script)
    path.chmod(0o755)
    done = subprocess.run([path], env={**os.environ, **env}, input="{}", capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


def test_the_launcher_starts_the_plugin(tmp_path: Path) -> None:
    code, said = launch(direct_launcher(sys.executable), tmp_path, CNI_COMMAND="VERSION")
    assert (code, "1.0.0" in said["supportedVersions"]) == (0, True)


@pytest.mark.parametrize(("command", "code", "said"), [("ADD", 1, 11), ("STATUS", 1, 50), ("DEL", 0, None)])
def test_the_launcher_fails_closed_when_the_agents_container_is_gone(
    tmp_path: Path, command: str, code: int, said: int | None
) -> None:
    script = container_launcher(sys.executable, pid=os.getpid(), namespace="mnt:[1]")
    left, answer = launch(script, tmp_path, CNI_COMMAND=command)
    assert (left, answer.get("code")) == (code, said)
