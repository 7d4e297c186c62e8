"""Scopes are their own keys."""

import pytest

from isthmus.model.rows import GatewayServer, MtlsMode, Protocol
from isthmus.model.scopes import (
    InboundPort,
    InboundProfile,
    LocalityView,
    NamespaceView,
    NodeView,
    OutboundView,
    RouterView,
    Scope,
)

VIEW = OutboundView(cluster="c", network="n")


def made() -> list[Scope]:
    """One of each kind, made anew."""
    view = OutboundView(cluster="c", network="n")
    inside = NamespaceView(view=view, namespace="ns")
    return [
        view,
        inside,
        LocalityView(view=inside, place=(("topology.kubernetes.io/zone", "z"),)),
        NodeView(view=view, node="n1"),
        InboundProfile(ports=(InboundPort(80, Protocol.HTTP, MtlsMode.STRICT),)),
        RouterView(cluster="c", network="n", servers=(GatewayServer(port=15443, protocol="TLS", hosts=("*",)),)),
    ]


@pytest.mark.parametrize(("one", "other"), list(zip(made(), made(), strict=True)))
def test_equal_content_is_one_scope(one: Scope, other: Scope) -> None:
    assert one is not other
    assert one == other
    assert hash(one) == hash(other)


def test_scopes_can_be_told_apart_and_named() -> None:
    assert len(set(made())) == 6
    assert [str(scope) for scope in made()] == [
        "outbound:c/n",
        "namespace:c/n/ns",
        "locality:c/n/ns/z",
        "node:c/n1",
        "inbound:80/HTTP/STRICT:PERMISSIVE",
        "router:c/n:15443/",
    ]
    assert OutboundView(cluster="c", network="other") != VIEW
