"""An HTTP service that tells which cluster, version and pod answered, and which client identity it was shown.

`/hello` answers in text, or in JSON to `Accept: application/json`. `/healthz` is always well, `/readyz` follows a
switch: `POST /readiness/off` and `POST /readiness/on`. `/status/<code>` answers with that code, `/delay/<ms>` after
that time. After SIGTERM it goes on serving for DRAIN_SECONDS, asking clients to close their connections, as its
endpoint is still known.
"""

import argparse
import asyncio
import json
import os
import signal
from dataclasses import asdict, dataclass, field
from typing import cast

import h11

from isthmus_lab.apps.whoami import Whoami, whoami

_BLOCK = 65536
_IDENTITY_HEADER = "x-forwarded-client-cert"


def client_identity(header: str) -> str:
    """The SPIFFE identity in x-forwarded-client-cert: the URI of its last element, the hop nearest to us."""
    for part in reversed(header.replace(",", ";").split(";")):
        key, _, value = part.partition("=")
        if key.strip().lower() == "uri":
            return value.strip('" ')
    return ""


@dataclass
class App:
    """The application's state and answers."""

    me: Whoami
    ready: bool = True
    draining: bool = False
    open_requests: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        """A request came in."""
        self.open_requests += 1
        self.idle.clear()

    def end(self) -> None:
        """A request was answered."""
        self.open_requests -= 1
        if not self.open_requests:
            self.idle.set()

    async def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str, str]:
        """Status, content type and body for one request."""
        head, _, rest = path.partition("?")[0].strip("/").partition("/")
        text = "text/plain"
        match head:
            case "hello":
                return self._hello(headers)
            case "healthz":
                return 200, text, "ok\n"
            case "readyz":
                return (200, text, "ready\n") if self.ready else (503, text, "switched off\n")
            case "readiness" if method in ("POST", "PUT") and rest in ("on", "off"):
                self.ready = rest == "on"
                return 200, text, f"readiness {rest}\n"
            case "status" if rest.isdigit() and 200 <= int(rest) <= 599:
                return int(rest), text, f"status {rest}\n"
            case "delay" if rest.isdigit():
                await asyncio.sleep(int(rest) / 1000)
                return self._hello(headers)
        return 404, text, "not found; try /hello\n"

    def _hello(self, headers: dict[str, str]) -> tuple[int, str, str]:
        if "application/json" in headers.get("accept", ""):
            shown = headers.get(_IDENTITY_HEADER, "")
            body = {**asdict(self.me), "identity": client_identity(shown), "headers": headers}
            return 200, "application/json", json.dumps(body) + "\n"
        me = self.me
        line = f"Hello version: {me.version}, instance: {me.instance}, cluster: {me.cluster}\n"
        return 200, "text/plain", line


class Connection:
    """One client connection, HTTP/1.1 with keep-alive."""

    def __init__(self, app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._app = app
        self._reader = reader
        self._writer = writer
        self._machine = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        """Answer requests until either side closes."""
        try:
            while (request := await self._request()) is not None:
                self._app.begin()
                try:
                    await self._respond(request)
                finally:
                    self._app.end()
                if self._machine.our_state is not h11.DONE or self._machine.their_state is not h11.DONE:
                    break
                self._machine.start_next_cycle()
        except (OSError, h11.ProtocolError):
            pass
        finally:
            self._writer.close()

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._machine.next_event()
            if event is h11.NEED_DATA:
                self._machine.receive_data(await self._reader.read(_BLOCK))
            else:
                return cast(h11.Event | type[h11.PAUSED], event)

    async def _request(self) -> h11.Request | None:
        request: h11.Request | None = None
        while True:
            event = await self._event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage):
                return request
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return None

    async def _respond(self, request: h11.Request) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers}
        status, kind, text = await self._app.answer(request.method.decode(), request.target.decode(), headers)
        body = text.encode()
        fields = [("content-type", kind), ("content-length", str(len(body)))]
        if self._app.draining:
            fields.append(("connection", "close"))
        send = self._machine.send
        data = send(h11.Response(status_code=status, headers=fields)) or b""
        if request.method != b"HEAD":
            data += send(h11.Data(data=body)) or b""
        self._writer.write(data + (send(h11.EndOfMessage()) or b""))
        await self._writer.drain()


async def serve(app: App, port: int, drain_seconds: float) -> None:
    """Listen on all addresses until `app.stop`, then drain."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(app, reader, writer).serve()

    server = await asyncio.start_server(connected, "0.0.0.0", port, backlog=1024)
    await app.stop.wait()
    app.draining = True
    await asyncio.sleep(drain_seconds)
    server.close()
    if app.open_requests:
        await app.idle.wait()


async def _run(port: int, drain_seconds: float) -> None:
    app = App(whoami())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop.set)
    await serve(app, port, drain_seconds)


def main(arguments: list[str]) -> int:
    """`helloworld [--port N]`; PORT and DRAIN_SECONDS of the environment are the defaults."""
    parser = argparse.ArgumentParser(prog="helloworld")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "5000")))
    parser.add_argument("--drain-seconds", type=float, default=float(os.environ.get("DRAIN_SECONDS", "2")))
    options = parser.parse_args(arguments)
    asyncio.run(_run(options.port, options.drain_seconds))
    return 0


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
