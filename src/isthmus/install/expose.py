"""The Gateway that makes a cluster reachable for others: HBONE for global services, and the control plane for peers."""

from isthmus.base.labels import EXPOSE_ISTIOD_LABEL, NETWORK_LABEL
from isthmus.install.managed_gateway import API_VERSION
from isthmus.install.values import XDS_PORT, Manifest
from isthmus.model.managed import EAST_WEST_CLASS

NAME = "istio-eastwest"
HBONE_PORT = 15008


def gateway_namespace(name: str) -> Manifest:
    """The namespace that gateways are in."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def exposing_gateway(network: str, namespace: str) -> Manifest:
    """The Gateway, for the control plane to run. Its listeners pass on what is inside of the outer TLS unopened."""
    passed = {"mode": "Passthrough"}
    return {
        "apiVersion": API_VERSION,
        "kind": "Gateway",
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "labels": {EXPOSE_ISTIOD_LABEL: str(XDS_PORT), NETWORK_LABEL: network},
        },
        "spec": {
            "gatewayClassName": EAST_WEST_CLASS,
            "listeners": [
                {"name": "cross-network", "port": HBONE_PORT, "protocol": "HBONE", "tls": passed},
                {"name": "xds-tls", "port": XDS_PORT, "protocol": "TLS", "tls": passed},
            ],
        },
    }
