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

TUNNEL_LABEL = "networking.istio.io/tunnel"
"""`http`: a sidecar takes HBONE here."""

DATAPLANE_MODE_LABEL = "istio.io/dataplane-mode"
"""On a namespace or a pod: `ambient` (captured by the proxy of its node) or `none`; the pod's counts first."""

REDIRECTION_ANNOTATION = "ambient.istio.io/redirection"
"""On a pod, by the agent of its node: `pending` (its listeners are wanted) or `enabled` (its traffic is captured)."""

BYPASS_INBOUND_ANNOTATION = "ambient.istio.io/bypass-inbound-capture"
"""On an ambient pod, `true`: what comes in without HBONE is not captured, as for gateways of others."""

DNS_CAPTURE_ANNOTATION = "ambient.istio.io/dns-capture"
"""On an ambient pod, `false`: its questions for names go to its own name servers."""

ADDRESSES_ANNOTATION = "ambient.isthmus.dev/addresses"
"""On a pod, by the agent of its node: the addresses it was given. Its kubelet tells them only after it was captured."""

USE_WAYPOINT_LABEL = "istio.io/use-waypoint"
"""On a namespace, Service or pod: the waypoint that its traffic goes through, or `none`."""

USE_WAYPOINT_NAMESPACE_LABEL = "istio.io/use-waypoint-namespace"
"""Where that waypoint is, if elsewhere."""

WAYPOINT_FOR_LABEL = "istio.io/waypoint-for"
"""On a waypoint's Gateway: `service` (default), `workload`, `all` or `none`."""

EXPOSE_ISTIOD_LABEL = "istio.io/expose-istiod"
"""On an east-west Gateway: the port by which it leads to the control plane."""

SERVICE_SCOPE_LABEL = "solo.io/service-scope"
"""On a Service or a namespace: `global` or `global-only`."""

GLOBAL_LABEL = "istio.io/global"
"""On a Service or a namespace: `true` is the same as the scope `global` (AM2)."""

GATEWAY_NAME_LABEL = "gateway.networking.k8s.io/gateway-name"
"""On what is made for a Gateway of the Gateway API: the Gateway's name."""

MANAGED_LABEL = "gateway.istio.io/managed"
"""On what is made for a Gateway: who made it, so that nothing of the same name that is somebody else's is touched."""

TRUST_DOMAIN_ANNOTATION = "gateway.istio.io/trust-domain"
"""On a Gateway of class `istio-remote`: the trust domain of everything behind it, the control plane included."""

GATEWAY_ACCOUNT_ANNOTATION = "gateway.istio.io/service-account"
"""On a Gateway of class `istio-remote`: the service account of the gateway's pods, in its namespace."""

TRUST_BUNDLE_ANNOTATION = "isthmus.dev/trust-bundle"
"""On a Gateway of class `istio-remote`: the roots of that trust domain, PEM; without it the mesh's own."""

TRAFFIC_DISTRIBUTION_ANNOTATION = "networking.istio.io/traffic-distribution"
"""On a Service, a ServiceEntry or a namespace: what its callers prefer (LB9)."""
