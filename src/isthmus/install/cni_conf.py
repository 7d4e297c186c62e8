"""How a node's container runtime is told of the plugin isthmus-cni: entries of network configurations, and a launcher.

The plugin is chained: it comes last in the list of the plugins that make a pod's network, whoever wrote that list.
"""

import json
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from isthmus.base.errors import IsthmusError

Json = dict[str, Any]

PLUGIN = "isthmus-cni"
OWN_PREFIX = "00-isthmus-"
"""Of a list that stands in for a configuration of a single plugin: it comes before the other's file."""

SUFFIXES = (".conf", ".conflist", ".json")


def plugin_entry(*, socket: str, excluded: Iterable[str], patience: float) -> Json:
    """The plugin's entry; `patience` are the seconds that a pod may wait to be captured."""
    return {"type": PLUGIN, "socket": socket, "excludeNamespaces": sorted(excluded), "patience": patience}


def primary(names: Iterable[str]) -> str:
    """The file that runtimes take: the first by name. Empty if there is none."""
    fitting = sorted(name for name in names if PurePath(name).suffix in SUFFIXES)
    foreign = [name for name in fitting if not name.startswith(OWN_PREFIX)]
    return foreign[0] if foreign else ""


def chained(name: str, text: str, entry: Json) -> tuple[str, str]:
    """(file name, text) of the list with the plugin as its last: the same file, or for a single plugin one before it.

    Raises IsthmusError for a configuration that cannot be read.
    """
    found = _parse(name, text)
    if "plugins" in found:
        others = [plugin for plugin in found["plugins"] if plugin.get("type") != PLUGIN]
        return name, _render({**found, "plugins": [*others, entry]})
    whole: Json = {key: found[key] for key in ("cniVersion", "name") if key in found}
    return f"{OWN_PREFIX}{PurePath(name).stem}.conflist", _render({**whole, "plugins": [found, entry]})


def unchained(name: str, text: str) -> str:
    """The text of a list without the plugin. Raises IsthmusError."""
    found = _parse(name, text)
    if "plugins" not in found:
        return text
    others = [plugin for plugin in found["plugins"] if plugin.get("type") != PLUGIN]
    return text if len(others) == len(found["plugins"]) else _render({**found, "plugins": others})


def _parse(name: str, text: str) -> Json:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise IsthmusError(f"CNI configuration {name} is not JSON: {error}", "Correct it, or remove it") from None
    plugins = found.get("plugins", []) if isinstance(found, dict) else None
    if not isinstance(plugins, list) or not all(isinstance(plugin, dict) for plugin in plugins):
        raise IsthmusError(f"CNI configuration {name} is no list of plugins", "Correct it, or remove it")
    return dict(found)


def _render(document: Json) -> str:
    return json.dumps(document, indent=2) + "\n"


def direct_launcher(python: str) -> str:
    """The plugin as a program of this machine: where the agent runs in the runtime's own file system."""
    return f"#!/bin/sh\n{_ABOUT}exec {python} -m isthmus.cli.cni\n"


def container_launcher(python: str, *, pid: int, namespace: str) -> str:
    """The plugin as a program that runs in the file system of the agent's container, whose files a node has not.

    `pid` is the agent's on the node, `namespace` names its mount namespace (`mnt:[…]`), so that no other process that
    came to that number is taken for it.
    """
    return f"""#!/bin/sh
{_ABOUT}if [ "$(readlink /proc/{pid}/ns/mnt)" = "{namespace}" ]; then
  exec nsenter --mount=/proc/{pid}/ns/mnt -- {python} -m isthmus.cli.cni
fi
if [ "$CNI_COMMAND" = DEL ] || [ "$CNI_COMMAND" = GC ]; then exit 0; fi
code=11; if [ "$CNI_COMMAND" = STATUS ]; then code=50; fi
printf '{{"cniVersion":"1.0.0","code":%d,"msg":"{_MISSING}","details":"{_WHERE}"}}' $code
exit 1
"""


_ABOUT = f"# {PLUGIN}, written by the agent of the node proxy each time it starts.\n"
_MISSING = "the mesh agent of this node is not running"
_WHERE = "See the pod of the DaemonSet isthmus-node on this node"
