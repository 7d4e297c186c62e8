"""The agent as a program, in namespaces and with the real ports: of a node, and of one container."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.lab
@pytest.mark.parametrize("scenario", ["node", "container"])
def test_program(scenario: str) -> None:
    command = [sys.executable, "-m", "tests.agent.namespaces", scenario]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
