"""Does a plain TCP connection open? Goes around the pod's proxy: its sockets bear the proxy's mark.

python -m isthmus_lab.apps.reach HOST PORT [HOST PORT …]   ->   one JSON object per pair, all tried at once
"""

import asyncio
import json
import socket
import sys

from isthmus.install.capture_rules import PROXY_MARK

_SO_MARK = 36
_SECONDS = 2.0


async def attempt(host: str, port: int) -> dict[str, object]:
    """`outcome` is connected, refused, timed out or unreachable."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    outcome = "connected"
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, PROXY_MARK)
        async with asyncio.timeout(_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except TimeoutError:
        outcome = "timed out"
    except ConnectionRefusedError:
        outcome = "refused"
    except OSError as error:
        outcome = f"unreachable ({error.strerror})"
    finally:
        sock.close()
    return {"host": host, "port": port, "outcome": outcome}


async def _all(pairs: list[tuple[str, int]]) -> list[dict[str, object]]:
    return await asyncio.gather(*(attempt(host, port) for host, port in pairs))


def main(arguments: list[str]) -> int:
    """Exit code 0 whatever the outcomes."""
    hosts, ports = arguments[::2], arguments[1::2]
    found = asyncio.run(_all([(h, int(p)) for h, p in zip(hosts, ports, strict=True)]))
    sys.stdout.write("".join(json.dumps(item) + "\n" for item in found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
