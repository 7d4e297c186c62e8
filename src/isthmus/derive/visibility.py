"""Who sees an object of another namespace: exportTo (TE1). Namespaces count by name, whatever the cluster."""

from collections.abc import Iterable

from isthmus.model.scopes import Egress

PUBLIC = "*"
PRIVATE = "."
NOBODY = "~"


def exported(export_to: Iterable[str], owner: str, client: str) -> bool:
    """True if clients in namespace `client` see an object of namespace `owner`. No list is everybody.

    An empty `client` is a client of no namespace in particular: it sees what everybody sees.
    """
    words = tuple(export_to)
    if not words or PUBLIC in words:
        return True
    return bool(client) and (client in words or (PRIVATE in words and client == owner))


def is_public(export_to: Iterable[str]) -> bool:
    """True if everybody sees it."""
    return exported(export_to, "", "")


def covers(pattern: str, host: str) -> bool:
    """True if every name that `host` means is one that `pattern` means; both may begin with `*`."""
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]) and host != pattern[1:])


def narrower(one: str, other: str) -> str:
    """The names that both mean, as one name; empty if there are none."""
    if covers(other, one):
        return one
    return other if covers(one, other) else ""


def overlap(one: str, other: str) -> bool:
    """True if there is a name that both mean."""
    return bool(narrower(one, other))


def egress(hosts: Iterable[str], namespace: str) -> Egress:
    """What a Sidecar's `<namespace>/<host>` let through for a proxy of a namespace, `.` being that one (TE3)."""
    found = []
    for text in hosts:
        place, _, name = text.rpartition("/")
        place = namespace if place == "." else place or "*"
        if NOBODY not in (place, name):
            found.append((place, name.lower()))
    return Egress(tuple(dict.fromkeys(found)))
