"""The CNI plugin's question to the agent of its node: one JSON line over a Unix socket. Standard library only."""

import json
import socket
from collections.abc import Mapping
from typing import Any

_CHUNK = 65_536


def ask_agent(path: str, request: Mapping[str, Any], *, patience: float) -> dict[str, Any]:
    """The agent's answer. Raises OSError (TimeoutError after `patience` seconds) if there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(patience)
        sock.connect(path)
        sock.sendall(json.dumps(request).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            piece = sock.recv(_CHUNK)
            if not piece:
                raise ConnectionResetError("the agent closed the connection")
            line += piece
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise OSError(f"the agent's answer is not JSON: {error}") from error
    return answer if isinstance(answer, dict) else {}
