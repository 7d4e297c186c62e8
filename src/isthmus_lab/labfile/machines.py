"""Machines of a lab.yaml."""

import shlex
from collections.abc import Sequence

from isthmus_lab.labfile.values import Raw, Reader
from isthmus_lab.world import MACHINES, Cluster, Machine, Network

MOST_PER_NETWORK = 14
_FIELDS = {"name", "network", "cluster", "group", "run", "wan", "hosts", "env"}


def read_machines(
    reader: Reader, raw: Raw, networks: Sequence[Network], clusters: Sequence[Cluster]
) -> tuple[Machine, ...]:
    """The optional section `machines`."""
    if "machines" not in raw:
        return ()
    names = {network.name for network in networks}
    found = tuple(
        _machine(reader, index, item, names, clusters)
        for index, item in enumerate(reader.items("lab", "machines", raw))
    )
    reader.unique("lab", "machines", [machine.name for machine in found])
    if any(cluster.name == MACHINES for cluster in clusters):
        reader.say("lab", "clusters", f"{MACHINES!r} is how commands name machines", "call the cluster otherwise")
    for network in sorted(names):
        count = sum(machine.network == network for machine in found)
        if count > MOST_PER_NETWORK:
            reader.say(f"network {network}", "machines", f"{count} machines", f"room for {MOST_PER_NETWORK}")
    return found


def _machine(reader: Reader, index: int, raw: Raw, networks: set[str], clusters: Sequence[Cluster]) -> Machine:
    where = f"machine {raw.get('name', index)}"
    reader.known(where, raw, _FIELDS)
    group, cluster = str(raw.get("group", "")), raw.get("cluster", "")
    if group and len(group.split("/")) != 2:
        reader.say(where, "group", f"{group!r} names no WorkloadGroup", "write <namespace>/<name>")
    if group or cluster:
        served = [one.name for one in clusters if one.sources]
        cluster = reader.one_of(where, "cluster", cluster, served, kind="cluster with a control plane")
        if any(one.name == cluster and not one.gateway for one in clusters):
            message = f"cluster {cluster} has no gateway, through which machines reach its control plane"
            reader.say(where, "cluster", message, "write gateway: true for it")
    return Machine(
        name=reader.name(where, "name", raw.get("name")),
        network=reader.one_of(where, "network", raw.get("network"), networks, kind="network"),
        cluster=str(cluster),
        group=group,
        run=_commands(reader, where, raw.get("run", [])),
        wan=reader.flag(where, "wan", value=raw.get("wan", False)),
        hosts=_hosts(reader, where, raw.get("hosts", [])),
        env=_env(reader, where, raw.get("env", {})),
    )


def _commands(reader: Reader, where: str, raw: object) -> tuple[tuple[str, ...], ...]:
    remedy = "write run: [helloworld --port 8080]"
    if not isinstance(raw, list):
        reader.say(where, "run", f"{raw!r} is not a list of commands", remedy)
        return ()
    found = []
    for item in raw:
        try:
            words = tuple(shlex.split(item)) if isinstance(item, str) else ()
        except ValueError:
            words = ()
        if words:
            found.append(words)
        else:
            reader.say(where, "run", f"{item!r} is no command", remedy)
    reader.unique(where, "run", [words[0] for words in found])
    return tuple(found)


def _hosts(reader: Reader, where: str, raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list):
        reader.say(where, "hosts", f"{raw!r} is not a list of names", "write hosts: [legacy.example.com]")
        return ()
    return tuple(reader.domain(where, "hosts", item, "legacy.example.com") for item in raw)


def _env(reader: Reader, where: str, raw: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(raw, dict):
        reader.say(where, "env", f"{raw!r} is not a mapping", "write env: {SERVICE_VERSION: vm}")
        return ()
    return tuple(sorted((str(key), str(value)) for key, value in raw.items()))
