"""What Envoy's RBAC filters decide, read from their messages: part of the model of Envoy's matching.

Pure, and independent of the builders. Claims of tokens are not known here: conditions on them never match.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping

import msgspec
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.path.match.uri_template.v3 import uri_template_match_pb2

from isthmus.envoy.build import Message

PEER_PRINCIPAL = "io.istio.peer_principal"
PEER_ADDRESS = "io.istio.peer_address"
HTTP = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
NETWORK = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What filters know of a connection, and of a request on it: `headers` with `:authority`, `:method` and `:path`.

    `peer` is the URI in the caller's verified certificate, empty without one; `tunnel_peer` that of who opened the
    tunnel which the connection came out of.
    """

    peer: str = ""
    tunnel_peer: str = ""
    source: str = ""
    address: str = ""
    port: int = 0
    sni: str = ""
    headers: Mapping[str, str] = {}


def refusal(filters: Iterable[Message], asked: Asked, overrides: Mapping[str, Message] | None = None) -> str | None:
    """The rule by which the first of these filters that refuses does so ("none": ALLOW rules, and none matched).

    `overrides` are what the virtual host or route says for a filter, by its name.
    """
    for one in filters:
        kind = one.typed_config.type_url
        if kind == HTTP and overrides is not None and one.name in overrides:
            rules = http_rbac_pb2.RBACPerRoute.FromString(overrides[one.name].value).rbac
        elif kind == HTTP:
            rules = http_rbac_pb2.RBAC.FromString(one.typed_config.value)
        elif kind == NETWORK:
            rules = network_rbac_pb2.RBAC.FromString(one.typed_config.value)
        else:
            continue
        if rules.HasField("rules") and (refused := _refused(rules.rules, asked)) is not None:
            return refused
    return None


def _refused(rules: Message, asked: Asked) -> str | None:
    # Envoy keeps the rules in the order of their names.
    matched = next((name for name in sorted(rules.policies) if _policy(rules.policies[name], asked)), None)
    if rules.action == rbac_pb2.RBAC.ALLOW:
        return "none" if matched is None else None
    return matched if rules.action == rbac_pb2.RBAC.DENY else None


def _policy(policy: Message, asked: Asked) -> bool:
    return any(_permission(one, asked) for one in policy.permissions) and any(
        _principal(one, asked) for one in policy.principals
    )


def _permission(rule: Message, asked: Asked) -> bool:
    match rule.WhichOneof("rule"):
        case "any":
            return bool(rule.any)
        case "and_rules":
            return all(_permission(one, asked) for one in rule.and_rules.rules)
        case "or_rules":
            return any(_permission(one, asked) for one in rule.or_rules.rules)
        case "not_rule":
            return not _permission(rule.not_rule, asked)
        case "destination_port":
            return bool(rule.destination_port == asked.port)
        case "destination_ip":
            return _within(asked.address, rule.destination_ip)
        case "requested_server_name":
            return _text(rule.requested_server_name, asked.sni)
        case "header":
            return _header(rule.header, asked)
        case "url_path":
            return ":path" in asked.headers and _text(rule.url_path.path, _path(asked))
        case "uri_template":
            config = uri_template_match_pb2.UriTemplateMatchConfig.FromString(rule.uri_template.typed_config.value)
            return ":path" in asked.headers and _template(config.path_template, _path(asked))
        case _:
            return False


def _principal(who: Message, asked: Asked) -> bool:
    match who.WhichOneof("identifier"):
        case "any":
            return bool(who.any)
        case "and_ids":
            return all(_principal(one, asked) for one in who.and_ids.ids)
        case "or_ids":
            return any(_principal(one, asked) for one in who.or_ids.ids)
        case "not_id":
            return not _principal(who.not_id, asked)
        case "authenticated":
            return bool(asked.peer) and _text(who.authenticated.principal_name, asked.peer)
        case "filter_state" if who.filter_state.key == PEER_ADDRESS:
            ranges = who.filter_state.address_match.ranges
            return bool(asked.tunnel_peer) and any(_within(asked.source, one) for one in ranges)
        case "filter_state":
            known = bool(asked.tunnel_peer) and who.filter_state.key == PEER_PRINCIPAL
            return known and _text(who.filter_state.string_match, asked.tunnel_peer)
        case "direct_remote_ip":
            # What came out of a tunnel came from within Envoy.
            return not asked.tunnel_peer and _within(asked.source, who.direct_remote_ip)
        case "remote_ip":
            return _within(asked.headers.get("x-forwarded-for", asked.source), who.remote_ip)
        case "header":
            return _header(who.header, asked)
        case _:
            return False


def _path(asked: Asked) -> str:
    return re.split(r"[?#]", asked.headers[":path"], maxsplit=1)[0]


def _within(address: str, block: Message) -> bool:
    if not address:
        return False
    network = ipaddress.ip_network(f"{block.address_prefix}/{block.prefix_len.value}")
    return ipaddress.ip_address(address) in network


def _header(matcher: Message, asked: Asked) -> bool:
    value = asked.headers.get(matcher.name.lower())
    if value is None:
        return False
    kind = matcher.WhichOneof("header_match_specifier")
    return kind == "present_match" or (kind == "string_match" and _text(matcher.string_match, value))


def _text(matcher: Message, value: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return re.fullmatch(matcher.safe_regex.regex, value) is not None
    wanted = str(getattr(matcher, kind))
    if matcher.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    match kind:
        case "exact":
            return value == wanted
        case "prefix":
            return value.startswith(wanted)
        case "suffix":
            return value.endswith(wanted)
        case _:
            return False


def _template(pattern: str, path: str) -> bool:
    """`*` is one segment, `**` any number of characters, slashes too."""
    parts = [".*" if part == "**" else "[^/]+" if part == "*" else re.escape(part) for part in pattern.split("/")]
    return re.fullmatch("/".join(parts), path) is not None
