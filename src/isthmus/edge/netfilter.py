"""Sends nftables transactions to the kernel, in the network namespace of this process."""

import socket
from collections.abc import Sequence

from isthmus.install import conntrack
from isthmus.install.netfilter import NETLINK_NETFILTER, acknowledged, transaction

_PATIENCE = 5.0
_ROOM = 65_536
_ACKNOWLEDGEMENT = 1024


def commit(messages: Sequence[bytes]) -> None:
    """Apply the messages as one transaction. OSError: the kernel refused it as a whole."""
    data = transaction(messages)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(data) + _ROOM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, len(messages) * _ACKNOWLEDGEMENT + _ROOM)
        sock.bind((0, 0))
        sock.settimeout(_PATIENCE)
        sock.send(data)
        seen = 0
        while seen < len(messages):
            seen += acknowledged(sock.recv(1 << 20), len(messages))


def forget_udp(port: int, *, answered: bool) -> int:
    """Have the kernel take what goes to that UDP port for new, whatever it followed before; how many were forgotten.

    `answered`: but for what is translated and waits for an answer. OSError: the kernel refused.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as sock:
        sock.bind((0, 0))
        sock.settimeout(_PATIENCE)
        sock.send(conntrack.LIST)
        known = b""
        while not conntrack.is_last(part := sock.recv(1 << 20)):
            known += part
        messages = conntrack.forget(known + part, port, answered=answered)
        for message in messages:
            sock.send(message)
            sock.recv(_ACKNOWLEDGEMENT)  # also that it has gone by itself
        return len(messages)
