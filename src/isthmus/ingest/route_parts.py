"""What rules for requests and rules for connections have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.base.names import service_hostname
from isthmus.ingest import exports
from isthmus.ingest.finding import Reader, is_address, is_host
from isthmus.ingest.patterns import format_fault, is_header_name, regex_fault
from isthmus.ingest.place import Place
from isthmus.model.routing import MESH, NO_HEADERS, Client, Destination, Headers, MatchKind, StringMatch, Weighted
from isthmus.model.rows import Labels

_HEADERS = ("set", "add", "remove")
AUTHORITY = (":authority", "host")


@dataclass(frozen=True, slots=True)
class Parts:
    """Reads parts of one VirtualService. `namespace` is where names without dots belong."""

    read: Reader
    place: Place
    namespace: str

    def export_to(self, value: Any, field: str) -> tuple[str, ...]:
        """Namespaces that see the object (TE1), `.` and `~` as written."""
        found = self.read.strings(value, field)
        for i, to in exports.unknown(found):
            self.read.error(f"{field}[{i}]", f"{to!r} is no namespace", "Write a namespace, *, . or ~")
        return found

    def gateways(self, value: Any, field: str) -> tuple[str, ...]:
        """`mesh`, or gateways as `<namespace>/<name>`."""
        found = []
        for i, name in enumerate(self.read.strings(value, field)):
            namespace, slash, bare = name.rpartition("/")
            if name == MESH:
                found.append(MESH)
            elif not bare or "/" in namespace or (slash and not namespace):
                self.read.error(f"{field}[{i}]", f"{name!r} names no gateway", "Write <namespace>/<name> or mesh")
            elif not slash and "." in bare:  # gateway.namespace.svc.cluster.local, the older way
                bare, namespace, *_ = bare.split(".")
                found.append(f"{namespace}/{bare}")
            else:
                found.append(f"{self.namespace if namespace in ('', '.') else namespace}/{bare}")
        return tuple(dict.fromkeys(found))

    def client(self, match: Mapping[str, Any], field: str) -> Client:
        """Which clients a match is for."""
        return Client(
            gateways=self.gateways(match.get("gateways"), f"{field}.gateways"),
            source_labels=self.read.labels(match.get("sourceLabels"), f"{field}.sourceLabels"),
            source_namespace=self.read.text(match.get("sourceNamespace"), f"{field}.sourceNamespace"),
            port=self.read.port(match.get("port"), f"{field}.port"),
        )

    def destination(self, value: Any, field: str) -> Destination:
        """A host in full with port and subset."""
        part = self.read.mapping(value, field)
        self.read.set_aside(part, field, ("host", "subset", "port"))
        host = self.read.text(part.get("host"), f"{field}.host")
        if not host:
            self.read.error(f"{field}.host", "is missing", "Name the service, such as reviews.prod.svc.cluster.local")
        elif not (is_host(host) or is_address(host)) or "*" in host:
            self.read.error(f"{field}.host", f"{host!r} is no host name", "Write the DNS name of one service")
        if "." not in host and ":" not in host:
            host = service_hostname(host, self.namespace, self.place.domain)
        port = self.read.mapping(part.get("port"), f"{field}.port")
        if port and "number" not in port:
            self.read.error(f"{field}.port.number", "is missing", "Give the number of the service's port")
        return Destination(
            host=host.lower(),
            subset=self.read.text(part.get("subset"), f"{field}.subset"),
            port=self.read.port(port.get("number"), f"{field}.port.number"),
        )

    def destinations(self, value: Any, field: str) -> tuple[Weighted, ...]:
        """Destinations with their weights; a single one has all, whatever its weight."""
        items = self.read.items(value, field)
        found = []
        for i, item in enumerate(items):
            at = f"{field}[{i}]"
            part = self.read.mapping(item, at)
            self.read.set_aside(part, at, ("destination", "weight", "headers"))
            weight = self.read.natural(part.get("weight"), f"{at}.weight", most=2**31 - 1)
            found.append(
                Weighted(
                    destination=self.destination(part.get("destination"), f"{at}.destination"),
                    weight=1 if len(items) == 1 else weight or 0,
                    headers=self.headers(part.get("headers"), f"{at}.headers"),
                )
            )
        if found and not self.read.is_refused():
            total = sum(one.weight for one in found)
            if total == 0:
                self.read.error(field, "the weights are 0 together", "Give each destination a weight")
            elif total > 2**32 - 1:
                self.read.error(field, "the weights are too great together", "Use weights that make 100")
        return tuple(found)

    def headers(self, value: Any, field: str) -> Headers:
        """Changes to headers of requests and responses."""
        if value is None:
            return NO_HEADERS
        part = self.read.mapping(value, field)
        self.read.set_aside(part, field, ("request", "response"))
        request = self.read.mapping(part.get("request"), f"{field}.request")
        response = self.read.mapping(part.get("response"), f"{field}.response")
        self.read.set_aside(request, f"{field}.request", _HEADERS)
        self.read.set_aside(response, f"{field}.response", _HEADERS)
        return Headers(
            request_set=self._changes(request.get("set"), f"{field}.request.set", authority=True),
            request_add=self._changes(request.get("add"), f"{field}.request.add"),
            request_remove=self._removals(request.get("remove"), f"{field}.request.remove"),
            response_set=self._changes(response.get("set"), f"{field}.response.set"),
            response_add=self._changes(response.get("add"), f"{field}.response.add"),
            response_remove=self._removals(response.get("remove"), f"{field}.response.remove"),
        )

    def _changes(self, value: Any, field: str, *, authority: bool = False) -> Labels:
        found = self.read.labels(value, field)
        for name, text in found:
            if not (authority and name.lower() in AUTHORITY):
                self._header_name(name, field)
            if fault := format_fault(text):
                self.read.error(f"{field}.{name}", fault, "Double a % that stands for itself")
        return found

    def _removals(self, value: Any, field: str) -> tuple[str, ...]:
        found = self.read.strings(value, field)
        for name in found:
            self._header_name(name, field)
        return found

    def _header_name(self, name: str, field: str) -> None:
        if not is_header_name(name) or name.lower() == "host":
            self.read.error(f"{field}.{name}", "is no header that can be changed here", "Use another header")

    def text_match(self, value: Any, field: str, *, presence: bool = False) -> StringMatch | None:
        """exact, prefix or regex; with `presence` an empty object means: there is one."""
        if value is None:
            return StringMatch(MatchKind.PRESENT) if presence else None
        part = self.read.mapping(value, field)
        known = [kind for kind in ("exact", "prefix", "regex") if kind in part]
        self.read.set_aside(part, field, ("exact", "prefix", "regex"))
        if len(known) > 1 or (not known and (part or not presence)):
            self.read.error(field, f"has {len(known)} of exact, prefix, regex", "Use one of them")
            return None
        if not known:
            return StringMatch(MatchKind.PRESENT)
        kind = MatchKind(known[0])
        text = self.read.text(part[kind], f"{field}.{kind}")
        if kind is MatchKind.REGEX and (fault := regex_fault(text)):
            self.read.error(f"{field}.regex", fault, "Write it as RE2: github.com/google/re2/wiki/Syntax")
        if kind is not MatchKind.EXACT and not text:
            self.read.error(f"{field}.{kind}", "is empty", "Write what to compare with, or leave the match out")
        return StringMatch(kind, text)
