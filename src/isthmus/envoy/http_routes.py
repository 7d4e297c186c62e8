"""The rules of a VirtualService as Envoy's routes: one for each match, in order."""

from collections.abc import Callable, Iterable, Iterator

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.extensions.filters.common.fault.v3 import fault_pb2 as common_fault_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from envoy.type.v3 import percent_pb2

from isthmus.envoy.build import Message, boolean, metadata, packed, seconds, u32
from isthmus.model.routing import (
    Cors,
    Destination,
    Fault,
    HttpMatch,
    HttpRoute,
    MatchKind,
    NamedMatch,
    Redirect,
    Retries,
    StringMatch,
)
from isthmus.model.rows import Labels

RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,reset-before-request,retriable-status-codes"
RETRIES = 2
RETRY_CODES = (503,)
HOST_ATTEMPTS = 5
"""How often a retry picks again when it drew an endpoint that failed already."""

FAULT = "envoy.filters.http.fault"
CORS = "envoy.filters.http.cors"
AUTHORITY = (":authority", "host")

ClusterOf = Callable[[Destination], str]
"""The cluster that a destination means."""

_CODES = {
    301: route_pb2.RedirectAction.MOVED_PERMANENTLY,
    302: route_pb2.RedirectAction.FOUND,
    303: route_pb2.RedirectAction.SEE_OTHER,
    307: route_pb2.RedirectAction.TEMPORARY_REDIRECT,
    308: route_pb2.RedirectAction.PERMANENT_REDIRECT,
}
_MILLION = 1_000_000


def default_route(name: str, cluster: str, *, retry: bool) -> Message:
    """Everything to one cluster, without limit of time."""
    action = route_pb2.RouteAction(cluster=cluster, timeout=seconds(0))
    if retry:
        action.retry_policy.CopyFrom(retry_policy(None))
    return route_pb2.Route(name=name, match=route_pb2.RouteMatch(prefix="/"), route=action)


def routes(rules: Iterable[HttpRoute], cluster_of: ClusterOf, source: str) -> Iterator[Message]:
    """Envoy's routes for these rules; `source` is the object that says them."""
    for rule in rules:
        for match in rule.matches or (HttpMatch(),):
            name = ".".join(filter(None, (rule.name, match.name))) or "default"
            message = _route(name, rule, _match(match), cluster_of)
            message.metadata.CopyFrom(metadata(istio={"config": source}))
            yield message


def _route(name: str, rule: HttpRoute, match: Message, cluster_of: ClusterOf) -> Message:
    message = route_pb2.Route(name=name, match=match)
    if rule.redirect is not None:
        message.redirect.CopyFrom(_redirect(rule.redirect))
    elif rule.direct_response is not None:
        message.direct_response.status = rule.direct_response.status
        if rule.direct_response.body:
            message.direct_response.body.inline_bytes = rule.direct_response.body
    else:
        message.route.CopyFrom(_action(rule, cluster_of))
    _set_headers(message, rule.headers.request_set, rule.headers.request_add, request=True)
    _set_headers(message, rule.headers.response_set, rule.headers.response_add, request=False)
    message.request_headers_to_remove.extend(rule.headers.request_remove)
    message.response_headers_to_remove.extend(rule.headers.response_remove)
    if rule.fault is not None:
        message.typed_per_filter_config[FAULT].CopyFrom(packed(_fault(rule.fault)))
    if rule.cors is not None:
        message.typed_per_filter_config[CORS].CopyFrom(packed(_cors(rule.cors)))
    return message


# -- matches ------------------------------------------------------------------------------------------------------


def _match(match: HttpMatch) -> Message:
    message = route_pb2.RouteMatch()
    uri = match.uri
    if uri is None:
        message.prefix = "/"
    elif uri.kind is MatchKind.EXACT:
        message.path = uri.value
    elif uri.kind is MatchKind.PREFIX:
        message.prefix = uri.value
    else:
        message.safe_regex.CopyFrom(_regex(f"(?i){uri.value}" if match.ignore_uri_case else uri.value))
    if match.ignore_uri_case and uri is not None and uri.kind is not MatchKind.REGEX:
        message.case_sensitive.CopyFrom(boolean(False))
    pseudo = ((":scheme", match.scheme), (":method", match.method), (":authority", match.authority))
    message.headers.extend(_header(name, found) for name, found in pseudo if found is not None)
    message.headers.extend(_header(*named) for named in match.headers)
    message.headers.extend(_without(*named) for named in match.without_headers)
    message.query_parameters.extend(_parameter(named) for named in match.query_params)
    return message


def string_matcher(match: StringMatch) -> Message:
    """A comparison of a whole text, or of its beginning."""
    if match.kind is MatchKind.EXACT:
        return string_pb2.StringMatcher(exact=match.value)
    if match.kind is MatchKind.PREFIX:
        return string_pb2.StringMatcher(prefix=match.value)
    return string_pb2.StringMatcher(safe_regex=_regex(match.value))


def _regex(text: str) -> Message:
    return regex_pb2.RegexMatcher(regex=text)


def _header(name: str, match: StringMatch) -> Message:
    if match.kind is MatchKind.PRESENT:
        return route_pb2.HeaderMatcher(name=name, present_match=True)
    return route_pb2.HeaderMatcher(name=name, string_match=string_matcher(match))


def _without(name: str, match: StringMatch) -> Message:
    """The header is not there, or not so: one that is missing counts as empty."""
    message = _header(name, match)
    message.invert_match = True
    message.treat_missing_header_as_empty = match.kind is not MatchKind.PRESENT
    return message


def _parameter(named: NamedMatch) -> Message:
    name, match = named
    if match.kind is MatchKind.PRESENT:
        return route_pb2.QueryParameterMatcher(name=name, present_match=True)
    return route_pb2.QueryParameterMatcher(name=name, string_match=string_matcher(match))


# -- actions ------------------------------------------------------------------------------------------------------


def _action(rule: HttpRoute, cluster_of: ClusterOf) -> Message:
    action = route_pb2.RouteAction(timeout=seconds(rule.timeout or 0))
    if len(rule.destinations) == 1 and rule.destinations[0].headers == type(rule.headers)():
        action.cluster = cluster_of(rule.destinations[0].destination)
    else:
        action.weighted_clusters.clusters.extend(_weighted(rule, cluster_of))
    policy = retry_policy(rule.retries)
    if policy is not None:
        action.retry_policy.CopyFrom(policy)
    rewrite = rule.rewrite
    if rewrite is not None and rewrite.uri:
        action.prefix_rewrite = rewrite.uri
    if rewrite is not None and rewrite.regex:
        action.regex_rewrite.pattern.CopyFrom(_regex(rewrite.regex))
        action.regex_rewrite.substitution = rewrite.substitution
    authority = (rewrite.authority if rewrite is not None else "") or _authority(rule.headers.request_set)
    if authority:
        action.host_rewrite_literal = authority
    for mirror in rule.mirrors:
        policy = action.request_mirror_policies.add(cluster=cluster_of(mirror.destination))
        policy.runtime_fraction.default_value.CopyFrom(_share(mirror.percent))
    return action


def _weighted(rule: HttpRoute, cluster_of: ClusterOf) -> Iterator[Message]:
    for one in rule.destinations:
        part = route_pb2.WeightedCluster.ClusterWeight(name=cluster_of(one.destination), weight=u32(one.weight))
        _set_headers(part, one.headers.request_set, one.headers.request_add, request=True)
        _set_headers(part, one.headers.response_set, one.headers.response_add, request=False)
        part.request_headers_to_remove.extend(one.headers.request_remove)
        part.response_headers_to_remove.extend(one.headers.response_remove)
        if authority := _authority(one.headers.request_set):
            part.host_rewrite_literal = authority
        yield part


def _authority(changes: Labels) -> str:
    return next((value for name, value in changes if name.lower() in AUTHORITY), "")


def _set_headers(message: Message, replaced: Labels, added: Labels, *, request: bool) -> None:
    into = message.request_headers_to_add if request else message.response_headers_to_add
    option = base_pb2.HeaderValueOption
    for changes, action in (
        (replaced, option.OVERWRITE_IF_EXISTS_OR_ADD),
        (added, option.APPEND_IF_EXISTS_OR_ADD),
    ):
        for name, value in changes:
            if name.lower() not in AUTHORITY:
                into.add(
                    header=base_pb2.HeaderValue(key=name, value=value), append_action=action, keep_empty_value=True
                )


def _redirect(redirect: Redirect) -> Message:
    action = route_pb2.RedirectAction(response_code=_CODES[redirect.code])
    if redirect.uri:
        action.path_redirect = redirect.uri
    if redirect.authority:
        action.host_redirect = redirect.authority
    if redirect.scheme:
        action.scheme_redirect = redirect.scheme
    if redirect.port:
        action.port_redirect = redirect.port
    elif redirect.default_port:
        action.port_redirect = 443 if redirect.scheme == "https" else 80
    return action


def retry_policy(rule: Retries | None) -> Message | None:
    """Try again, elsewhere, what certainly did not reach an application (and 503, as Istio does), unless a rule says
    otherwise; None for a rule of no attempts.
    """
    if rule is not None and rule.attempts == 0:
        return None
    policy = retries(RETRY_ON, RETRIES)
    policy.retriable_status_codes.extend(RETRY_CODES)
    if rule is None:
        _elsewhere(policy)
        return policy
    policy.num_retries.value = rule.attempts
    if rule.per_try_timeout:
        policy.per_try_timeout.CopyFrom(seconds(rule.per_try_timeout))
    if rule.retry_on:
        words = rule.retry_on.split(",")
        codes = [int(word) for word in words if word.isdigit()]
        named = [word for word in words if word and not word.isdigit()]
        del policy.retriable_status_codes[:]
        policy.retriable_status_codes.extend(codes)
        if codes and "retriable-status-codes" not in named:
            named.append("retriable-status-codes")
        policy.retry_on = ",".join(named)
    if rule.remote_localities:
        _elsewhere(policy)
    return policy


def retries(retry_on: str, count: int) -> Message:
    """Try so many times again, at endpoints that were not tried yet."""
    predicate = route_pb2.RetryPolicy.RetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
    )
    return route_pb2.RetryPolicy(
        retry_on=retry_on,
        num_retries=u32(count),
        retry_host_predicate=[predicate],
        host_selection_retry_max_attempts=HOST_ATTEMPTS,
    )


def _elsewhere(policy: Message) -> None:
    """Two tries where traffic should go, then one where it would be failed over to: a lost zone is not noticed yet."""
    config = previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=2)
    policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
    policy.retry_priority.typed_config.CopyFrom(packed(config))


def _share(percent: float) -> Message:
    """A share in millionths, as exact as Envoy takes it."""
    fraction = percent_pb2.FractionalPercent
    return fraction(numerator=round(percent / 100 * _MILLION), denominator=fraction.MILLION)


def _fault(fault: Fault) -> Message:
    message = fault_pb2.HTTPFault()
    if fault.delay:
        delay = common_fault_pb2.FaultDelay(fixed_delay=seconds(fault.delay), percentage=_share(fault.delay_percent))
        message.delay.CopyFrom(delay)
    if fault.abort_status:
        message.abort.http_status = fault.abort_status
    elif fault.abort_grpc is not None:
        message.abort.grpc_status = fault.abort_grpc
    if message.HasField("abort"):
        message.abort.percentage.CopyFrom(_share(fault.abort_percent))
    return message


def _cors(cors: Cors) -> Message:
    message = cors_pb2.CorsPolicy(
        allow_origin_string_match=[string_matcher(match) for match in cors.allow_origins],
        allow_methods=",".join(cors.allow_methods),
        allow_headers=",".join(cors.allow_headers),
        expose_headers=",".join(cors.expose_headers),
    )
    if cors.max_age is not None:
        message.max_age = str(int(cors.max_age))
    if cors.credentials is not None:
        message.allow_credentials.CopyFrom(boolean(cors.credentials))
    message.filter_enabled.default_value.CopyFrom(_share(100))
    return message
