"""Observed rows by the thousand, as ingest would make them, and single changes of them."""

from dataclasses import dataclass, field

from isthmus.model.rows import (
    Cluster,
    EndpointSlice,
    Namespace,
    Protocol,
    Row,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
    Workload,
    labels,
)
from isthmus.tables.changes import Change, Put, Replace

NAMESPACE = "bench"


def put(row: Row) -> Put:
    return Put(row.TABLE, row.key, row)


@dataclass
class World:
    """One cluster with services of some endpoints each; half of them speak HTTP on port 80, half TCP on their own."""

    services: int
    endpoints: int
    cluster: str = "c0"
    slices: dict[str, EndpointSlice] = field(default_factory=dict)
    rows: int = 0
    added: int = 0
    flips: int = 0

    @property
    def routes(self) -> tuple[str, ...]:
        """Names of the route configurations that a sidecar asks for."""
        return ("80",)

    def everything(self) -> list[Change]:
        """All rows, as swaps by table."""
        rows: list[Row] = [
            Cluster(cluster=self.cluster, name=self.cluster, config=True),
            Namespace(cluster=self.cluster, name="istio-system", labels=labels({"topology.istio.io/network": "n0"})),
            Namespace(cluster=self.cluster, name=NAMESPACE),
        ]
        for number in range(self.services):
            rows += self.service(number, self.endpoints)
        return self.swaps(rows)

    def swaps(self, rows: list[Row], cluster: str = "") -> list[Change]:
        tables: dict[str, list[Row]] = {}
        for row in rows:
            tables.setdefault(row.TABLE, []).append(row)
        self.rows += len(rows)
        prefix = (cluster or self.cluster,)
        return [Replace(name, prefix, tuple((row.key, row) for row in found)) for name, found in tables.items()]

    def service(self, number: int, endpoints: int, *, cluster: str = "", offset: int = 0) -> list[Row]:
        cluster = cluster or self.cluster
        name = f"svc-{number}"
        http = number % 2 == 0
        port = (
            ServicePort("http", 80, Protocol.HTTP, "8080") if http else ServicePort("tcp", 9000, Protocol.TCP, "9000")
        )
        address = f"10.{96 + offset}.{number // 250}.{number % 250 + 1}"
        made: list[Row] = [
            Service(cluster=cluster, namespace=NAMESPACE, name=name, ports=(port,), cluster_ips=(address,))
        ]
        found = []
        for index in range(endpoints):
            serial = number * endpoints + index
            ip = f"10.{(serial >> 16) + 10}.{serial >> 8 & 255}.{serial & 255}"
            pod = f"{name}-{index}"
            found.append(SliceEndpoint(addresses=(ip,), pod=pod))
            made.append(
                Workload(
                    cluster=cluster,
                    namespace=NAMESPACE,
                    name=pod,
                    addresses=(ip,),
                    labels=labels({"app": name}),
                    service_account=name,
                    tls_mode="istio",
                    ready=True,
                )
            )
        ports = (SlicePort(port.name, int(port.target)),)
        made.append(
            EndpointSlice(
                cluster=cluster,
                namespace=NAMESPACE,
                name=f"{name}-x",
                service=name,
                ports=ports,
                endpoints=tuple(found),
            )
        )
        self.slices[f"{cluster}/{name}"] = made[-1]  # type: ignore[assignment]
        return made

    def change_endpoint(self) -> list[Change]:
        """One endpoint of the first service goes, or comes back."""
        self.flips += 1
        whole = self.slices[f"{self.cluster}/svc-0"]
        endpoints = whole.endpoints[1:] if self.flips % 2 else whole.endpoints
        changed = EndpointSlice(
            cluster=whole.cluster,
            namespace=whole.namespace,
            name=whole.name,
            service=whole.service,
            ports=whole.ports,
            endpoints=endpoints,
        )
        return [put(changed)]

    def change_metadata(self) -> list[Change]:
        """A label of a pod that no rule reads."""
        workload = Workload(
            cluster=self.cluster,
            namespace=NAMESPACE,
            name="svc-1-0",
            addresses=self.slices[f"{self.cluster}/svc-1"].endpoints[0].addresses,
            labels=labels({"app": "svc-1", "note": "new"}),
            service_account="svc-1",
            tls_mode="istio",
            ready=True,
        )
        return [put(workload)]

    def add_service(self) -> list[Change]:
        """One more service with its endpoints."""
        self.added += 1
        number = (self.services + self.added) * 2 + 1
        return [put(row) for row in self.service(number, self.endpoints)]

    def remote(self, *, services: int, endpoints: int) -> list[Change]:
        """Another cluster on the same network, whose services are others than ours."""
        rows: list[Row] = [
            Cluster(cluster="c1", name="c1"),
            Namespace(cluster="c1", name="istio-system", labels=labels({"topology.istio.io/network": "n0"})),
        ]
        for number in range(services):
            rows += self.service(100_000 + number, endpoints // services, cluster="c1", offset=1)
        return self.swaps(rows, "c1")
