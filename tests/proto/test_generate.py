"""The generated messages are those of the .proto files."""

import subprocess
import sys
from pathlib import Path

import pytest

import isthmus.proto

HERE = Path(next(iter(isthmus.proto.__path__)))
PROTOS = sorted(HERE.glob("*.proto"))


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: str(path.name))
def test_generated_code_is_up_to_date(proto: Path, tmp_path: Path) -> None:
    source = HERE.parent.parent
    name = str(proto.relative_to(source))
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"-I{source}",
        f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}",
    ]
    subprocess.run([*command, name], check=True, cwd=source)
    for suffix in ("_pb2.py", "_pb2.pyi"):
        generated = tmp_path / name.replace(".proto", suffix)
        assert generated.read_text() == proto.with_name(proto.stem + suffix).read_text(), "run make proto"
