"""As much of HTTP/2 as a tunnel needs: CONNECT out and in, on streams with flow control (RFC 9113, RFC 7541)."""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
START_WINDOW = 65_535
LARGEST = 16_384
OK, REFUSED = b"\x88", b"\x08\x03401"


def huffman(data: bytes) -> str:
    """Text of the letters that names and addresses are made of; what comes after another one is left out."""
    codes: dict[tuple[int, int], str] = {}
    code = 0
    letters = ("012aceiost", " %-./3456789=A_bdfghlmnpru", ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz", "&*,;XZ")
    for length, these in enumerate(letters, start=5):
        for letter in these:
            codes[length, code] = letter
            code += 1
        code <<= 1
    text, length, code = "", 0, 0
    for bit in f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}":
        length, code = length + 1, code << 1 | int(bit)
        if (length, code) in codes:
            text, length, code = text + codes[length, code], 0, 0
    return text


class Headers:
    """Reads header blocks of one connection; only `:authority` is of interest."""

    AUTHORITY, STATIC = 1, 61

    def __init__(self) -> None:
        self._known: list[tuple[bool, str]] = []

    def authority(self, block: bytes) -> str:
        """The value of `:authority` in a request."""
        found, place = "", 0
        while place < len(block):
            first = block[place]
            if first & 0x80:
                index, place = _integer(block, place, 7)
                mine, value = self._at(index)
            elif first & 0xE0 == 0x20:
                _, place = _integer(block, place, 5)
                continue
            else:
                index, place = _integer(block, place, 6 if first & 0x40 else 4)
                mine = self._at(index)[0] if index else False
                if not index:
                    _, place = _string(block, place)
                value, place = _string(block, place)
                if first & 0x40:
                    self._known.insert(0, (mine, value))
            found = value if mine else found
        return found

    def _at(self, index: int) -> tuple[bool, str]:
        return (index == self.AUTHORITY, "") if index <= self.STATIC else self._known[index - self.STATIC - 1]


def _integer(block: bytes, place: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value, place = block[place] & most, place + 1
    shift = 0
    while value >= most and (not shift or block[place - 1] & 0x80):
        value, shift, place = value + ((block[place] & 0x7F) << shift), shift + 7, place + 1
    return value, place


def _string(block: bytes, place: int) -> tuple[str, int]:
    packed = block[place] & 0x80
    length, place = _integer(block, place, 7)
    raw = block[place : place + length]
    return (huffman(raw) if packed else raw.decode("latin-1")), place + length


class Stream:
    """One tunnel: bytes both ways, each side ends for itself."""

    def __init__(self, connection: "Connection", number: int) -> None:
        self._connection = connection
        self.number = number
        self.window = START_WINDOW
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(self) -> bytes:
        """What came; empty at the end."""
        return await self.received.get()

    async def write(self, data: bytes) -> None:
        """Send as the other side has room for it. Raises ConnectionError."""
        while data:
            room = await self._connection.room(self)
            part, data = data[:room], data[room:]
            self._connection.take(self, len(part))
            await self._connection.send(DATA, 0, self.number, part)

    async def end(self) -> None:
        """Nothing more is sent."""
        await self._connection.send(DATA, END_STREAM, self.number)


class Connection:
    """One side of an HTTP/2 connection; `accept` is called with each tunnel that the other side asks for."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        accept: Callable[[Stream, str], Awaitable[None]] | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._accept = accept
        self._headers = Headers()
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._window = START_WINDOW
        self._start = START_WINDOW
        self._opened = asyncio.Event()
        self._closed = False

    async def connect(self, authority: str) -> Stream | None:
        """Ask for a tunnel, the only one on this connection; None if it is refused. `run` must be running."""
        stream = self._streams[1] = Stream(self, 1)
        self._writer.write(PREFACE)
        await self.send(SETTINGS)
        name = authority.encode()
        await self.send(HEADERS, END_HEADERS, 1, b"\x02\x07CONNECT\x01" + bytes((len(name),)) + name)
        return stream if await stream.answer else None

    async def run(self) -> None:
        """Read until the end."""
        try:
            if self._accept is not None:
                await self._reader.readexactly(len(PREFACE))
                await self.send(SETTINGS)
            while True:
                head = await self._reader.readexactly(9)
                length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                number = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
                await self._take(kind, flags, number, await self._reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._closed = True
            self._opened.set()
            for stream in self._streams.values():
                self._end(stream)
            self._writer.close()

    async def _take(self, kind: int, flags: int, number: int, body: bytes) -> None:
        stream = self._streams.get(number)
        if kind == SETTINGS and not flags & ACK:
            for key, value in struct.iter_unpack("!HI", body):
                if key == 4:
                    for one in self._streams.values():
                        one.window += value - self._start
                    self._start = value
            await self.send(SETTINGS, ACK)
        elif kind == PING and not flags & ACK:
            await self.send(PING, ACK, 0, body)
        elif kind == WINDOW:
            self._widen(stream if number else None, number, int.from_bytes(body, "big"))
        elif kind == HEADERS:
            await self._take_headers(flags, number, body)
        elif stream is not None and kind == DATA:
            data = body[1 : len(body) - body[0]] if flags & PADDED else body
            if body:
                for at in (0, number):
                    await self.send(WINDOW, 0, at, struct.pack("!I", len(body)))
            if data:
                stream.received.put_nowait(data)
        elif stream is not None and kind == RESET:
            self._end(stream)
        if stream is not None and kind in (DATA, HEADERS) and flags & END_STREAM:
            stream.received.put_nowait(b"")

    async def _take_headers(self, flags: int, number: int, body: bytes) -> None:
        assert flags & END_HEADERS, "headers of a tunnel fit into one frame"
        body = body[1 : len(body) - body[0]] if flags & PADDED else body
        body = body[5:] if flags & PRIORITY else body
        known = self._streams.get(number)
        if known is not None:
            if not known.answer.done():
                known.answer.set_result(OK[0] in body[:3])
            return
        authority = self._headers.authority(body)
        if self._accept is not None:
            stream = self._streams[number] = Stream(self, number)
            stream.window = self._start
            task = asyncio.create_task(self._serve(self._accept, stream, authority))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, accept: Callable[[Stream, str], Awaitable[None]], stream: Stream, authority: str) -> None:
        with contextlib.suppress(OSError):
            await accept(stream, authority)
        self._streams.pop(stream.number, None)

    async def answer(self, stream: Stream, *, good: bool) -> None:
        """Let a tunnel in, or refuse it."""
        await self.send(HEADERS, END_HEADERS | (0 if good else END_STREAM), stream.number, OK if good else REFUSED)

    def _widen(self, stream: Stream | None, number: int, by: int) -> None:
        if stream is not None:
            stream.window += by
        elif not number:
            self._window += by
        self._opened.set()

    async def room(self, stream: Stream) -> int:
        """How many bytes may be sent now, at least one. Raises ConnectionError."""
        while not self._closed:
            room = min(self._window, stream.window, LARGEST)
            if room > 0:
                return room
            self._opened.clear()
            await self._opened.wait()
        raise ConnectionError("closed")

    def take(self, stream: Stream, count: int) -> None:
        """So many bytes are sent."""
        self._window -= count
        stream.window -= count

    async def send(self, kind: int, flags: int = 0, number: int = 0, body: bytes = b"") -> None:
        """Write a frame. Raises OSError."""
        self._writer.write(len(body).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big") + body)
        await self._writer.drain()

    @staticmethod
    def _end(stream: Stream) -> None:
        if not stream.answer.done():
            stream.answer.set_result(False)
        stream.received.put_nowait(b"")

    def close(self) -> None:
        """End it."""
        self._writer.close()
