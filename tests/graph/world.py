"""Small worlds of rows for tests: clusters on networks, services, pods and gateways, said in a line each."""

from dataclasses import dataclass, field
from typing import Any

from isthmus.graph.mesh import Mesh, MeshSettings
from isthmus.model.rows import (
    Cluster,
    EndpointSlice,
    Gateway,
    GatewayServer,
    Locality,
    Namespace,
    Node,
    Protocol,
    Proxy,
    Row,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
    Workload,
    labels,
)
from isthmus.tables.changes import Change, Drop, Put, Replace

SYSTEM = "istio-system"


def put(row: Row) -> Put:
    """The change that puts a row."""
    return Put(row.TABLE, row.key, row)


def drop(row: Row) -> Drop:
    """The change that drops a row."""
    return Drop(row.TABLE, row.key)


def replace(cls: type[Row], cluster: str, *rows: Row) -> Replace:
    """The change that makes these all rows of a cluster's table."""
    return Replace(cls.TABLE, (cluster,), tuple((row.key, row) for row in rows))


def cluster(name: str, network: str = "", *, config: bool = False, trust_domain: str = "cluster.local") -> list[Row]:
    """A cluster, its system namespace with the network label, and one node."""
    return [
        Cluster(cluster=name, name=name, config=config, trust_domain=trust_domain),
        Namespace(cluster=name, name=SYSTEM, labels=labels({"topology.istio.io/network": network} if network else {})),
        Node(cluster=name, name=f"{name}-node", locality=Locality(region=f"{name}-region", zone=f"{name}-a")),
    ]


def port(number: int, protocol: Protocol = Protocol.HTTP, *, target: str = "", name: str = "") -> ServicePort:
    """A service port, named after its protocol."""
    return ServicePort(
        name=name or f"{protocol.lower()}-{number}", port=number, protocol=protocol, target=target or str(number)
    )


@dataclass
class App:
    """A service of one cluster with its pods."""

    cluster: str
    name: str
    ips: list[str]
    namespace: str = "sample"
    vip: str = ""
    ports: tuple[ServicePort, ...] = (port(5000),)
    mesh: bool = True
    account: str = ""
    pod_labels: dict[str, str] = field(default_factory=dict)
    ready: bool = True
    service: dict[str, Any] = field(default_factory=dict)

    def pod(self, index: int) -> str:
        """The name of a pod."""
        return f"{self.name}-{self.cluster}-{index}"

    def service_row(self) -> Service:
        """The Service."""
        fields: dict[str, Any] = {
            "ports": self.ports,
            "cluster_ips": (self.vip,) if self.vip else (),
            "headless": not self.vip,
            "selector": labels({"app": self.name}),
        }
        fields |= self.service
        return Service(cluster=self.cluster, namespace=self.namespace, name=self.name, **fields)

    def slice_row(self) -> EndpointSlice:
        """The only slice of the service."""
        targets = tuple(SlicePort(known.name, int(known.target)) for known in self.ports)
        endpoints = tuple(
            SliceEndpoint(
                addresses=(ip,), pod=self.pod(index), node=f"{self.cluster}-node", ready=self.ready, hostname=""
            )
            for index, ip in enumerate(self.ips)
        )
        return EndpointSlice(
            cluster=self.cluster,
            namespace=self.namespace,
            name=f"{self.name}-1",
            service=self.name,
            ports=targets,
            endpoints=endpoints,
        )

    def pod_rows(self) -> list[Workload]:
        """The pods."""
        return [
            Workload(
                cluster=self.cluster,
                namespace=self.namespace,
                name=self.pod(index),
                addresses=(ip,),
                labels=self.labels(),
                service_account=self.account or self.name,
                node=f"{self.cluster}-node",
                ready=True,
                tls_mode="istio" if self.mesh else "",
                workload_name=self.name,
            )
            for index, ip in enumerate(self.ips)
        ]

    def labels(self) -> Any:
        """The labels of the pods."""
        return labels({"app": self.name, **self.pod_labels})

    def rows(self) -> list[Row]:
        """Everything."""
        return [self.service_row(), self.slice_row(), *self.pod_rows()]

    def sidecar(self, index: int = 0, *, network: str = "", **fields: Any) -> Proxy:
        """The proxy beside a pod."""
        values: dict[str, Any] = {
            "namespace": self.namespace,
            "network": network,
            "addresses": (self.ips[index],),
            "labels": self.labels(),
            "service_account": self.account or self.name,
            "node": f"{self.cluster}-node",
        }
        return Proxy(cluster=self.cluster, name=self.pod(index), **(values | fields))


def gateway(name: str, network: str, *addresses: str, pod_port: int = 15443) -> list[Row]:
    """An east-west gateway's Service in a cluster."""
    return [
        Service(
            cluster=name,
            namespace=SYSTEM,
            name="istio-eastwestgateway",
            type="LoadBalancer",
            ports=(ServicePort("tls", 15443, Protocol.TLS, str(pod_port)),),
            cluster_ips=("10.96.9.9",),
            selector=labels({"istio": "eastwestgateway"}),
            labels=labels({"istio": "eastwestgateway", "topology.istio.io/network": network}),
            ingress_addresses=addresses,
        )
    ]


def cross_network(config_cluster: str, *hosts: str) -> Gateway:
    """The Gateway object that exposes services (NW17)."""
    server = GatewayServer(port=15443, protocol="TLS", hosts=hosts or ("*.local",), tls_mode="AUTO_PASSTHROUGH")
    return Gateway(
        cluster=config_cluster,
        namespace=SYSTEM,
        name="cross-network-gateway",
        selector=labels({"istio": "eastwestgateway"}),
        servers=(server,),
    )


def router(name: str, network: str, *, pod: str = "gw-0", address: str = "10.0.0.9") -> Proxy:
    """The proxy of an east-west gateway."""
    return Proxy(
        cluster=name,
        namespace=SYSTEM,
        name=pod,
        type="router",
        network=network,
        requested_network_view=(network,),
        addresses=(address,),
        labels=labels({"istio": "eastwestgateway"}),
    )


def puts(*groups: Row | list[Row]) -> list[Change]:
    """The changes that put all these rows."""
    rows = [row for group in groups for row in (group if isinstance(group, list) else [group])]
    return [put(row) for row in rows]


def mesh(config_cluster: str = "east", *groups: Row | list[Row], **settings: Any) -> Mesh:
    """A mesh that has observed these rows; a failing function fails the test."""
    made = Mesh(MeshSettings(config_cluster=config_cluster, strict_engine=True, **settings))
    made.apply(puts(*groups))
    return made


def sleep(name: str = "east", ip: str = "10.0.0.2") -> App:
    """A caller."""
    return App(name, "sleep", [ip], vip="10.96.0.2", ports=(port(80),))


def helloworld(name: str, *ips: str, vip: str = "10.96.0.1", **fields: Any) -> App:
    """A service on port 5000."""
    return App(name, "helloworld", list(ips), vip=vip, **fields)


def two_networks(*, west_gateways: tuple[str, ...] = ("172.18.0.2",)) -> list[Row]:
    """East with 3 endpoints and west with 1, on two networks that use the same addresses."""
    return [
        *cluster("east", "net-east", config=True),
        *cluster("west", "net-west"),
        *helloworld("east", "10.0.0.11", "10.0.0.12", "10.0.0.13").rows(),
        *helloworld("west", "10.0.0.11").rows(),
        *sleep().rows(),
        *gateway("east", "net-east", "172.18.0.1"),
        *gateway("west", "net-west", *west_gateways),
        cross_network("east"),
    ]
