"""Regenerates `*_pb2.py` and `*_pb2.pyi` from the `.proto` files beside this file: `python -m isthmus.proto.generate`."""

import sys
from pathlib import Path


def main() -> int:
    """Run protoc (grpcio-tools, a development dependency) over every `.proto` file here; return its exit code."""
    from grpc_tools import protoc

    here = Path(__file__).resolve().parent
    source = here.parent.parent
    include = Path(protoc.__file__).parent / "_proto"
    protos = sorted(str(path.relative_to(source)) for path in here.glob("*.proto"))
    arguments = [f"-I{source}", f"-I{include}", f"--python_out={source}", f"--pyi_out={source}", *protos]
    code: int = protoc.main(["protoc", *arguments])
    return code


if __name__ == "__main__":
    sys.exit(main())
