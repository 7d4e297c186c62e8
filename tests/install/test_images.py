"""The Dockerfile makes the images that manifests name, from pinned packages, and runs what the manifests pass."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from isthmus.install.manifests import control_plane, east_west_gateway, node_proxy
from isthmus.install.node import NodeValues
from isthmus.install.values import ControlPlaneValues, GatewayValues, Images, MeshValues

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def entrypoint(target: str) -> list[str]:
    """The command that an image starts with."""
    stage = DOCKERFILE.split(f"FROM base AS {target}\n")[1].split("\nFROM ")[0]
    found = re.search(r"^ENTRYPOINT \[(.*)\]$", stage, re.MULTILINE)
    assert found is not None
    return [word.strip().strip('"') for word in found.group(1).split(",")]


def containers() -> dict[str, list[str]]:
    """The image of each container that is installed, and its arguments."""
    mesh = MeshValues(cluster="east", network="n")
    objects = [
        *control_plane(ControlPlaneValues(mesh=mesh, crds=False)),
        *east_west_gateway(GatewayValues(mesh=mesh)),
        *node_proxy(NodeValues(mesh=mesh)),
    ]
    pods = [item["spec"]["template"]["spec"] for item in objects if item["kind"] in ("Deployment", "DaemonSet")]
    return {one["image"]: one["args"] for pod in pods for one in pod["containers"]}


def test_every_image_of_the_manifests_is_a_target() -> None:
    images = Images()
    names = {image.partition("/")[2] for image in (images.pilot, images.proxy, images.node, images.init)}
    assert names == set(re.findall(r"^FROM base AS (\w+)$", DOCKERFILE, re.MULTILINE))


@pytest.mark.parametrize("image", sorted(containers()))
def test_an_image_knows_the_arguments_it_is_given(image: str) -> None:
    command = [*entrypoint(image.partition("/")[2]), *containers()[image][:2], "--help"]
    program = str(Path(sys.executable).parent / command[0])
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_init_image_knows_the_arguments_it_is_given() -> None:
    command = [sys.executable, *entrypoint("init")[1:], "istio-iptables", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_images_hold_what_was_tested() -> None:
    tested = dict(PIN.findall((ROOT / "requirements.lock").read_text()))
    held = dict(PIN.findall((ROOT / "requirements-run.lock").read_text()))
    assert held.items() <= tested.items()
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split(r"[<>=]", one)[0] for one in wanted} <= held.keys()


def test_everything_that_is_copied_exists_and_is_let_through() -> None:
    let = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists()
            assert name in let
