"""Node proxies and tunnels with real Envoys, in network namespaces."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.envoy.tunnel_scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]


@pytest.mark.lab
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_tunnels(scenario: str) -> None:
    command = [sys.executable, "-m", "tests.envoy.tunnel_scenarios", scenario]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
