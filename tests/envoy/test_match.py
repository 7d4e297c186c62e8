"""The model of Envoy's matching itself: filter chains and virtual hosts, by the rules of Envoy's documentation."""

import pytest
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2

from isthmus.envoy.match import Config, Connection, select_chain, select_virtual_host, without_port

Chain = listener_components_pb2.FilterChain
Match = listener_components_pb2.FilterChainMatch
INSPECTORS = ("envoy.filters.listener.tls_inspector", "envoy.filters.listener.http_inspector")


def listener(*, default: bool = False, inspect: bool = True, **matches: object) -> listener_pb2.Listener:
    """A listener with a chain for each name."""
    made = listener_pb2.Listener()
    for name, match in matches.items():
        made.filter_chains.append(Chain(name=name, filter_chain_match=match))
    for name in INSPECTORS if inspect else ():
        made.listener_filters.add(name=name)
    if default:
        made.default_filter_chain.CopyFrom(Chain(name="default"))
    return made


def connection(**fields: object) -> Connection:
    """A connection to port 80."""
    return Connection(**({"address": "1.1.1.1", "port": 80} | fields))  # type: ignore[arg-type]


PORT = {"destination_port": {"value": 80}}
TLS_80 = listener(
    port=Match(**PORT, transport_protocol="tls"), any_plain=Match(transport_protocol="raw_buffer"), any=Match()
)
NAMES = listener(
    exact=Match(server_names=["a.b.c"]),
    suffix=Match(server_names=["*.b.c"]),
    longer=Match(server_names=["*.x.b.c"]),
    other=Match(),
)
ALPN = listener(
    h2=Match(application_protocols=["h2"]), both=Match(application_protocols=["http/1.1", "x"]), any=Match()
)


@pytest.mark.parametrize(
    ("made", "arrived", "chain"),
    [
        pytest.param(TLS_80, connection(tls=True), "port", id="port and transport"),
        pytest.param(TLS_80, connection(), None, id="no way back from a port"),
        pytest.param(TLS_80, connection(port=81), "any_plain", id="other ports"),
        pytest.param(TLS_80, connection(port=81, tls=True), "any", id="any transport"),
        pytest.param(NAMES, connection(tls=True, sni="A.b.c"), "exact", id="exact name"),
        pytest.param(NAMES, connection(tls=True, sni="z.b.c"), "suffix", id="wildcard"),
        pytest.param(NAMES, connection(tls=True, sni="z.x.b.c"), "longer", id="longest wildcard"),
        pytest.param(NAMES, connection(tls=True, sni="q"), "other", id="no such name"),
        pytest.param(NAMES, connection(tls=True), "other", id="no name"),
        pytest.param(NAMES, connection(), "other", id="plaintext has no name"),
        pytest.param(ALPN, connection(tls=True, alpn=("h2", "x")), "h2", id="first offered protocol"),
        pytest.param(ALPN, connection(tls=True, alpn=("y", "x")), "both", id="any offered protocol"),
        pytest.param(ALPN, connection(tls=True, alpn=("y",)), "any", id="unknown protocols"),
        pytest.param(ALPN, connection(http="http/1.1"), "both", id="inspected HTTP"),
        pytest.param(listener(a=Match(transport_protocol="tls"), default=True), connection(), "default", id="default"),
        pytest.param(
            listener(tls=Match(transport_protocol="tls"), raw=Match(transport_protocol="raw_buffer"), inspect=False),
            connection(tls=True),
            "raw",
            id="nobody looked",
        ),
    ],
)
def test_filter_chains(made: listener_pb2.Listener, arrived: Connection, chain: str | None) -> None:
    found = select_chain(made, arrived)
    assert (None if found is None else found.name) == chain


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a.b", "exact"),
        ("A.B", "exact"),
        ("a.b:99", "exact"),
        ("x.a.b", "suffix"),
        ("y.x.a.b", "longer suffix"),
        ("pre.zz", "prefix"),
        (".a.b", "any"),
        ("other", "any"),
    ],
)
def test_virtual_hosts(host: str, expected: str) -> None:
    domains = {"exact": "a.b", "suffix": "*.a.b", "longer suffix": "*.x.a.b", "prefix": "pre.*", "any": "*"}
    config = route_pb2.RouteConfiguration(ignore_port_in_host_matching=True)
    for name, domain in domains.items():
        config.virtual_hosts.append(route_components_pb2.VirtualHost(name=name, domains=[domain]))
    found = select_virtual_host(config, host)
    assert found is not None
    assert found.name == expected


@pytest.mark.parametrize(
    ("host", "bare"), [("a:80", "a"), ("a", "a"), ("[fd00::1]:80", "[fd00::1]"), ("fd00::1", "fd00::1"), ("a:b", "a:b")]
)
def test_ports_in_hosts(host: str, bare: str) -> None:
    assert without_port(host) == bare


def test_a_proxy_that_holds_nothing_closes() -> None:
    assert Config({}).leaving(connection()).closed
    assert Config({}).arriving(connection()).closed
