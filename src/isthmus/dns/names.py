"""The name table of the mesh, and how a proxy's queries are looked up in it (DN6–DN8)."""

from collections.abc import Iterable
from dataclasses import dataclass

KUBERNETES = "Kubernetes"
"""Registry whose hosts answer to short forms."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the table: lower case, without the final dot. A name that starts with `*.` is a wildcard."""

    name: str
    v4: tuple[str, ...] = ()
    v6: tuple[str, ...] = ()
    short: str = ""
    """`<shortname>.<namespace>` of a Kubernetes service, else empty."""


def make_host(name: str, ips: Iterable[str], *, registry: str = "", shortname: str = "", namespace: str = "") -> Host:
    """A host from one entry of the table as it is sent (semantics §2.4)."""
    addresses = tuple(dict.fromkeys(ips))
    short = f"{shortname}.{namespace}".lower() if registry == KUBERNETES and shortname and namespace else ""
    return Host(
        name=name.lower().rstrip("."),
        v4=tuple(address for address in addresses if ":" not in address),
        v6=tuple(address for address in addresses if ":" in address),
        short=short,
    )


@dataclass(frozen=True, slots=True)
class Found:
    """A host that answers a query; `name` owns its addresses: not the queried one if a CNAME leads there."""

    host: Host
    name: str


class NameTable:
    """The hosts by name. Short forms are tried at lookup, not stored: proxies of all namespaces may share a table."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._hosts = {host.name: host for host in hosts}

    def __len__(self) -> int:
        return len(self._hosts)

    def host(self, name: str) -> Host | None:
        """The host of exactly that name."""
        return self._hosts.get(name)

    def wildcard(self, name: str) -> Host | None:
        """The wildcard with the longest suffix that covers the name."""
        _, dot, rest = name.partition(".")
        while dot:
            found = self._hosts.get(f"*.{rest}")
            if found is not None:
                return found
            _, dot, rest = rest.partition(".")
        return None


@dataclass(frozen=True, slots=True)
class View:
    """Who asks: short forms depend on the proxy's namespace and on its domain, such as `svc.cluster.local`."""

    namespace: str
    domain: str

    @property
    def search(self) -> str:
        """The first search domain of the pod."""
        return f"{self.namespace}.{self.domain}"

    def lookup(self, table: NameTable, name: str) -> Found | None:
        """The host for a queried name, lower case without the final dot; None if the mesh does not know it.

        A resolver with search domains asks for `b.c.<search>` first when an application says `b.c`: that gets the
        answer for `b.c` at once, behind a CNAME (DN8).
        """
        host = self._exact(table, name)
        if host is not None:
            return Found(host, name)
        stripped = name.removesuffix(f".{self.search}")
        if stripped != name:
            host = self._exact(table, stripped) or table.wildcard(stripped)
            if host is not None:
                return Found(host, stripped)
        host = table.wildcard(name)
        return Found(host, name) if host is not None else None

    def _exact(self, table: NameTable, name: str) -> Host | None:
        """The host of that full name, or of a short form of it (DN7)."""
        host = table.host(name)
        if host is not None:
            return host
        for short, full in self._expansions(name):
            host = table.host(full)
            if host is not None and host.short == short:
                return host
        return None

    def _expansions(self, name: str) -> Iterable[tuple[str, str]]:
        """(shortname.namespace, full name) that a short form may stand for, only in the proxy's own domain."""
        service = self.domain.partition(".")[0]
        if name.endswith(f".{service}"):
            short = name.removesuffix(f".{service}")
            yield short, f"{short}.{self.domain}"
        yield name, f"{name}.{self.domain}"
        own = f"{name}.{self.namespace}"
        yield own, f"{own}.{self.domain}"
