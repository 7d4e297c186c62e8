"""The engine alone, without a network: what a change costs, and how that grows with services, endpoints and proxies.

    python -m benchmarks.engine --quick

Sidecars are connected and subscribed as Envoys are (clusters and listeners by wildcard, endpoints and routes by
name), spread over namespaces. Times are of `Mesh.apply` and of encoding, in one process, garbage collector frozen
after loading as the control plane does.
"""

import argparse
import gc
import resource as limits
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.world import NAMESPACE, World
from isthmus.graph.mesh import Mesh, MeshSettings
from isthmus.model.rows import Proxy, labels
from isthmus.tables.changes import Change
from isthmus.xds.resource import CDS, EDS, LDS, NDS, RDS

ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Setting:
    """One world to measure."""

    services: int
    endpoints: int
    proxies: int
    subscribed: int
    namespaces: int = 10


@dataclass(slots=True)
class Result:
    """What was measured; milliseconds unless the name says otherwise."""

    setting: Setting
    load: float = 0.0
    first_proxy: float = 0.0
    other_proxies: float = 0.0
    per_proxy_kb: float = 0.0
    per_endpoint_bytes: float = 0.0
    endpoint: list[float] = field(default_factory=list)
    recomputed: int = 0
    service: list[float] = field(default_factory=list)
    detail: list[float] = field(default_factory=list)


def resident() -> int:
    """Bytes of this process in memory now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * limits.getpagesize()


def sidecar(number: int, namespaces: int) -> Proxy:
    """One sidecar; every tenth is of another workload."""
    return Proxy(
        cluster="c0",
        namespace=NAMESPACE if number % namespaces == 0 else f"ns-{number % namespaces}",
        name=f"client-{number}",
        network="n0",
        addresses=(f"10.200.{number >> 8}.{number & 255}",),
        labels=labels({"app": f"client-{number % 10}"}),
    )


def follow(mesh: Mesh, proxy: Proxy, *, subscribe: bool) -> None:
    """Connect a sidecar and ask for what Envoy asks for, reading all of it as a session does."""
    mesh.connect(proxy)
    if not subscribe:
        return
    for type_url in (CDS, LDS, NDS):
        mesh.subscribe(proxy.id, type_url, ["*"])
        mesh.resources(proxy.id, type_url)
    names = [name for name in mesh.resources(proxy.id, CDS) if name.startswith("outbound|")]
    mesh.subscribe(proxy.id, EDS, names)
    mesh.subscribe(proxy.id, RDS, ["80"])
    for name in names:
        mesh.resource(proxy.id, EDS, name)
    mesh.resource(proxy.id, RDS, "80")


def timed(rounds: int, mesh: Mesh, change: Callable[[], list[Change]]) -> list[float]:
    """Milliseconds of each of some changes, with reading what became dirty once for everybody."""
    found = []
    for _ in range(rounds):
        changes = change()
        begin = time.perf_counter()
        dirty = mesh.apply(changes)
        for proxy_id, types in list(dirty.items())[:1]:
            for type_url, names in types.items():
                for name in names:
                    mesh.resource(proxy_id, type_url, name)
        found.append((time.perf_counter() - begin) * 1000)
    return found


def measure(setting: Setting, rounds: int = ROUNDS) -> Result:
    """Everything about one world."""
    gc.unfreeze()
    gc.collect()
    result = Result(setting)
    world = World(services=setting.services, endpoints=setting.endpoints)
    mesh = Mesh(MeshSettings(config_cluster="c0"))
    everything = world.everything()
    empty = resident()
    begin = time.perf_counter()
    mesh.apply(everything)
    result.load = (time.perf_counter() - begin) * 1000
    begin = time.perf_counter()
    follow(mesh, sidecar(0, setting.namespaces), subscribe=True)
    result.first_proxy = (time.perf_counter() - begin) * 1000
    result.per_endpoint_bytes = (resident() - empty) / (setting.services * setting.endpoints)
    gc.collect()
    gc.freeze()
    alone = resident()
    begin = time.perf_counter()
    for number in range(1, setting.proxies):
        follow(mesh, sidecar(number, setting.namespaces), subscribe=number < setting.subscribed)
    result.other_proxies = (time.perf_counter() - begin) * 1000
    result.per_proxy_kb = (resident() - alone) / max(1, setting.proxies - 1) / 1024
    gc.collect()
    gc.freeze()
    result.endpoint = timed(rounds, mesh, world.change_endpoint)
    result.recomputed = len(mesh.recomputed)
    result.detail = timed(rounds, mesh, world.change_metadata)
    result.service = timed(max(3, rounds // 10), mesh, world.add_service)
    return result


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


HEADER = (
    "| services | endpoints each | proxies | subscribed | load ms | first proxy ms | other proxy ms | KB per proxy "
    "| endpoint change ms p50 / p99 | rows recomputed | pod detail ms p50 | service added ms p50 / max |"
)


def line(result: Result) -> str:
    """One row of the table."""
    setting = result.setting
    others = result.other_proxies / max(1, setting.proxies - 1)
    return (
        f"| {setting.services} | {setting.endpoints} | {setting.proxies} | {setting.subscribed} | {result.load:.0f} "
        f"| {result.first_proxy:.0f} | {others:.2f} | {result.per_proxy_kb:.1f} "
        f"| {percentile(result.endpoint, 0.5):.2f} / {percentile(result.endpoint, 0.99):.2f} | {result.recomputed} "
        f"| {percentile(result.detail, 0.5):.3f} "
        f"| {percentile(result.service, 0.5):.1f} / {max(result.service):.1f} |"
    )


FULL = (
    Setting(100, 10, 100, 100),
    Setting(1000, 10, 100, 100),
    Setting(3000, 10, 100, 100),
    Setting(100, 100, 100, 100),
    Setting(100, 1000, 100, 100),
    Setting(1000, 10, 1000, 50),
    Setting(1000, 10, 1000, 1000),
)
QUICK = FULL[:2]


def run(arguments: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the small worlds")
    options = parser.parse_args(arguments)
    print(HEADER)  # noqa: T201
    print("|" + "---|" * (HEADER.count("|") - 1))  # noqa: T201
    for setting in QUICK if options.quick else FULL:
        print(line(measure(setting)), flush=True)  # noqa: T201


if __name__ == "__main__":
    import sys

    run(sys.argv[1:])
