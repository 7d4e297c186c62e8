"""From bytes to typed objects; what cannot be decoded becomes a problem that names the field."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from isthmus.base.errors import ObjectRef, Problem

T = TypeVar("T")


class _Meta(msgspec.Struct, gc=False):
    name: Any = ""
    namespace: Any = ""


class _Head(msgspec.Struct, gc=False):
    metadata: _Meta


_decode_head = msgspec.json.Decoder(_Head).decode
_AT = re.compile(r" - at `(?:key in )?\$(?P<path>.*)`$")


def shape_decoder(kind: str, shape: type[T], cluster: str) -> Callable[[bytes | msgspec.Raw], T | Problem]:
    """A function that decodes an object of a kind, or says why it cannot."""
    typed = msgspec.json.Decoder(shape).decode

    def decode(raw: bytes | msgspec.Raw) -> T | Problem:
        try:
            return typed(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _problem(ObjectRef(cluster, kind, *_name(raw)), str(error))

    return decode


def _name(raw: bytes | msgspec.Raw) -> tuple[str, str]:
    try:
        meta = _decode_head(raw).metadata
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ("", "")
    return (meta.namespace if isinstance(meta.namespace, str) else "", meta.name if isinstance(meta.name, str) else "")


def _problem(where: ObjectRef, text: str) -> Problem:
    """Turn the decoder's words (``Expected `int`, got `str` - at `$.spec.ports[0].port` ``) into a problem."""
    at = _AT.search(text)
    field = at.group("path").lstrip(".") if at else ""
    message = text[: at.start()] if at else text
    path = re.sub(r"\[[^]]*\]", "", f"{where.kind.lower()}.{field}".rstrip("."))
    remedy = f"Correct it; kubectl explain {path} shows what belongs there"
    return Problem(where, field or "(object)", message[:1].lower() + message[1:], remedy)
