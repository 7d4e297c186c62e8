"""What the kubelet's tests share."""

import socket

import pytest


@pytest.fixture
def unused_tcp_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
