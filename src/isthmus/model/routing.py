"""Rows of routing: what VirtualServices say, as ingest understood it. Durations are in seconds, host names in full."""

from enum import StrEnum
from typing import ClassVar

import msgspec

from isthmus.model.rows import Labels, Row

HTTP_ROUTE, GRPC_ROUTE = "http-route", "grpc-route"
"""`VirtualService.kind` of what routes of the Gateway API say."""

MESH = "mesh"
"""The word for all sidecars where a list of gateways is expected."""


class MatchKind(StrEnum):
    """How a text is compared; PRESENT asks only that there is one."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"
    PRESENT = "present"


class StringMatch(msgspec.Struct, frozen=True, gc=False):
    """A comparison of a text. A regular expression is RE2 and must match the whole text."""

    kind: MatchKind
    value: str = ""


NamedMatch = tuple[str, StringMatch]
"""(header or query parameter, comparison)."""


class Client(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which clients a match is for: at which gateways (none: those of the VirtualService), and of which sidecars.

    `port` is the port that the client calls, 0 for any.
    """

    gateways: tuple[str, ...] = ()
    source_labels: Labels = ()
    source_namespace: str = ""
    port: int = 0


class HttpMatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Conditions that must all hold for a request."""

    client: Client = Client()
    uri: StringMatch | None = None
    ignore_uri_case: bool = False
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: tuple[NamedMatch, ...] = ()
    without_headers: tuple[NamedMatch, ...] = ()
    query_params: tuple[NamedMatch, ...] = ()
    name: str = ""


class Destination(msgspec.Struct, frozen=True, gc=False, order=True):
    """Where requests go. Port 0: the only port of the service, else the one that the client called."""

    host: str
    subset: str = ""
    port: int = 0


class Headers(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is done to headers: replaced (or added), added to, removed."""

    request_set: Labels = ()
    request_add: Labels = ()
    request_remove: tuple[str, ...] = ()
    response_set: Labels = ()
    response_add: Labels = ()
    response_remove: tuple[str, ...] = ()


NO_HEADERS = Headers()


class Weighted(msgspec.Struct, frozen=True, gc=False):
    """A destination with its share among its siblings."""

    destination: Destination
    weight: int = 0
    headers: Headers = NO_HEADERS


class Retries(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How often to try again (0: never), and when; `retry_on` empty is the mesh's default."""

    attempts: int
    per_try_timeout: float | None = None
    retry_on: str = ""
    remote_localities: bool = False


class Redirect(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An answer that sends the client elsewhere. `port` 0 leaves the port, `default_port` takes that of the scheme."""

    uri: str = ""
    authority: str = ""
    port: int = 0
    default_port: bool = False
    scheme: str = ""
    code: int = 301


class DirectResponse(msgspec.Struct, frozen=True, gc=False):
    """An answer that no workload gives."""

    status: int
    body: bytes = b""


class Rewrite(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the request says before it goes on. `regex` with `substitution` instead of `uri`."""

    uri: str = ""
    authority: str = ""
    regex: str = ""
    substitution: str = ""


class Fault(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Faults on purpose: a share (percent) of requests is delayed, a share answered with an error."""

    delay: float = 0
    delay_percent: float = 0
    abort_status: int = 0
    abort_grpc: int | None = None
    abort_percent: float = 0


class Mirror(msgspec.Struct, frozen=True, gc=False):
    """A copy of a share (percent) of requests; its answers are thrown away."""

    destination: Destination
    percent: float = 100


class Cors(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Cross-origin requests of browsers. `max_age` None and `credentials` None say nothing."""

    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: float | None = None
    credentials: bool | None = None


class HttpRoute(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One rule: any of `matches` (none: every request), and what happens then. Redirect and answer exclude routing."""

    name: str = ""
    matches: tuple[HttpMatch, ...] = ()
    destinations: tuple[Weighted, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    rewrite: Rewrite | None = None
    timeout: float | None = None
    retries: Retries | None = None
    fault: Fault | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    headers: Headers = NO_HEADERS


class StreamMatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Conditions for a connection; `sni_hosts` for TLS only, `subnets` of the address it was meant for."""

    client: Client = Client()
    sni_hosts: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()


class StreamRoute(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One rule for connections: any of `matches` (none: every one), and where they go."""

    matches: tuple[StreamMatch, ...] = ()
    destinations: tuple[Weighted, ...] = ()


class Sidecar(Row, frozen=True, kw_only=True, gc=False):
    """What some proxies of a namespace know of. `egress` are `<namespace>/<host>` as written, None for everything.

    `allow_any` None is the mesh's word on destinations that nobody knows.
    """

    TABLE: ClassVar[str] = "sidecars"
    selector: Labels = ()
    egress: tuple[str, ...] | None = None
    allow_any: bool | None = None
    created: str = ""


class VirtualService(Row, frozen=True, kw_only=True, gc=False):
    """How clients of some hosts are routed. `gateways` are `mesh` or `<namespace>/<name>`; never empty.

    `kind` is what the object is called that says so: a route of the Gateway API is one, too. Where several of these
    are joined, `ranks` says of each of `http` where it goes, the lowest first. Empty: they stand as written.
    """

    TABLE: ClassVar[str] = "virtual_services"
    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = (MESH,)
    http: tuple[HttpRoute, ...] = ()
    ranks: tuple[tuple[int, ...], ...] = ()
    tls: tuple[StreamRoute, ...] = ()
    tcp: tuple[StreamRoute, ...] = ()
    export_to: tuple[str, ...] = ()
    created: str = ""
    kind: str = "virtual-service"

    @property
    def joins(self) -> bool:
        """True for routes of the Gateway API: all of them for a host count."""
        return self.kind in (HTTP_ROUTE, GRPC_ROUTE)
