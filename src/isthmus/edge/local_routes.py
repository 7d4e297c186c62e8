"""Tells the kernel, in the network namespace of this thread, that answers to a proxy's borrowed addresses stay here."""

import errno
import os
import socket

from isthmus.install.route_messages import NETLINK_ROUTE, answers_stay_here, refusal

_PATIENCE = 5.0


def add() -> None:
    """Add the route and the rule; what is there already stays. OSError: the kernel refused one."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        sock.settimeout(_PATIENCE)
        for message in answers_stay_here():
            sock.send(message)
            number = refusal(sock.recv(4096))
            if number not in (0, errno.EEXIST):
                raise OSError(number, f"route to this machine by mark: {os.strerror(number)}")
