"""Gateways of class `istio-remote` as links to other control planes."""

import os
import time
from typing import Any

import pytest

from isthmus.base.labels import TRUST_DOMAIN_ANNOTATION
from isthmus.install.peer_link import PeerValues, link_manifest
from isthmus.model.peering import PeerLink
from isthmus.trust.authority import self_signed_authority
from isthmus.trust.issue import serial_from
from isthmus.trust.pem import new_key
from tests.ingest.check import check, complaints

ROOTS = self_signed_authority(new_key(), now=time.time(), serial=serial_from(os.urandom(19)))[0].root_bundle.decode()
WEST = PeerValues(
    cluster="west",
    network="west-net",
    trust_domain="west.test",
    roots=ROOTS,
    addresses=("198.18.0.9", "gw.west.example"),
)


def links(obj: dict[str, Any]) -> tuple[PeerLink, ...]:
    return tuple(row for row in check("KubernetesGateway", obj).rows or () if isinstance(row, PeerLink))


def changed(**parts: Any) -> dict[str, Any]:
    """The object of a link with other labels, annotations or spec."""
    made = link_manifest(WEST, "istio-gateways")
    for name, value in parts.items():
        place = made["spec"] if name == "spec" else made["metadata"][name]
        place.update(value)
    return made


def test_what_the_command_writes_is_what_is_read() -> None:
    [row] = links(link_manifest(WEST, "istio-gateways"))
    assert row == PeerLink(
        cluster="east",
        namespace="istio-gateways",
        name="istio-remote-peer-west",
        peer="west",
        network="west-net",
        trust_domain="west.test",
        addresses=("198.18.0.9", "gw.west.example"),
        hbone_port=15008,
        xds_port=15012,
        roots=ROOTS,
        gateway_identity="spiffe://west.test/ns/istio-gateways/sa/istio-eastwest",
    )


def test_without_the_listener_for_control_planes_the_peer_is_only_let_in() -> None:
    listeners = [{"name": "cross-network", "port": 15008, "protocol": "HBONE"}]
    [row] = links(changed(spec={"listeners": listeners, "addresses": []}))
    assert (row.xds_port, row.addresses, row.trust_domain) == (0, (), "west.test")


def test_a_network_is_named_like_its_cluster_where_nothing_else_is_said() -> None:
    made = changed()
    del made["metadata"]["labels"]["topology.istio.io/cluster"]
    [row] = links(made)
    assert (row.peer, row.network) == ("west-net", "west-net")


@pytest.mark.parametrize("name", ["istio", "istio-eastwest", "istio-waypoint"])
def test_other_classes_are_no_links(name: str) -> None:
    assert links(changed(spec={"gatewayClassName": name})) == ()


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"labels": {"topology.istio.io/cluster": "east"}}, "metadata.labels[topology.istio.io/cluster]"),
        ({"annotations": {TRUST_DOMAIN_ANNOTATION: "a/b"}}, f"metadata.annotations[{TRUST_DOMAIN_ANNOTATION}]"),
        ({"annotations": {"isthmus.dev/trust-bundle": "junk"}}, "metadata.annotations[isthmus.dev/trust-bundle]"),
        ({"spec": {"addresses": [{"type": "IPAddress", "value": "1.2.3"}]}}, "spec.addresses[0].value"),
        ({"spec": {"listeners": [{"name": "xds-tls", "port": 99999, "protocol": "TLS"}]}}, "spec.listeners[0].port"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_makes_no_link(parts: dict[str, Any], field: str) -> None:
    made = changed(**parts)
    assert links(made) == ()
    assert field in [name for name, _ in complaints(check("KubernetesGateway", made))]
