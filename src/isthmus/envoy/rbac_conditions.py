"""The conditions of policies in Envoy's words: what a caller is (principal), what it asks for (permission)."""

import ipaddress
import re
from collections.abc import Sequence

from envoy.config.core.v3 import address_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.path.match.uri_template.v3 import uri_template_match_pb2
from envoy.type.matcher.v3 import address_pb2 as address_matcher_pb2
from envoy.type.matcher.v3 import filter_state_pb2, metadata_pb2, path_pb2, regex_pb2, string_pb2, value_pb2
from xds.core.v3 import cidr_pb2

from isthmus.envoy.build import Message, extension, u32

JWT_FILTER = "envoy.filters.http.jwt_authn"
JWT_PAYLOAD = "payload"
"""Where the claims of a verified token are."""

_HEADERS = {"request.host": ":authority", "request.method": ":method"}


def permission(key: str, value: str) -> Message:
    """One value of a condition about what is asked for. Raises KeyError for an unknown key."""
    kind = rbac_pb2.Permission
    match key:
        case "destination.ip":
            return kind(destination_ip=_block(value))
        case "destination.port":
            return kind(destination_port=int(value))
        case "connection.sni":
            return kind(requested_server_name=text(value))
        case "request.path" if "{*}" in value or "{**}" in value:
            template = value.replace("{**}", "**").replace("{*}", "*")
            config = uri_template_match_pb2.UriTemplateMatchConfig(path_template=template)
            return kind(uri_template=extension("envoy.path.match.uri_template.uri_template_matcher", config))
        case "request.path":
            return kind(url_path=path_pb2.PathMatcher(path=text(value)))
        case _:
            return kind(header=_header(_HEADERS[key], value, ignore_case=key == "request.host"))


PEER_PRINCIPAL = "io.istio.peer_principal"
"""Filter state: the SPIFFE ID of who opened the tunnel that a connection came out of."""


PEER_ADDRESS = "io.istio.peer_address"
"""Filter state: the address of who opened the tunnel. Within Envoy a connection's own peer has none."""


def principal(key: str, value: str, *, tunnelled: bool = False) -> Message:
    """One value of a condition about the caller. Raises KeyError for an unknown key.

    `tunnelled`: the connection came out of HBONE, so that its own peer is nobody, and who opened the tunnel counts.
    """
    kind = rbac_pb2.Principal
    match key:
        case "source.ip" if tunnelled:
            block = _block(value)
            ranges = [cidr_pb2.CidrRange(address_prefix=block.address_prefix, prefix_len=block.prefix_len)]
            within = address_matcher_pb2.AddressMatcher(ranges=ranges)
            return kind(filter_state=filter_state_pb2.FilterStateMatcher(key=PEER_ADDRESS, address_match=within))
        case "source.ip":
            return kind(direct_remote_ip=_block(value))
        case "remote.ip":
            return kind(remote_ip=_block(value))
        case "source.principal" | "source.namespace" | "source.serviceAccount" | "source.trustDomain":
            name = _IDENTITIES[key](value)
            if tunnelled:
                return kind(filter_state=filter_state_pb2.FilterStateMatcher(key=PEER_PRINCIPAL, string_match=name))
            return kind(authenticated=kind.Authenticated(principal_name=name))
        case "request.auth.principal":
            return _request_principal(value)
        case "request.auth.audiences":
            return _claim(("aud",), text(value))
        case "request.auth.presenter":
            return _claim(("azp",), text(value))
        case _ if key.startswith("request.auth.claims["):
            return _claim(tuple(re.findall(r"\[([^\[\]]+)\]", key)), text(value))
        case _ if key.startswith("request.headers["):
            return kind(header=_header(key.removeprefix("request.headers[").removesuffix("]"), value))
        case _:
            raise KeyError(key)


# -- texts --------------------------------------------------------------------------------------------------------


def text(value: str, *, ignore_case: bool = False) -> Message:
    """Exact, `x*` prefix, `*x` suffix, `*` present: Envoy takes no empty prefix."""
    matcher = string_pb2.StringMatcher
    if value == "*":
        return _regex(".+")
    if value.startswith("*"):
        return matcher(suffix=value[1:], ignore_case=ignore_case)
    if value.endswith("*"):
        return matcher(prefix=value[:-1], ignore_case=ignore_case)
    return matcher(exact=value, ignore_case=ignore_case)


def _regex(pattern: str) -> Message:
    """Matches the whole text."""
    return string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=pattern))


def _header(name: str, value: str, *, ignore_case: bool = False) -> Message:
    if value == "*":
        return route_components_pb2.HeaderMatcher(name=name, present_match=True)
    return route_components_pb2.HeaderMatcher(name=name, string_match=text(value, ignore_case=ignore_case))


def _block(value: str) -> Message:
    network = ipaddress.ip_network(value, strict=False)
    return address_pb2.CidrRange(address_prefix=str(network.network_address), prefix_len=u32(network.prefixlen))


# -- identities (TR13) --------------------------------------------------------------------------------------------


def _principal_name(value: str) -> Message:
    """`<trust domain>/ns/<namespace>/sa/<service account>`, or a pattern of it."""
    if value.startswith("*") and value != "*":
        return _regex(f"spiffe://.*{re.escape(value[1:])}")
    return text(value if value == "*" else f"spiffe://{value}")


def _namespace(value: str) -> Message:
    pattern = "[^/]*".join(re.escape(part) for part in value.split("*"))
    return _regex(f"spiffe://[^/]+/ns/{pattern}/.*")


def _service_account(value: str) -> Message:
    namespace, _, name = value.partition("/")
    return _regex(f"spiffe://[^/]+/ns/{re.escape(namespace)}/sa/{re.escape(name)}")


def _trust_domain(value: str) -> Message:
    if "*" not in value:
        return string_pb2.StringMatcher(prefix=f"spiffe://{value}/")
    pattern = "[^/]*".join(re.escape(part) for part in value.split("*"))
    return _regex(f"spiffe://{pattern}/.*")


_IDENTITIES = {
    "source.principal": _principal_name,
    "source.namespace": _namespace,
    "source.serviceAccount": _service_account,
    "source.trustDomain": _trust_domain,
}


# -- claims of a verified token -----------------------------------------------------------------------------------


def _request_principal(value: str) -> Message:
    """`<issuer>/<subject>`; the last slash divides, for an issuer may be a URL."""
    issuer, slash, subject = value.rpartition("/")
    if not slash:
        # Without a slash a pattern is about the side where it is open; anything else names an issuer only.
        issuer, subject = ("*", value) if value.startswith("*") else (value, "*" if value.endswith("*") else "")
    both = [_claim_text(("iss",), text(issuer)), _claim_text(("sub",), text(subject))]
    return rbac_pb2.Principal(and_ids=rbac_pb2.Principal.Set(ids=[_metadata(path, one) for path, one in both]))


def _claim_text(path: Sequence[str], wanted: Message) -> tuple[Sequence[str], Message]:
    return path, value_pb2.ValueMatcher(string_match=wanted)


def _claim(path: Sequence[str], wanted: Message) -> Message:
    """A claim that is a text, or a list with one."""
    one = value_pb2.ValueMatcher(string_match=wanted)
    several = value_pb2.ValueMatcher(list_match=value_pb2.ListMatcher(one_of=one))
    either = value_pb2.ValueMatcher(or_match=value_pb2.OrMatcher(value_matchers=[several, one]))
    return _metadata(path, either)


def _metadata(path: Sequence[str], value: Message) -> Message:
    segment = metadata_pb2.MetadataMatcher.PathSegment
    return rbac_pb2.Principal(
        metadata=metadata_pb2.MetadataMatcher(
            filter=JWT_FILTER, path=[segment(key=name) for name in (JWT_PAYLOAD, *path)], value=value
        )
    )
