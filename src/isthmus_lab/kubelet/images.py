"""What an image name stands for: the lab has no containers, so an image is a command of this installation."""

import os
import sys
from dataclasses import dataclass

from isthmus.install.capture_rules import PROXY_MARK

PROXY_IMAGE = "isthmus/proxy"


@dataclass(frozen=True, slots=True)
class Image:
    """`entry` is a Python function that runs in a fork of the runtime; without it `argv` is executed.

    `default` are the arguments when the container names none, `environment` is what an image may say of that itself.
    """

    argv: tuple[str, ...]
    entry: str | None = None
    default: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


class UnknownImageError(Exception):
    """No command for this image name; `message` tells what to use, as shown in the container's waiting state."""

    def __init__(self, image: str) -> None:
        self.message = f"no command stands for image {image!r} in this lab. Use one of: {', '.join(sorted(IMAGES))}"
        super().__init__(self.message)


_ISTHMUS = (sys.executable, "-m", "isthmus.cli.main")

IMAGES: dict[str, Image] = {
    "isthmus/helloworld": Image(("helloworld",), "isthmus_lab.apps.helloworld:main"),
    "isthmus/sleep": Image(("sleep",), "isthmus_lab.apps.sleep:main"),
    "isthmus/tcp-echo": Image(("tcp-echo",), "isthmus_lab.apps.tcp_echo:main"),
    "isthmus/init": Image(("isthmus-lab-init",), "isthmus_lab.init:main"),
    # Processes of the lab all have one user, by which capture cannot tell proxies: these mark their connections.
    "isthmus/pilot": Image(_ISTHMUS, default=("serve",), environment=(("PROXY_MARK", str(PROXY_MARK)),)),
    "isthmus/node": Image((*_ISTHMUS, "agent", "ambient")),
    PROXY_IMAGE: Image(_ISTHMUS, default=("agent",)),
}


def short_name(image: str) -> str:
    """The name without registry, tag and digest: `docker.io/isthmus/sleep:v1` is `isthmus/sleep`."""
    name = image.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    name = head + slash + tail.partition(":")[0]
    return "/".join(name.split("/")[-2:])


def find(image: str) -> Image:
    """The command behind an image. UnknownImageError: none."""
    try:
        return IMAGES[short_name(image)]
    except KeyError:
        raise UnknownImageError(image) from None


def is_proxy(image: str) -> bool:
    """True for the image whose containers the node's agent runs."""
    return short_name(image) == PROXY_IMAGE


def command_line(image: Image, command: list[str], arguments: list[str]) -> tuple[list[str], str | None]:
    """The argv and entry of a container, as Kubernetes combines image, `command` and `args`."""
    if command:
        return [*command, *arguments], None
    return [*image.argv, *(arguments or image.default)], image.entry


def base_environment() -> dict[str, str]:
    """What every process finds in its environment beside what its pod asks for."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    return {"PATH": path, "HOME": "/", "LANG": "C.UTF-8", "TMPDIR": "/run/tmp", "PYTHONUNBUFFERED": "1"}
