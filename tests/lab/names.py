"""Run inside a lab pod: what do names mean to it? Prints one JSON object: name -> its addresses, and who answered.

python names.py COUNT PORT NAME…      COUNT calls of each name; one that is an address is called as it is
"""

import asyncio
import json
import socket
import sys
from collections import Counter
from typing import Any

from isthmus_lab.apps.call import Options, Result, call

JSON = (("accept", "application/json"),)


def addresses(name: str) -> list[str]:
    """What the pod's resolver says; nothing if it does not know the name."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    return sorted({str(one[4][0]) for one in found})


async def calls(url: str, count: int) -> list[Result]:
    """All of them if the first is answered: nobody who is silent is waited for often."""
    first = await call(Options(url, 1, timeout=2, headers=JSON))
    if not first[0].good:
        return first
    return first + await call(Options(url, count - 1, concurrency=4, timeout=2, headers=JSON))


async def meaning(name: str, port: int, count: int) -> dict[str, Any]:
    """The addresses of a name, answers by `cluster/pod`, and how many calls got none."""
    known = addresses(name)
    results = await calls(f"http://{name}:{port}/hello", count) if known else []
    answers = Counter(f"{one.body['cluster']}/{one.body['instance']}" for one in results if one.good)
    return {"addresses": known, "answers": answers, "failures": len(results) - answers.total()}


async def main() -> None:
    """Ask for each name and call it."""
    count, port, *names = sys.argv[1:]
    found = {name: await meaning(name, int(port), int(count)) for name in names}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
