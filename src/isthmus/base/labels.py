"""Labels by which objects of a cluster speak to the mesh: what is installed writes them, what is observed has them."""

NETWORK_LABEL = "topology.istio.io/network"
"""On a system namespace or a workload: the network it is in. On a Service or a Gateway: the network it leads into."""

CLUSTER_LABEL = "topology.istio.io/cluster"
"""The cluster that an endpoint is in."""

GATEWAY_PORT_LABEL = "networking.istio.io/gatewayPort"
"""Port of a network's gateway, where it is not 15443."""

EGRESS_LABEL = "networking.isthmus.dev/egressPort"
"""Port of the Service by which a cluster's own pods go out to global names."""

TLS_MODE_LABEL = "security.istio.io/tlsMode"
"""`istio`: a proxy takes mutual TLS here."""
