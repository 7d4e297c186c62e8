"""Changes of the mesh's configuration reach the proxies without a restart."""

from isthmus.envoy import naming
from isthmus.envoy.match import Connection
from isthmus.graph.mesh import Mesh
from isthmus.model.mesh_config import MeshConfig, Selector, ServiceSetting
from isthmus.model.rows import Namespace, labels
from isthmus.xds.resource import CDS, LDS, NDS, RDS
from tests.graph.calls import config as config_of
from tests.graph.world import drop, mesh, put, router, sleep, two_networks

SLEEP = sleep().sidecar()


EAST = {"10.0.0.11", "10.0.0.12", "10.0.0.13"}
HELLO = "helloworld.sample.svc.cluster.local"


def reached(made: Mesh) -> set[str]:
    """Where east/sleep's calls of helloworld go."""
    verdict = config_of(made, SLEEP).leaving(Connection(address="10.96.0.1", port=5000, http="http/1.1"), host=HELLO)
    return {target.address for target in verdict.targets}


def config(cluster: str = "east", **fields: object) -> MeshConfig:
    return MeshConfig(cluster=cluster, name="istio", **fields)  # type: ignore[arg-type]


def test_registry_only_and_back() -> None:
    made = mesh("east", *two_networks())
    made.connect(SLEEP)
    for type_url in (LDS, RDS, CDS, NDS):
        made.subscribe(SLEEP.id, type_url, ["*"])
    before = made.resource(SLEEP.id, LDS, naming.VIRTUAL_OUTBOUND)
    row = config(allow_any=False)
    dirty = made.apply([put(row)])[SLEEP.id]
    assert naming.VIRTUAL_OUTBOUND in dirty[LDS]
    assert dirty[RDS] == {"80", "5000"}
    assert CDS not in dirty
    closed = made.resource(SLEEP.id, LDS, naming.VIRTUAL_OUTBOUND)
    assert closed is not None
    assert b"BlackHoleCluster" in closed.body
    assert b"PassthroughCluster" not in closed.body
    made.apply([drop(row)])
    assert made.resource(SLEEP.id, LDS, naming.VIRTUAL_OUTBOUND) == before


def test_only_the_config_clusters_word_counts_cl5() -> None:
    made = mesh("east", *two_networks())
    made.connect(SLEEP)
    made.subscribe(SLEEP.id, LDS, ["*"])
    assert made.apply([put(config("west", allow_any=False))]) == {}


def test_cluster_local_takes_remote_endpoints_away_and_gives_them_back_cl4() -> None:
    made = mesh("east", *two_networks())
    made.connect(SLEEP)
    gateway = router("west", "net-west")
    made.connect(gateway)
    name = naming.sni_dnat(5000, "helloworld.sample.svc.cluster.local")
    assert reached(made) == EAST | {"172.18.0.2"}
    row = config(service_settings=(ServiceSetting(("*.sample.svc.cluster.local",), cluster_local=True),))
    made.apply([put(row)])
    assert reached(made) == EAST
    assert name not in made.resources(gateway.id, CDS)
    made.apply([drop(row)])
    assert reached(made) == EAST | {"172.18.0.2"}
    assert name in made.resources(gateway.id, CDS)


def test_namespaces_that_are_not_selected_do_not_exist_rs11() -> None:
    made = mesh("east", *two_networks())
    made.connect(SLEEP)
    row = config(discovery_selectors=(Selector(labels=(("mesh", "yes"),)),))
    made.apply([put(row)])
    assert made.resources(SLEEP.id, NDS)["nds"].body.count(b"helloworld.sample.svc") == 0

    def namespace(cluster: str) -> Namespace:
        return Namespace(cluster=cluster, name="sample", labels=labels({"mesh": "yes"}))

    made.apply([put(namespace("east"))])
    assert reached(made) == EAST
    made.apply([put(namespace("west"))])
    assert reached(made) == EAST | {"172.18.0.2"}
