"""Images stand for commands."""

import sys

import pytest

from isthmus.install.capture_rules import PROXY_MARK
from isthmus_lab.kubelet import images


@pytest.mark.parametrize(
    "name",
    ["isthmus/sleep", "isthmus/sleep:v1", "docker.io/isthmus/sleep", "localhost:5000/isthmus/sleep:1@sha256:00"],
)
def test_registry_tag_and_digest_do_not_matter(name: str) -> None:
    assert images.find(name).argv == ("sleep",)


def test_an_unknown_image_names_the_known_ones() -> None:
    with pytest.raises(images.UnknownImageError, match=r"no command stands for image 'nginx:1'.*isthmus/helloworld"):
        images.find("nginx:1")


@pytest.mark.parametrize(
    ("image", "command", "arguments", "expected"),
    [
        ("isthmus/sleep", [], [], (["sleep"], "isthmus_lab.apps.sleep:main")),
        ("isthmus/sleep", [], ["infinity"], (["sleep", "infinity"], "isthmus_lab.apps.sleep:main")),
        ("isthmus/sleep", ["/bin/sh", "-c"], ["true"], (["/bin/sh", "-c", "true"], None)),
        ("isthmus/pilot", [], [], ([sys.executable, "-m", "isthmus.cli.main", "serve"], None)),
        ("isthmus/pilot", [], ["serve", "--x"], ([sys.executable, "-m", "isthmus.cli.main", "serve", "--x"], None)),
    ],
)
def test_command_and_args_as_kubernetes_combines_them(
    image: str, command: list[str], arguments: list[str], expected: tuple[list[str], str | None]
) -> None:
    assert images.command_line(images.find(image), command, arguments) == expected


def test_proxies_are_known() -> None:
    assert images.is_proxy("isthmus/proxy:v1")
    assert not images.is_proxy("isthmus/pilot")


def test_control_planes_of_the_lab_make_proxies_mark_their_connections_however_they_are_installed() -> None:
    """Capture goes by the user on Kubernetes; in the lab all processes have the same one, and unmarked calls loop."""
    assert dict(images.find("registry.example/isthmus/pilot:1.0").environment) == {"PROXY_MARK": str(PROXY_MARK)}
    assert images.find("isthmus/sleep").environment == ()
