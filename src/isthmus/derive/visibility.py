"""Who sees an object of another namespace: exportTo (TE1). Namespaces count by name, whatever the cluster."""

from collections.abc import Iterable

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
