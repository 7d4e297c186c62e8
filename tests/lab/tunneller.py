"""Run inside a lab pod: what does somebody meet who opens tunnels by hand? Takes and prints a list of JSON objects.

python tunneller.py '[{"host": "10.10.1.7", "port": 15008, "certificate": "/a.pem", "layers": [{"authority": …}, …]}]'

Each layer is mutual TLS with `certificate` (PEM: certificate, chain and key; without one, none is shown), HTTP/2, and a
CONNECT for `authority` with `headers`; the next layer is inside of it. At the end `path` is asked for by HTTP/1.1.
The server is never verified: this is the other side of what is tested.
"""

import json
import socket
import ssl
import sys
from typing import Any, Protocol

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING = 0, 1, 3, 4, 6
ACK, END_STREAM, END_HEADERS = 1, 1, 4
STREAM = 1
PATIENCE = 5.0
"""Seconds that an answer may take, if `patience` says nothing else."""

INDEXED_STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
"""RFC 7541, appendix A."""

DIGITS = {"00000": "0", "00001": "1", "00010": "2"} | {f"{0b011001 + i:06b}": str(3 + i) for i in range(7)}
"""RFC 7541, appendix B."""


class RefusedError(Exception):
    """How the other side said no."""


class Transport(Protocol):
    """Bytes there and back; nothing is received once the other side has ended."""

    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes: ...


class Wire:
    """A TCP connection."""

    def __init__(self, host: str, port: int, patience: float) -> None:
        self._socket = socket.create_connection((host, port), timeout=patience)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> bytes:
        return self._socket.recv(65_536)


class Tls:
    """TLS on top of something else."""

    def __init__(self, below: Transport, certificate: str, alpn: list[str], name: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(alpn)
        if certificate:
            context.load_cert_chain(certificate)
        self._below = below
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_hostname=name or None)
        while True:
            try:
                self._object.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._more()
        self._flush()

    def _flush(self) -> None:
        if self._out.pending:
            self._below.send(self._out.read())

    def _more(self) -> None:
        self._flush()
        data = self._below.receive()
        self._in.write(data) if data else self._in.write_eof()

    def send(self, data: bytes) -> None:
        self._object.write(data)
        self._flush()

    def receive(self) -> bytes:
        while True:
            try:
                return self._object.read(65_536)
            except ssl.SSLWantReadError:
                self._more()
            except ssl.SSLEOFError:
                return b""


class Connect:
    """One CONNECT over HTTP/2, and the bytes inside it."""

    def __init__(self, below: Transport, authority: str, headers: dict[str, str]) -> None:
        self._below, self._buffer = below, b""
        self.heard = False
        """The server spoke HTTP/2: TLS is done, on both sides."""
        fields = {":method": "CONNECT", ":authority": authority, **headers}
        block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields.items())
        self._below.send(PREFACE + _frame(SETTINGS, 0, 0, b"") + _frame(HEADERS, END_HEADERS, STREAM, block))
        self.status = 0

    def answered(self) -> int:
        """The status of the CONNECT. Raises RefusedError if none comes."""
        while not self.status:
            kind, _, payload = self._next()
            if kind == HEADERS:
                self.status = _status(payload)
            elif kind == RESET:
                raise RefusedError("reset")
        return self.status

    def send(self, data: bytes) -> None:
        self._below.send(_frame(DATA, 0, STREAM, data))

    def receive(self) -> bytes:
        while True:
            kind, flags, payload = self._next()
            if kind == DATA and (payload or flags & END_STREAM):
                return payload
            if kind == RESET or (kind == HEADERS and flags & END_STREAM):
                return b""

    def _next(self) -> tuple[int, int, bytes]:
        while len(self._buffer) < 9 or len(self._buffer) < 9 + int.from_bytes(self._buffer[:3]):
            data = self._below.receive()
            if not data:
                raise RefusedError("closed")
            self._buffer += data
        size, kind, flags = int.from_bytes(self._buffer[:3]), self._buffer[3], self._buffer[4]
        payload, self._buffer = self._buffer[9 : 9 + size], self._buffer[9 + size :]
        self.heard = True
        if kind in (SETTINGS, PING) and not flags & ACK:
            self._below.send(_frame(kind, ACK, 0, payload if kind == PING else b""))
        return kind, flags, payload


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _text(text: str) -> bytes:
    encoded = text.encode()
    assert len(encoded) < 127
    return bytes((len(encoded),)) + encoded


def _status(block: bytes) -> int:
    """The status, which comes first, after at most a change of the table's size."""
    while block[0] & 0xE0 == 0x20:
        block = block[1:]
    if block[0] & 0x80:
        return INDEXED_STATUS[block[0] & 0x7F]
    size, value = block[1] & 0x7F, block[2:]
    if not block[1] & 0x80:
        return int(value[:size])
    bits, found, code = "".join(f"{byte:08b}" for byte in value[:size]), "", ""
    for bit in bits:
        code += bit
        if code in DIGITS:
            found, code = found + DIGITS[code], ""
    return int(found)


def asked(below: Transport, path: str, host: str) -> dict[str, Any]:
    """A request and the begin of its answer."""
    below.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = below.receive()
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/"):
        return {"outcome": "closed", "detail": answer.decode(errors="replace")}
    return {"outcome": "answered", "status": int(head.split()[1]), "body": body.decode(errors="replace")}


def through(wanted: dict[str, Any]) -> dict[str, Any]:
    """Everything, layer by layer; what is met names the layer (0 is the outermost). One without authority is TLS alone:
    whether the server took the certificate shows in whether it answers."""
    below: Transport = Wire(wanted["host"], wanted["port"], wanted.get("patience", PATIENCE))
    for depth, layer in enumerate(wanted["layers"]):
        inside: Connect | None = None
        try:
            certificate = layer.get("certificate", wanted.get("certificate", ""))
            below = Tls(below, certificate, layer.get("alpn", ["h2"]), layer.get("name", ""))
            if "authority" not in layer:
                return asked(below, wanted["path"], wanted.get("name", "hello-world.app"))
            inside = Connect(below, layer["authority"], layer.get("headers", {}))
            status = inside.answered()
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError, RefusedError) as error:
            met = "closed" if inside is not None and inside.heard else "no handshake"
            return {"outcome": met, "layer": depth, "detail": str(error)}
        if status != 200:
            return {"outcome": "refused", "layer": depth, "status": status}
        below = inside
    if not wanted.get("path"):
        return {"outcome": "open"}
    return asked(below, wanted["path"], wanted.get("name", "hello-world.app"))


def met(wanted: dict[str, Any]) -> dict[str, Any]:
    """What comes of one of them."""
    try:
        return through(wanted)
    except TimeoutError:
        return {"outcome": "timed out"}
    except ConnectionRefusedError:
        return {"outcome": "nobody listens"}
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError, RefusedError) as error:
        return {"outcome": "closed", "detail": str(error)}
    except OSError as error:
        return {"outcome": "unreachable", "detail": str(error)}


def main() -> None:
    """Do them all and print what was met."""
    sys.stdout.write(json.dumps([met(one) for one in json.loads(sys.argv[1])]) + "\n")


if __name__ == "__main__":
    main()
