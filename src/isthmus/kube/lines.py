"""What an API server answers to list and watch, taken apart without decoding the objects themselves."""

import msgspec


class ProtocolError(Exception):
    """The server sent something that is no answer to list or watch."""


class _Version(msgspec.Struct, gc=False, rename="camel"):
    resource_version: str = ""


class _Head(msgspec.Struct, gc=False):
    metadata: _Version


class _PageMeta(msgspec.Struct, gc=False, rename="camel"):
    resource_version: str = ""
    continued: str | None = msgspec.field(name="continue", default=None)


class _Page(msgspec.Struct, gc=False):
    metadata: _PageMeta
    items: list[msgspec.Raw] | None = None


class _Line(msgspec.Struct, gc=False):
    type: str
    object: msgspec.Raw


class _Details(msgspec.Struct, gc=False, rename="camel"):
    retry_after_seconds: int = 0


class Status(msgspec.Struct, gc=False):
    """metav1.Status: why a request failed."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None


class Page(msgspec.Struct, gc=False):
    """One page of a list: objects as they came, the token of the next page (empty: last), the list's version."""

    items: list[msgspec.Raw]
    continued: str
    version: str


class Line(msgspec.Struct, gc=False):
    """One line of a watch: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, with the object as it came."""

    type: str
    object: msgspec.Raw
    version: str = ""


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_line = msgspec.json.Decoder(_Line).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_status = msgspec.json.Decoder(Status).decode


def decode_page(body: bytes) -> Page:
    """Take a page of a list apart. Raises ProtocolError."""
    try:
        page = _decode_page(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"the answer to list is no list: {error}") from error
    return Page(items=page.items or [], continued=page.metadata.continued or "", version=page.metadata.resource_version)


def decode_line(line: bytes) -> Line:
    """Take a line of a watch apart. Raises ProtocolError."""
    try:
        read = _decode_line(line)
        version = "" if read.type == "ERROR" else _decode_head(read.object).metadata.resource_version
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"a line of the watch is no event: {error}") from error
    return Line(type=read.type, object=read.object, version=version)


def decode_status(body: bytes | msgspec.Raw) -> Status:
    """The status in an error answer; if the body is something else, its beginning is the message."""
    try:
        return _decode_status(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Status(message=bytes(body)[:200].decode("utf-8", "replace").strip())
