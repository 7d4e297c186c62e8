"""The plugin in a node's directories: put there, kept there, taken out."""

import json
from pathlib import Path
from typing import Any

import pytest
import structlog

from isthmus.base.errors import IsthmusError
from isthmus.edge.cni_installer import CniInstaller
from isthmus.install.cni_conf import plugin_entry

LIST = {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge"}]}
ENTRY = plugin_entry(socket="/s", excluded=[], patience=60)


def installer(directory: Path) -> CniInstaller:
    return CniInstaller(net_dir=directory / "net.d", bin_dir=directory / "bin", entry=ENTRY, log=structlog.get_logger())


def plugins(path: Path) -> list[str]:
    return [plugin["type"] for plugin in json.loads(path.read_text())["plugins"]]


def write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document))


def test_it_is_put_there_once_and_again_when_the_list_is_written_anew(tmp_path: Path) -> None:
    made = installer(tmp_path)
    made.write_launcher()
    with pytest.raises(IsthmusError, match="no CNI configuration"):
        made.ensure()
    conf = tmp_path / "net.d" / "10-net.conflist"
    write(conf, LIST)
    assert made.ensure()
    assert plugins(conf) == ["bridge", "isthmus-cni"]
    assert not made.ensure()
    write(conf, LIST)
    assert made.ensure()
    assert (tmp_path / "bin" / "isthmus-cni").stat().st_mode & 0o777 == 0o755
    made.remove()
    assert json.loads(conf.read_text()) == LIST
    assert list((tmp_path / "bin").iterdir()) == []


def test_a_list_that_stood_in_for_a_single_plugin_goes_when_there_is_a_real_one(tmp_path: Path) -> None:
    made = installer(tmp_path)
    made.write_launcher()
    net_dir = tmp_path / "net.d"
    write(net_dir / "10-net.conf", {"cniVersion": "1.0.0", "name": "net", "type": "bridge"})
    assert made.ensure()
    first = min(path.name for path in net_dir.iterdir())
    assert plugins(net_dir / first) == ["bridge", "isthmus-cni"]
    (net_dir / "10-net.conf").unlink()
    write(net_dir / "10-net.conflist", LIST)
    assert made.ensure()
    assert [path.name for path in net_dir.iterdir()] == ["10-net.conflist"]
    write(net_dir / "05-net.conf", {"cniVersion": "1.0.0", "name": "net", "type": "bridge"})
    assert made.ensure()
    made.remove()
    assert sorted(path.name for path in net_dir.iterdir()) == ["05-net.conf", "10-net.conflist"]
    assert json.loads((net_dir / "10-net.conflist").read_text()) == LIST
