"""/etc/resolv.conf: whom a pod asks, and in which order a name is completed (resolv.conf(5))."""

from dataclasses import dataclass

DEFAULT_NDOTS = 1
MOST_SERVERS = 3


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """Name servers in order, search domains, and how many dots make a name complete at first."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = DEFAULT_NDOTS

    def candidates(self, name: str) -> tuple[str, ...]:
        """Full names to ask for, in order, without final dots."""
        if name.endswith("."):
            return (name.rstrip("."),)
        expanded = tuple(f"{name}.{domain}" for domain in self.search)
        return (name, *expanded) if name.count(".") >= self.ndots else (*expanded, name)


def parse_resolv_conf(text: str) -> ResolvConf:
    """Read the file's text; what it does not know it leaves out, as libc does."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    ndots = DEFAULT_NDOTS
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values:
            servers.append(values[0])
        elif keyword in ("search", "domain"):
            search = tuple(domain.rstrip(".") for domain in values)
        elif keyword == "options":
            given = [value.removeprefix("ndots:") for value in values if value.startswith("ndots:")]
            ndots = next((int(number) for number in given if number.isdigit()), ndots)
    return ResolvConf(tuple(servers[:MOST_SERVERS]), search, ndots)
