"""Gateway API objects that say how a network is entered: NW9-NW13."""

from typing import Any

import pytest

from isthmus.model.mesh_config import NetworkEntry
from isthmus.model.networks import ApiGateway
from tests.ingest.check import check, complaints

NETWORK = "topology.istio.io/network"
PORT = "networking.istio.io/gatewayPort"
PASSTHROUGH = {"name": "x", "port": 15443, "protocol": "TLS", "tls": {"mode": "Passthrough"}}
ADDRESS = {"type": "IPAddress", "value": "1.1.1.1"}


def gateway(*listeners: dict[str, Any], addresses: tuple[dict[str, Any], ...] = (ADDRESS,), **marks: Any) -> Any:
    spec = {"gatewayClassName": "istio-remote", "listeners": list(listeners), "addresses": list(addresses)}
    names = {"network": NETWORK, "port": PORT}
    return {"metadata": {"labels": {names[key]: value for key, value in marks.items()}}, "spec": spec}


def row(*entries: NetworkEntry, remote: bool = True) -> ApiGateway:
    return ApiGateway(cluster="east", namespace="a", name="x", network="n", remote=remote, entries=entries)


@pytest.mark.parametrize(
    ("listener", "marks", "ports"),
    [
        (PASSTHROUGH, {}, [15443]),
        (PASSTHROUGH | {"port": 443}, {}, []),
        (PASSTHROUGH | {"port": 443}, {"port": "443"}, [443]),
        (PASSTHROUGH | {"port": 443, "tls": {"options": {"gateway.istio.io/listener-protocol": "auto-passthrough"}}},
         {}, [443]),
        ({"name": "x", "port": 15443, "protocol": "TLS"}, {}, []),
        (PASSTHROUGH | {"protocol": "HBONE"}, {}, []),
    ],
)  # fmt: skip
def test_which_listeners_pass_mutual_tls_on_nw10(
    listener: dict[str, Any], marks: dict[str, Any], ports: list[int]
) -> None:
    found = check("KubernetesGateway", gateway(listener, network="n", **marks))
    assert found.problems == ()
    gateways = tuple(one for one in found.rows or () if isinstance(one, ApiGateway))
    assert gateways == (row(*(NetworkEntry(port, address="1.1.1.1") for port in ports)),)


def test_every_address_with_every_listener_nw9() -> None:
    both = (ADDRESS, {"type": "Hostname", "value": "gw.example.com"})
    found = check("KubernetesGateway", gateway(PASSTHROUGH, PASSTHROUGH | {"port": 443}, addresses=both,
                                               network="n", port="443"))  # fmt: skip
    assert found.rows == (
        row(
            NetworkEntry(15443, address="1.1.1.1"),
            NetworkEntry(443, address="1.1.1.1"),
            NetworkEntry(15443, address="gw.example.com"),
            NetworkEntry(443, address="gw.example.com"),
        ),
    )


def test_an_address_without_type_is_told() -> None:
    found = check("KubernetesGateway", gateway(PASSTHROUGH, addresses=({"value": "1.1.1.1"},), network="n"))
    assert found.rows == (row(),)
    assert [field for field, _ in complaints(found)] == ["spec.addresses[0].type"]


@pytest.mark.parametrize("address", [{"type": "IPAddress", "value": "a.b"}, {"type": "Hostname", "value": "a b"}])
def test_a_wrong_address_is_refused(address: dict[str, str]) -> None:
    found = check("KubernetesGateway", gateway(PASSTHROUGH, addresses=(address,), network="n"))
    assert found.rows is None
    assert [field for field, _ in complaints(found)] == ["spec.addresses[0].value"]


def test_without_the_label_there_is_no_row_nw13() -> None:
    assert check("KubernetesGateway", gateway(PASSTHROUGH)).rows == ()


def test_other_classes_describe_their_own_cluster() -> None:
    obj = gateway(PASSTHROUGH, network="n")
    obj["spec"]["gatewayClassName"] = "istio"
    assert check("KubernetesGateway", obj).rows == (row(NetworkEntry(15443, address="1.1.1.1"), remote=False),)


HBONE = {"name": "cross-network", "port": 15008, "protocol": "HBONE", "tls": {"mode": "Passthrough"}}


@pytest.mark.parametrize(
    ("kind", "entries"),
    [
        ("istio-eastwest", (NetworkEntry(0, address="2.2.2.2", hbone_port=15008),)),
        ("istio", (NetworkEntry(0, address="1.1.1.1", hbone_port=15008),)),
        ("istio-remote", ()),
    ],
)
def test_listeners_for_hbone_nw11_nw18(kind: str, entries: tuple[NetworkEntry, ...]) -> None:
    obj = gateway(HBONE, network="n")
    obj["spec"]["gatewayClassName"] = kind
    obj["status"] = {"addresses": [{"type": "IPAddress", "value": "2.2.2.2"}]}
    found = [one for one in check("KubernetesGateway", obj).rows or () if isinstance(one, ApiGateway)]
    assert found == [row(*entries, remote=kind == "istio-remote")]
