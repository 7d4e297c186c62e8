"""The same rows give the same bytes in every process: a control plane that restarts finds its proxies up to date."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
from tests.envoy.test_acceptance import MIXED, world
from tests.graph.world import router, sleep
from isthmus.xds.resource import CDS, EDS, LDS, NDS, RDS

mesh = world()
for proxy in (sleep().sidecar(network="net-east"), MIXED.sidecar(network="net-east"), router("east", "net-east")):
    mesh.connect(proxy)
    for kind in (CDS, EDS, LDS, NDS, RDS):
        for name, one in sorted(mesh.resources(proxy.id, kind).items()):
            print(proxy.id, kind, name, one.version)
"""


def versions(seed: str) -> list[str]:
    """What a process of its own makes, with another order of sets."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
    )
    return done.stdout.splitlines()


def test_versions_do_not_depend_on_the_process() -> None:
    first, second = versions("1"), versions("2")
    assert len(first) > 50
    assert first == second
