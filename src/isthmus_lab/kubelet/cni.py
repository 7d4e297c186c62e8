"""How a kubelet calls CNI plugins: what it reads, what it tells them, what their answers mean. Pure but for reading.

CNI 1.0 (github.com/containernetworking/cni/blob/main/SPEC.md): the first configuration of /etc/cni/net.d counts; its
plugins are run one after the other, each with the result of the one before. The plugin `lab` is the lab's own network,
which is made by the kubelet itself and is the first of the list that every node starts with.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from isthmus_lab.net import netns

Object = dict[str, Any]

VERSION = "1.0.0"
OWN_PLUGIN = "lab"
OWN_FILE = "10-lab.conflist"
INTERFACE = "eth0"
_SUFFIXES = (".conflist", ".conf", ".json")


class Network(msgspec.Struct, frozen=True):
    """A network configuration: its plugins in the order of ADD."""

    name: str
    version: str
    plugins: list[Object]

    @property
    def foreign(self) -> list[Object]:
        """The plugins that are programs."""
        return [plugin for plugin in self.plugins if plugin["type"] != OWN_PLUGIN]


class Subject(msgspec.Struct, frozen=True):
    """The pod that plugins are called for; `netns` is empty once its namespace is no more."""

    namespace: str
    name: str
    uid: str
    netns: str

    @property
    def container(self) -> str:
        """The id of its sandbox, as runtimes make them."""
        return hashlib.sha256(self.uid.encode()).hexdigest()


class Attachment(msgspec.Struct, frozen=True):
    """What one pod was attached with: by this, and not by what is configured later, it is detached.

    `done`: all plugins succeeded.
    """

    network: Network
    subject: Subject
    result: Object
    done: bool


class CniError(Exception):
    """A plugin failed, or the configuration cannot be used."""


def ensure_own(directory: Path) -> None:
    """The configuration that a node starts with; one that is there stays, with what was chained to it."""
    directory.mkdir(parents=True, exist_ok=True)
    if not any(path.suffix in _SUFFIXES for path in directory.iterdir()):
        own = {"cniVersion": VERSION, "name": "lab", "plugins": [{"type": OWN_PLUGIN}]}
        directory.joinpath(OWN_FILE).write_text(json.dumps(own, indent=2) + "\n")


def read_network(directory: Path) -> Network:
    """The first configuration by name that is one, as container runtimes choose. CniError: there is none."""
    problems = []
    for path in sorted(directory.glob("*")):
        if path.suffix in _SUFFIXES:
            try:
                return parse(path.read_bytes())
            except (OSError, CniError) as error:
                problems.append(f"{path.name}: {error}")
    raise CniError(f"no usable network configuration in /etc/cni/net.d ({'; '.join(problems) or 'it is empty'})")


def parse(document: bytes) -> Network:
    """A list of plugins, or a single plugin's configuration. CniError: it is neither."""
    try:
        found = json.loads(document)
        plugins = found.get("plugins", [found])
        for plugin in plugins:
            if "/" in plugin["type"]:
                raise CniError(f"plugin type {plugin['type']!r} is no file name")
        return Network(str(found["name"]), str(found.get("cniVersion") or VERSION), list(plugins))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CniError(f"not a network configuration: {error!r}") from error


def configuration(network: Network, plugin: Object, previous: Object | None) -> bytes:
    """What a plugin reads: its part of the configuration, and what the plugins before it made."""
    told = {**plugin, "name": network.name, "cniVersion": network.version}
    for key in ("capabilities", "prevResult"):
        told.pop(key, None)
    if previous is not None:
        told["prevResult"] = previous
    return json.dumps(told).encode()


def variables(command: str, subject: Subject, plugins: str) -> dict[str, str]:
    """The CNI_* variables of one call."""
    arguments = {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": subject.namespace,
        "K8S_POD_NAME": subject.name,
        "K8S_POD_INFRA_CONTAINER_ID": subject.container,
        "K8S_POD_UID": subject.uid,
    }
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": subject.container,
        "CNI_NETNS": netns.path(subject.netns) if subject.netns else "",
        "CNI_IFNAME": INTERFACE,
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in arguments.items()),
        "CNI_PATH": plugins,
    }


def own_result(subject: Subject, addresses: Iterable[tuple[str, int]], gateway: str) -> Object:
    """What the lab's own network says that it made."""
    ips = [{"address": f"{ip}/{prefix}", "interface": 0} for ip, prefix in addresses]
    ips[0]["gateway"] = gateway
    return {
        "cniVersion": VERSION,
        "interfaces": [{"name": INTERFACE, "sandbox": netns.path(subject.netns)}],
        "ips": ips,
        "routes": [{"dst": "0.0.0.0/0", "gw": gateway}],
        "dns": {},
    }


def outcome(command: str, plugin: str, *, code: int, stdout: bytes, stderr: bytes) -> Object | None:
    """The result that a plugin printed; None if it printed none, which only DEL and CHECK may.

    CniError: it failed; its own words are in it.
    """
    said: Object = {}
    with contextlib.suppress(ValueError):
        decoded = json.loads(stdout or b"null")
        said = decoded if isinstance(decoded, dict) else {}
    if code:
        words = "; ".join(filter(None, (said.get("msg"), said.get("details"))))
        words = words or stderr.decode(errors="replace").strip()[-500:] or f"exit code {code}"
        raise CniError(f'plugin type="{plugin}" failed ({command.lower()}): {words}')
    if command == "ADD" and "cniVersion" not in said:
        raise CniError(f'plugin type="{plugin}" failed (add): it printed no result')
    return said or None


def find_plugin(name: str, directory: str) -> str:
    """The program of a plugin. CniError: there is none in /opt/cni/bin."""
    path = os.path.join(directory, name)
    if not os.access(path, os.X_OK):
        raise CniError(f'failed to find plugin "{name}" in path [/opt/cni/bin]')
    return path
