"""How ingest reads what may be broken: every wrong field is named, with what to do about it."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from isthmus.base.errors import ObjectRef, Problem, Severity
from isthmus.kube.objects import KubeObject
from isthmus.model.rows import Labels, Row, labels

Result = tuple[Sequence[Row], Sequence[Problem]]
"""Rows and problems. No rows and an error mean: refused, what was accepted before stays."""

T = TypeVar("T")

_HOST = re.compile(r"(\*|(\*\.)?[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?(\.[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?)*)", re.IGNORECASE)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)
"""The common case, ten times faster than the library that decides the others."""

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|h|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def refused(problems: Sequence[Problem]) -> bool:
    """True if one of the problems takes effect away."""
    return any(problem.severity is Severity.ERROR for problem in problems)


def is_host(text: str) -> bool:
    """True for a DNS name, `*`, or a name whose first label is `*`."""
    return len(text) <= 255 and _HOST.fullmatch(text) is not None


def is_address(text: str) -> bool:
    """True for an IPv4 or IPv6 address."""
    if _IPV4.fullmatch(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def duration(text: str) -> float | None:
    """Seconds of a Go duration such as `1m30s` or `0.5s`; None if it is none."""
    if _DURATION.sub("", text) or not text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


class Reader:
    """Reads fields of one object by path and collects what is wrong with them.

    The getters return None (or an empty value) both for an absent and for a broken field; the latter is reported.
    """

    def __init__(self, cluster: str, kind: str, obj: KubeObject) -> None:
        meta = obj.metadata
        self.where = ObjectRef(cluster, kind, meta.namespace, meta.name)
        self.problems: list[Problem] = []

    def error(self, field: str, message: str, remedy: str) -> None:
        """The field takes the object out of effect."""
        self.problems.append(Problem(self.where, field, message, remedy))

    def warn(self, field: str, message: str, remedy: str) -> None:
        """The field is set aside; the rest of the object counts."""
        self.problems.append(Problem(self.where, field, message, remedy, Severity.WARNING))

    def set_aside(self, part: Mapping[str, Any], field: str, known: Sequence[str]) -> None:
        """Fields without effect are told, so that nobody trusts in them; the rest of the object counts."""
        for name in part:
            if name not in known:
                self.warn(f"{field}.{name}", "has no effect", f"Here these have effect: {', '.join(known)}")

    def is_refused(self) -> bool:
        """True if the object must not take effect."""
        return refused(self.problems)

    def result(self, *rows: Row) -> Result:
        """The rows, unless the object is refused."""
        return ((), self.problems) if self.is_refused() else (rows, self.problems)

    def typed(self, value: Any, kind: type[T], field: str) -> T | None:
        """The value if it is of that type; a boolean is no number."""
        if value is None:
            return None
        if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
            return value
        self.error(field, f"expected {_NAMES.get(kind, kind.__name__)}, found {value!r:.60}", "Correct the type")
        return None

    def only_known(self, part: Mapping[str, Any], field: str, known: Sequence[str]) -> None:
        """For policies: a field that is not understood might restrict something, so it must not be skipped."""
        for name in part:
            if name not in known:
                self.error(
                    f"{field}.{name}", "is not known here", f"Correct or remove it; known are {', '.join(known)}"
                )

    def mapping(self, value: Any, field: str) -> dict[str, Any]:
        """An object; empty if absent."""
        return self.typed(value, dict, field) or {}

    def items(self, value: Any, field: str) -> list[Any]:
        """A list; empty if absent."""
        return self.typed(value, list, field) or []

    def text(self, value: Any, field: str) -> str:
        """A string; empty if absent."""
        return self.typed(value, str, field) or ""

    def labels(self, value: Any, field: str) -> Labels:
        """A map of strings, frozen."""
        found = self.mapping(value, field)
        for name, text in found.items():
            self.typed(text if text is not None else 0, str, f"{field}.{name}")
        return labels({name: text for name, text in found.items() if isinstance(text, str)})

    def strings(self, value: Any, field: str) -> tuple[str, ...]:
        """A list of strings."""
        found = [self.typed(item, str, f"{field}[{i}]") for i, item in enumerate(self.items(value, field))]
        return tuple(item for item in found if item is not None)

    def port(self, value: Any, field: str) -> int:
        """A port number; 0 if absent or wrong."""
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        number = self.typed(value, int, field) or 0
        if value is not None and not 1 <= number <= 65535 and isinstance(value, int):
            self.error(field, f"{number} is no port", "Use a number from 1 to 65535")
            return 0
        return number

    def natural(self, value: Any, field: str, *, most: int = 2**32 - 1) -> int | None:
        """A number from 0 to `most`."""
        number = self.typed(value, int, field)
        if number is not None and not 0 <= number <= most:
            self.error(field, f"{number} is out of range", f"Use a number from 0 to {most}")
            return None
        return number

    def number(self, value: Any, field: str, *, least: float = 0, most: float = 2**32) -> float | None:
        """A number, whole or not, from `least` to `most`."""
        number = float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        number = self.typed(number, float, field)
        if number is not None and not least <= number <= most:
            self.error(field, f"{number:g} is out of range", f"Use a number from {least:g} to {most:g}")
            return None
        return number

    def seconds(self, value: Any, field: str) -> float | None:
        """A duration such as `30s`, in seconds."""
        text = self.typed(value, str, field)
        if text is None:
            return None
        found = duration(text)
        if found is None:
            self.error(field, f"{text!r} is no duration", "Write a number with a unit, such as 30s or 1m30s")
        return found

    def choice(self, value: Any, field: str, allowed: Sequence[str]) -> str:
        """One of the words; empty if absent or wrong."""
        text = self.text(value, field)
        if text and text not in allowed:
            self.error(field, f"{text!r} is not known", f"Use one of {', '.join(allowed)}")
            return ""
        return text


_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    float: "a number",
}
