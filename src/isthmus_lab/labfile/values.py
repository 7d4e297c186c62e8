"""Values of a document, read one by one; what is wrong with them is collected."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_DOMAIN = 253
DEFAULT_POD_CIDR = "10.10.0.0/16"
TAKEN = ("127.0.0.0/8", "198.18.0.0/15", "169.254.0.0/16")
"""Ranges that the lab itself uses: loopback, WAN, link-local."""
Raw = dict[str, Any]


def words(names: Iterable[str]) -> str:
    """Names in a sentence."""
    return ", ".join(sorted(names)) or "none"


class Reader:
    """Reads values and collects what is wrong, so that one run reports all of it.

    A bad value gives a harmless good one, so that reading goes on.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []

    def say(self, where: str, field: str, message: str, remedy: str) -> None:
        """Add a problem: object, field, what is wrong, what to do."""
        self.problems.append(f"{where}: {field}: {message}; {remedy}")

    def known(self, where: str, raw: Raw, fields: set[str]) -> None:
        """No other fields than these."""
        for extra in sorted(str(k) for k in raw.keys() - fields):
            self.say(where, extra, "unknown field", f"known are {words(fields)}")

    def items(self, where: str, field: str, raw: Raw) -> list[Raw]:
        """A list of mappings with at least one entry."""
        value = raw.get(field)
        if not isinstance(value, list) or not value:
            self.say(where, field, "a list with at least one entry is needed", f"write {field}: [{{name: …}}]")
            return []
        good = [item for item in value if isinstance(item, dict)]
        if len(good) != len(value):
            self.say(where, field, "every entry must be a mapping", "write {name: …}")
        return good

    def name(self, where: str, field: str, value: object) -> str:
        """A name as Kubernetes has them, at most 32 characters."""
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            self.say(where, field, f"{value!r} is not a name", "use at most 32 of a-z, 0-9 and '-', no '-' at the ends")
            return ""
        return value

    def domain(self, where: str, field: str, value: object, default: str) -> str:
        """A name as DNS has them."""
        if not isinstance(value, str) or len(value) > _LONGEST_DOMAIN or not _DOMAIN.fullmatch(value):
            self.say(where, field, f"{value!r} is not a domain", f"write a DNS name such as {default}")
            return default
        return value

    def hosts(self, where: str, field: str, value: object) -> tuple[str, ...]:
        """A list of host names, or `*.<name>` for all below one."""
        found = value if isinstance(value, list) else [value]
        for item in found:
            if not isinstance(item, str) or not _DOMAIN.fullmatch(item.removeprefix("*.")):
                self.say(where, field, f"{item!r} is not a host", "write a list such as [web.shop.svc.cluster.local]")
        return tuple(item for item in found if isinstance(item, str))

    def one_of(self, where: str, field: str, value: object, known: Iterable[str], *, kind: str) -> str:
        """One of the known names of that kind."""
        if not isinstance(value, str) or value not in set(known):
            self.say(where, field, f"{value!r} is not a {kind}", f"use one of {words(known)}")
            return ""
        return value

    def names_of(self, where: str, field: str, value: object, known: Iterable[str]) -> tuple[str, ...]:
        """A list of known names, each at most once."""
        remedy = f"write a list of {words(known)}"
        if not isinstance(value, list):
            self.say(where, field, f"{value!r} is not a list", remedy)
            return ()
        good = [item for item in value if isinstance(item, str) and item in set(known)]
        for item in value:
            if item not in good:
                self.say(where, field, f"{item!r} is unknown", remedy)
        for double in sorted({name for name in good if good.count(name) > 1}):
            self.say(where, field, f"{double!r} appears more than once", "name it once")
        return tuple(dict.fromkeys(good))

    def number(self, where: str, field: str, value: object, bounds: tuple[int, int]) -> int:
        """A whole number within bounds, both included."""
        low, high = bounds
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.say(where, field, f"{value!r} is not between {low} and {high}", "write a number")
            return low
        return value

    def flag(self, where: str, field: str, *, value: object) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            self.say(where, field, f"{value!r} is neither true nor false", f"write {field}: true")
            return False
        return value

    def unique(self, where: str, field: str, names: list[str]) -> None:
        """No name twice."""
        for name in sorted({n for n in names if n and names.count(n) > 1}):
            self.say(where, field, f"{name!r} appears more than once", "give each its own name")

    def cidr(self, where: str, field: str, value: object, longest: int) -> str:
        """An IPv4 range with at least as many addresses as `/longest`, outside of what the lab itself uses."""
        try:
            net = ipaddress.IPv4Network(value)
        except (ValueError, TypeError) as error:
            self.say(where, field, f"{value!r} is not an IPv4 range ({error})", f"write {DEFAULT_POD_CIDR}")
            return DEFAULT_POD_CIDR
        if net.prefixlen > longest:
            self.say(where, field, f"{net} is too small", f"use /{longest} or larger")
        for taken in TAKEN:
            if net.overlaps(ipaddress.IPv4Network(taken)):
                self.say(where, field, f"{net} overlaps {taken}", "that range is taken by loopback, WAN or link-local")
        return str(net)
