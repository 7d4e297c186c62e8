"""Which requests a route is for, and to which clusters it sends them in what shares: a part of `match`."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from isthmus.envoy.build import Message


def matches(match: Message, headers: Mapping[str, str]) -> bool:
    """True if a route is for a request with these headers, pseudo headers among them; names are in lower case."""
    if match.HasField("connect_matcher"):
        connects = headers[":method"] == "CONNECT"
        return connects and all(_header_matches(one, headers.get(one.name)) for one in match.headers)
    path, _, query = headers[":path"].partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    return (
        _path_matches(match, path)
        and all(_header_matches(one, headers.get(one.name)) for one in match.headers)
        and all(_parameter_matches(one, given.get(one.name)) for one in match.query_parameters)
    )


def _path_matches(match: Message, path: str) -> bool:
    folded = match.HasField("case_sensitive") and not match.case_sensitive.value
    given = path.lower() if folded else path
    match match.WhichOneof("path_specifier"):
        case "prefix":
            return given.startswith(str(match.prefix).lower() if folded else str(match.prefix))
        case "path":
            return given == (str(match.path).lower() if folded else str(match.path))
        case "safe_regex":
            return re.fullmatch(match.safe_regex.regex, path) is not None
        case _:
            return False


def _header_matches(matcher: Message, value: str | None) -> bool:
    if matcher.WhichOneof("header_match_specifier") == "present_match":
        return bool(((value is not None) == matcher.present_match) != matcher.invert_match)
    if value is None and not matcher.treat_missing_header_as_empty:
        return False
    return bool(_text_matches(matcher.string_match, value or "") != matcher.invert_match)


def _parameter_matches(matcher: Message, value: str | None) -> bool:
    if matcher.WhichOneof("query_parameter_match_specifier") == "present_match":
        return bool((value is not None) == matcher.present_match)
    return value is not None and _text_matches(matcher.string_match, value)


def _text_matches(matcher: Message, text: str) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "exact" if matcher.ignore_case:
            return bool(text.lower() == matcher.exact.lower())
        case "exact":
            return bool(text == matcher.exact)
        case "prefix":
            return text.startswith(str(matcher.prefix))
        case _:
            return re.fullmatch(matcher.safe_regex.regex, text) is not None


def split(action: Message) -> tuple[tuple[str, float], ...]:
    """The clusters of a route or of a TCP proxy, with their shares."""
    if action.cluster:
        return ((action.cluster, 1.0),)
    weights = [
        (one.name, one.weight if isinstance(one.weight, int) else one.weight.value)
        for one in action.weighted_clusters.clusters
    ]
    total = sum(weight for _, weight in weights)
    return tuple((name, weight / total) for name, weight in weights)


def redirected(action: Message) -> str:
    """Where a redirect sends a client, as far as it says."""
    port = f":{action.port_redirect}" if action.port_redirect else ""
    return f"{action.scheme_redirect or '*'}://{action.host_redirect or '*'}{port}{action.path_redirect or '*'}"
