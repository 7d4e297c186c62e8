"""The rules of a VirtualService for HTTP requests."""

import binascii
from collections.abc import Mapping
from typing import Any

from isthmus.ingest.patterns import is_header_name, line_fault, regex_fault
from isthmus.ingest.route_parts import Parts
from isthmus.model.routing import (
    Cors,
    DirectResponse,
    Fault,
    HttpMatch,
    HttpRoute,
    MatchKind,
    Mirror,
    NamedMatch,
    Redirect,
    Retries,
    Rewrite,
    StringMatch,
)

_ROUTE = (
    "name", "match", "route", "redirect", "directResponse", "rewrite", "timeout", "retries", "fault", "mirror",
    "mirrorPercentage", "mirrorPercent", "mirror_percent", "mirrors", "corsPolicy", "headers", "delegate",
)  # fmt: skip
_MATCH = (
    "name", "uri", "ignoreUriCase", "scheme", "method", "authority", "headers", "withoutHeaders", "queryParams",
    "port", "sourceLabels", "sourceNamespace", "gateways",
)  # fmt: skip
_LONGEST_NAME = 1024
"""Bytes in the name of a query parameter that Envoy takes."""
_RETRIES = ("attempts", "perTryTimeout", "retryOn", "retryRemoteLocalities")
_CORS = (
    "allowOrigin", "allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge", "allowCredentials",
)  # fmt: skip
_REDIRECT = ("uri", "authority", "port", "derivePort", "scheme", "redirectCode")
_REDIRECT_CODES = (301, 302, 303, 307, 308)
_RETRY_ON = frozenset((
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
    "refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure", "cancelled",
    "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
))  # fmt: skip
_GRPC_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


def http_routes(parts: Parts, value: Any) -> tuple[HttpRoute, ...]:
    """All rules, in order."""
    items = parts.read.items(value, "spec.http")
    return tuple(_route(parts, item, f"spec.http[{i}]") for i, item in enumerate(items))


def _route(parts: Parts, value: Any, field: str) -> HttpRoute:
    read = parts.read
    route = read.mapping(value, field)
    read.set_aside(route, field, _ROUTE)
    _one_outcome(parts, route, field)
    matches = tuple(
        _match(parts, m, f"{field}.match[{i}]") for i, m in enumerate(read.items(route.get("match"), f"{field}.match"))
    )
    return HttpRoute(
        name=read.text(route.get("name"), f"{field}.name"),
        matches=matches,
        destinations=parts.destinations(route.get("route"), f"{field}.route"),
        redirect=_redirect(parts, route.get("redirect"), f"{field}.redirect"),
        direct_response=_answer(parts, route.get("directResponse"), f"{field}.directResponse"),
        rewrite=_rewrite(parts, route.get("rewrite"), f"{field}.rewrite"),
        timeout=read.seconds(route.get("timeout"), f"{field}.timeout"),
        retries=_retries(parts, route.get("retries"), f"{field}.retries"),
        fault=_fault(parts, route.get("fault"), f"{field}.fault"),
        mirrors=_mirrors(parts, route, field),
        cors=_cors(parts, route.get("corsPolicy"), f"{field}.corsPolicy"),
        headers=parts.headers(route.get("headers"), f"{field}.headers"),
    )


def _one_outcome(parts: Parts, route: Mapping[str, Any], field: str) -> None:
    """A request goes somewhere, or is answered: one of the two."""
    if route.get("delegate"):
        remedy = "Write the routes of the delegate into this object"
        parts.read.error(f"{field}.delegate", "is not supported", remedy)
        return
    outcomes = [name for name in ("route", "redirect", "directResponse") if route.get(name)]
    if len(outcomes) != 1 and not parts.read.is_refused():
        found = " and ".join(outcomes) or "none"
        parts.read.error(field, f"needs one of route, redirect, directResponse and has {found}", "Keep one of them")
    for name in ("rewrite", "mirror", "mirrors", "retries", "timeout") if outcomes != ["route"] else ():
        if route.get(name):
            parts.read.warn(f"{field}.{name}", "has no effect where nothing is routed", "Remove it")


def _match(parts: Parts, value: Any, field: str) -> HttpMatch:
    read = parts.read
    match = read.mapping(value, field)
    read.set_aside(match, field, _MATCH)
    return HttpMatch(
        client=parts.client(match, field),
        uri=parts.text_match(match.get("uri"), f"{field}.uri"),
        ignore_uri_case=bool(read.typed(match.get("ignoreUriCase"), bool, f"{field}.ignoreUriCase")),
        scheme=parts.text_match(match.get("scheme"), f"{field}.scheme"),
        method=parts.text_match(match.get("method"), f"{field}.method"),
        authority=parts.text_match(match.get("authority"), f"{field}.authority"),
        headers=_named(parts, match.get("headers"), f"{field}.headers", header=True),
        without_headers=_named(parts, match.get("withoutHeaders"), f"{field}.withoutHeaders", header=True),
        query_params=_named(parts, match.get("queryParams"), f"{field}.queryParams", header=False),
        name=read.text(match.get("name"), f"{field}.name"),
    )


def _named(parts: Parts, value: Any, field: str, *, header: bool) -> tuple[NamedMatch, ...]:
    found = []
    for name, item in sorted(parts.read.mapping(value, field).items()):
        if header and not is_header_name(name.removeprefix(":")):
            remedy = "Routing by claims needs a token that was checked here; use another header"
            parts.read.error(f"{field}.{name}", "is no header", remedy)
        if len(name.encode()) > _LONGEST_NAME:
            parts.read.error(field, f"has a name of more than {_LONGEST_NAME} bytes", "Look at something else")
        match = parts.text_match(item, f"{field}.{name}", presence=True)
        if match is not None and name:
            found.append((name.lower() if header else name, match))
        elif not name:
            parts.read.error(field, "has an empty name", "Name what to look at")
    return tuple(found)


def _redirect(parts: Parts, value: Any, field: str) -> Redirect | None:
    if value is None:
        return None
    read = parts.read
    part = read.mapping(value, field)
    read.set_aside(part, field, _REDIRECT)
    code = read.natural(part.get("redirectCode"), f"{field}.redirectCode")
    if code is not None and code not in _REDIRECT_CODES:
        read.error(f"{field}.redirectCode", f"{code} is no redirect", f"Use one of {_REDIRECT_CODES}")
        code = None
    derive = read.choice(part.get("derivePort"), f"{field}.derivePort", ("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"))
    return Redirect(
        uri=_line(parts, part.get("uri"), f"{field}.uri"),
        authority=_authority(parts, part.get("authority"), f"{field}.authority"),
        port=read.port(part.get("port"), f"{field}.port"),
        default_port=derive == "FROM_PROTOCOL_DEFAULT",
        scheme=read.choice(part.get("scheme"), f"{field}.scheme", ("http", "https")),
        code=code or 301,
    )


def _line(parts: Parts, value: Any, field: str) -> str:
    text = parts.read.text(value, field)
    if fault := line_fault(text):
        parts.read.error(field, fault, "Write a path")
    return text


def _authority(parts: Parts, value: Any, field: str) -> str:
    text = parts.read.text(value, field)
    if text and any(ord(char) <= 32 or ord(char) > 126 for char in text):
        parts.read.error(field, f"{text!r} is no host", "Write a DNS name")
    return text


def _answer(parts: Parts, value: Any, field: str) -> DirectResponse | None:
    if value is None:
        return None
    read = parts.read
    part = read.mapping(value, field)
    read.set_aside(part, field, ("status", "body"))
    status = read.natural(part.get("status"), f"{field}.status") or 0
    if not 200 <= status <= 599 and not read.is_refused():
        read.error(f"{field}.status", f"{status} is no status", "Use a number from 200 to 599")
    body = read.mapping(part.get("body"), f"{field}.body")
    content = read.text(body.get("string"), f"{field}.body.string").encode()
    if "bytes" in body:
        try:
            content = binascii.a2b_base64(read.text(body["bytes"], f"{field}.body.bytes"), strict_mode=True)
        except (binascii.Error, ValueError):
            read.error(f"{field}.body.bytes", "is no base64", "Encode the bytes, or use body.string")
    if len(content) > 4096:
        read.error(f"{field}.body", "is longer than 4096 bytes", "Let a workload answer")
    return DirectResponse(status, content)


def _rewrite(parts: Parts, value: Any, field: str) -> Rewrite | None:
    if value is None:
        return None
    read = parts.read
    part = read.mapping(value, field)
    read.set_aside(part, field, ("uri", "authority", "uriRegexRewrite"))
    regex = read.mapping(part.get("uriRegexRewrite"), f"{field}.uriRegexRewrite")
    pattern = read.text(regex.get("match"), f"{field}.uriRegexRewrite.match")
    if pattern and (fault := regex_fault(pattern)):
        read.error(f"{field}.uriRegexRewrite.match", fault, "Write it as RE2: github.com/google/re2/wiki/Syntax")
    if regex and not pattern and not read.is_refused():
        read.error(f"{field}.uriRegexRewrite.match", "is missing", "Write what to replace")
    if regex and part.get("uri"):
        read.error(f"{field}.uri", "excludes uriRegexRewrite", "Keep one of them")
    return Rewrite(
        uri=_line(parts, part.get("uri"), f"{field}.uri"),
        authority=_authority(parts, part.get("authority"), f"{field}.authority"),
        regex=pattern,
        substitution=_line(parts, regex.get("rewrite"), f"{field}.uriRegexRewrite.rewrite"),
    )


def _retries(parts: Parts, value: Any, field: str) -> Retries | None:
    if value is None:
        return None
    read = parts.read
    part = read.mapping(value, field)
    read.set_aside(part, field, _RETRIES)
    retry_on = read.text(part.get("retryOn"), f"{field}.retryOn").replace(" ", "")
    for word in filter(None, retry_on.split(",")):
        if word not in _RETRY_ON and not (word.isascii() and word.isdigit() and 100 <= int(word) <= 599):
            read.error(f"{field}.retryOn", f"{word!r} is not known", f"Use statuses or {', '.join(sorted(_RETRY_ON))}")
    remote = read.typed(part.get("retryRemoteLocalities"), bool, f"{field}.retryRemoteLocalities")
    return Retries(
        attempts=read.natural(part.get("attempts"), f"{field}.attempts") or 0,
        per_try_timeout=read.seconds(part.get("perTryTimeout"), f"{field}.perTryTimeout"),
        retry_on=retry_on,
        remote_localities=bool(remote),
    )


def _percent(parts: Parts, part: Mapping[str, Any], field: str, *names: str) -> float:
    """A share in percent under the newer name (an object with `value`) or an older one; 100 if nothing is said."""
    newer, *older = names
    if newer in part:
        at = f"{field}.{newer}.value"
        value = parts.read.mapping(part[newer], f"{field}.{newer}").get("value", 0)
        return _share(parts, value, at)
    for name in older:
        if name in part:
            return _share(parts, part[name], f"{field}.{name}")
    return 100


def _share(parts: Parts, value: Any, field: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 100:
        parts.read.error(field, f"{value!r:.40} is no percentage", "Use a number from 0 to 100")
        return 0
    return float(value)


def _fault(parts: Parts, value: Any, field: str) -> Fault | None:
    if value is None:
        return None
    read = parts.read
    part = read.mapping(value, field)
    read.set_aside(part, field, ("delay", "abort"))
    delay, abort = read.mapping(part.get("delay"), f"{field}.delay"), read.mapping(part.get("abort"), f"{field}.abort")
    read.set_aside(delay, f"{field}.delay", ("fixedDelay", "percentage", "percent"))
    read.set_aside(abort, f"{field}.abort", ("httpStatus", "grpcStatus", "percentage", "percent"))
    seconds = read.seconds(delay.get("fixedDelay"), f"{field}.delay.fixedDelay")
    if delay and not seconds and not read.is_refused():
        read.error(f"{field}.delay.fixedDelay", "is missing", "Say how long, such as 5s")
    status = read.natural(abort.get("httpStatus"), f"{field}.abort.httpStatus") or 0
    grpc = _grpc(parts, abort.get("grpcStatus"), f"{field}.abort.grpcStatus")
    if abort and not read.is_refused() and not (200 <= status <= 599 or (grpc is not None and not status)):
        read.error(f"{field}.abort", "has no status", "Give httpStatus from 200 to 599, or grpcStatus")
    return Fault(
        delay=seconds or 0,
        delay_percent=_percent(parts, delay, f"{field}.delay", "percentage", "percent") if delay else 0,
        abort_status=status,
        abort_grpc=grpc,
        abort_percent=_percent(parts, abort, f"{field}.abort", "percentage", "percent") if abort else 0,
    )


def _grpc(parts: Parts, value: Any, field: str) -> int | None:
    word = parts.read.text(value, field)
    if not word:
        return None
    if word.isascii() and word.isdigit() and int(word) < len(_GRPC_CODES):
        return int(word)
    if word not in _GRPC_CODES:
        parts.read.error(field, f"{word!r} is no gRPC status", f"Use one of {', '.join(_GRPC_CODES)}")
        return None
    return _GRPC_CODES.index(word)


def _mirrors(parts: Parts, route: Mapping[str, Any], field: str) -> tuple[Mirror, ...]:
    found = []
    if route.get("mirror") is not None:
        share = _percent(parts, route, field, "mirrorPercentage", "mirrorPercent", "mirror_percent")
        found.append(Mirror(parts.destination(route["mirror"], f"{field}.mirror"), share))
    for i, item in enumerate(parts.read.items(route.get("mirrors"), f"{field}.mirrors")):
        at = f"{field}.mirrors[{i}]"
        part = parts.read.mapping(item, at)
        found.append(
            Mirror(
                parts.destination(part.get("destination"), f"{at}.destination"), _percent(parts, part, at, "percentage")
            )
        )
    return tuple(one for one in found if one.percent)


def _cors(parts: Parts, value: Any, field: str) -> Cors | None:
    if value is None:
        return None
    read = parts.read
    part = read.mapping(value, field)
    read.set_aside(part, field, _CORS)
    origins = [
        StringMatch(MatchKind.EXACT, text) for text in read.strings(part.get("allowOrigin"), f"{field}.allowOrigin")
    ]
    for i, item in enumerate(read.items(part.get("allowOrigins"), f"{field}.allowOrigins")):
        match = parts.text_match(item, f"{field}.allowOrigins[{i}]")
        origins += [match] if match is not None else []
    return Cors(
        allow_origins=tuple(origins),
        allow_methods=read.strings(part.get("allowMethods"), f"{field}.allowMethods"),
        allow_headers=read.strings(part.get("allowHeaders"), f"{field}.allowHeaders"),
        expose_headers=read.strings(part.get("exposeHeaders"), f"{field}.exposeHeaders"),
        max_age=read.seconds(part.get("maxAge"), f"{field}.maxAge"),
        credentials=read.typed(part.get("allowCredentials"), bool, f"{field}.allowCredentials"),
    )
