"""An HTTP client that runs inside a pod: so many requests, at that rate, and what became of each.

    python -m isthmus_lab.apps.call URL --count 400 --rate 50 --concurrency 4 --timeout 5 -o json

`-o json` prints one document at the end, `-o jsonl` a line per request as it ends, `-o text` the bodies.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import h11

_BLOCK = 65536
_NO_ANSWER = "closed before an answer"


@dataclass(frozen=True, slots=True)
class Options:
    """What to call and how. `rate` 0: as fast as `concurrency` allows. `timeout` seconds bounds a whole request."""

    url: str
    count: int = 1
    rate: float = 0.0
    concurrency: int = 1
    timeout: float = 5.0
    keep_alive: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Result:
    """One request: when it began (seconds since the epoch), how long it took, and the answer or the error."""

    n: int
    start: float
    latency_ms: float = 0.0
    status: int = 0
    error: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def good(self) -> bool:
        """An answer below 400."""
        return not self.error and self.status < 400


class Client:
    """Connections of one worker: a new one for each request, or one kept alive."""

    def __init__(self, options: Options) -> None:
        parts = urlsplit(options.url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{options.url} is no http URL. Write http://host:port/path.")
        self._options = options
        self._host, self._port = parts.hostname, parts.port or 80
        self._authority = parts.netloc
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._machine = h11.Connection(h11.CLIENT)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self) -> tuple[int, bytes]:
        """One request; status and body. OSError, TimeoutError, h11.ProtocolError: none came."""
        try:
            async with asyncio.timeout(self._options.timeout):
                if self._streams is None:
                    self._machine = h11.Connection(h11.CLIENT)
                    self._streams = await asyncio.open_connection(self._host, self._port)
                answer = await self._exchange(*self._streams)
        except BaseException:
            self.close()
            raise
        reusable = self._machine.our_state is h11.DONE and self._machine.their_state is h11.DONE
        if self._options.keep_alive and reusable:
            self._machine.start_next_cycle()
        else:
            self.close()
        return answer

    def close(self) -> None:
        """Close the kept connection, if any."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
        # A request for a gateway names a host that is not where it is sent.
        given = {name.lower() for name, _ in self._options.headers}
        own = [("host", self._authority), ("user-agent", "isthmus-lab-call")]
        headers = [*(pair for pair in own if pair[0] not in given), *self._options.headers]
        if not self._options.keep_alive:
            headers.append(("connection", "close"))
        request = h11.Request(method="GET", target=self._target, headers=headers)
        writer.write((self._machine.send(request) or b"") + (self._machine.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        status, body = 0, b""
        while True:
            event = self._machine.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(_BLOCK)
                if not data and self._machine.their_state is h11.SEND_RESPONSE:
                    raise ConnectionResetError(_NO_ANSWER)
                self._machine.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError(_NO_ANSWER)


async def _one(client: Client, number: int) -> Result:
    result = Result(number, time.time())
    begun = time.perf_counter()
    try:
        result.status, data = await client.request()
        result.text = data.decode(errors="replace")
        with suppress(ValueError):
            body = json.loads(data)
            result.body = body if isinstance(body, dict) else {}
    except TimeoutError:
        result.error = "timeout"
    except (OSError, h11.ProtocolError) as error:
        result.error = f"{type(error).__name__}: {error}"
    result.latency_ms = round((time.perf_counter() - begun) * 1000, 2)
    return result


async def call(options: Options, on_result: Callable[[Result], None] | None = None) -> list[Result]:
    """Make all requests; results in the order they began. Only `concurrency` makes a request wait for another."""
    results: list[Result] = []
    begun = asyncio.get_running_loop().time()
    numbers = iter(range(options.count))

    async def worker() -> None:
        client = Client(options)
        loop = asyncio.get_running_loop()
        for number in numbers:
            if options.rate > 0:
                await asyncio.sleep(max(0.0, begun + number / options.rate - loop.time()))
            result = await _one(client, number)
            results.append(result)
            if on_result:
                on_result(result)
        client.close()

    await asyncio.gather(*(worker() for _ in range(max(1, min(options.concurrency, options.count)))))
    return sorted(results, key=lambda r: r.n)


def summary(results: list[Result]) -> dict[str, Any]:
    """Totals: good and failed, answers by cluster and by status, latency percentiles in milliseconds, error texts."""
    good = [r for r in results if r.good]
    times = sorted(r.latency_ms for r in good)

    def counts(values: list[str]) -> dict[str, int]:
        return {value: values.count(value) for value in sorted(set(values))}

    def percentile(share: float) -> float:
        return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0

    return {
        "count": len(results),
        "good": len(good),
        "failed": len(results) - len(good),
        "clusters": counts([str(r.body.get("cluster", "")) for r in good if r.body]),
        "statuses": counts([str(r.status) for r in results if r.status]),
        "errors": counts([r.error or f"status {r.status}" for r in results if not r.good]),
        "p50Ms": percentile(0.5),
        "p99Ms": percentile(0.99),
        "maxMs": times[-1] if times else 0.0,
    }


def _parse(arguments: list[str]) -> tuple[Options, str]:
    parser = argparse.ArgumentParser(prog="call", description="Call a URL and tell what became of each request.")
    parser.add_argument("url")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--duration", type=float, default=0, help="seconds; with --rate, instead of --count")
    parser.add_argument("--rate", type=float, default=0, help="requests per second, 0: no limit")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=5)
    parser.add_argument("--keep-alive", action="store_true", help="reuse connections")
    parser.add_argument("-H", "--header", action="append", default=[], help="'name: value', repeatable")
    parser.add_argument("-o", "--output", choices=("text", "json", "jsonl"), default="text")
    args = parser.parse_args(arguments)
    headers = [tuple(part.strip() for part in h.split(":", 1)) for h in args.header]
    if args.output != "text":
        headers.append(("accept", "application/json"))
    count = int(args.duration * args.rate) if args.duration and args.rate else args.count
    named = tuple((h[0], h[-1]) for h in headers)
    options = Options(args.url, count, args.rate, args.concurrency, args.timeout, args.keep_alive, named)
    return options, args.output


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Exit code 0 if every request was answered well, else 1."""
    options, output = _parse(arguments)

    def show(result: Result) -> None:
        if output == "jsonl":
            _say(json.dumps(asdict(result)))
        elif output == "text":
            _say(result.text.rstrip() if not result.error else f"error: {result.error}")

    results = asyncio.run(call(options, show))
    if output == "json":
        _say(json.dumps({"summary": summary(results), "calls": [asdict(r) for r in results]}))
    return 0 if all(r.good for r in results) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
