"""nftables rules of the lab: encoded by `isthmus.install.netfilter`, sent in the calling thread's network namespace."""

import socket
from collections.abc import Sequence

from isthmus.install.netfilter import *  # noqa: F403 - the vocabulary of rules
from isthmus.install.netfilter import NETLINK_NETFILTER, acknowledged, transaction


def commit(messages: Sequence[bytes]) -> None:
    """Apply the messages as one transaction. NftError: refused as a whole."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as sock:
        data = transaction(messages)
        for option, size in ((socket.SO_SNDBUF, len(data) + 65536), (socket.SO_RCVBUF, len(messages) * 1024 + 65536)):
            sock.setsockopt(socket.SOL_SOCKET, option, size)
        sock.bind((0, 0))
        sock.settimeout(5)
        sock.send(data)
        seen = 0
        while seen < len(messages):
            seen += acknowledged(sock.recv(1 << 20), len(messages))
