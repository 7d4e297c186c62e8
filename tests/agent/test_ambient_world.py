"""The agent of a node's proxy with real network namespaces, packet rules, a real Envoy and the CNI plugin."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.lab
@pytest.mark.parametrize("scenario", ["enrol", "start", "restart", "removal"])
def test_node_proxy(scenario: str) -> None:
    command = [sys.executable, "-m", "tests.agent.ambient_world", scenario]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.lab
def test_shared_ztunnel() -> None:
    command = [sys.executable, "-m", "tests.agent.ztunnel_world"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.lab
@pytest.mark.parametrize("scenario", ["open", "around", "annotations"])
def test_open_connections_and_ways_around(scenario: str) -> None:
    command = [sys.executable, "-m", "tests.agent.ambient_open", scenario]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.lab
def test_an_agent_and_an_envoy_that_are_killed() -> None:
    command = [sys.executable, "-m", "tests.agent.ambient_killed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
