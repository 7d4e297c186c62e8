"""The gateway for HBONE with the real Envoy: double tunnels end to end, and what it refuses."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from isthmus.edge.gateway_probe import GatewayProber
from isthmus.trust.authority import Authority, self_signed_authority
from isthmus.trust.pem import new_key
from isthmus.xds.resource import CDS, EDS, LDS, RDS
from tests.envoy.hbone import Caller, Running, Scene, party, playing
from tests.graph.test_hbone_gateways import GATEWAY, GLOBAL, ROUTER, captured
from tests.graph.world import App, cluster, helloworld, mesh

HOST = "helloworld.sample.mesh.internal:5000"
SERVER = "spiffe://east.example/ns/sample/sa/helloworld"
CLIENT = "spiffe://west.example/ns/sample/sa/sleep"
ENTRANCE = "spiffe://east.example/ns/istio-gateways/sa/istio-eastwest"
WORKLOADS = ("127.0.0.2", "127.0.0.3")


def authority(serial: int) -> Authority:
    made, _ = self_signed_authority(new_key(), now=time.time(), serial=serial)
    return made


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """East's gateway; callers of west, whose trust domain is linked, of one that is not, and of a foreign mesh."""
    ours, foreign = authority(1), authority(2)
    private = captured(App("east", "private", [WORKLOADS[0]], vip="10.96.0.31"))
    made = mesh(
        "east",
        cluster("east", "net-east", config=True, trust_domain="east.example"),
        cluster("west", "net-west", trust_domain="west.example"),
        captured(helloworld("east", *WORKLOADS, service=GLOBAL)),
        private,
        [GATEWAY],
    )
    made.connect(ROUTER)
    client = party(ours, CLIENT)
    stranger = party(ours, "spiffe://elsewhere.example/ns/sample/sa/sleep")
    intruder = party(foreign, CLIENT)

    def caller(name: str, asked: str = HOST, who: object = client, servers: tuple[str, ...] = (SERVER,)) -> Caller:
        return Caller(name, who, asked, ENTRANCE, servers)  # type: ignore[arg-type]

    played = Scene(
        roots=ours.root_bundle,
        gateway=party(ours, ENTRANCE),
        resources={kind: list(made.resources(ROUTER.id, kind).values()) for kind in (LDS, CDS, RDS, EDS)},
        workloads={address: party(ours, SERVER) for address in WORKLOADS},
        callers=[
            caller("good"),
            caller("own name", "helloworld.sample.svc.cluster.local:5000"),
            caller("not global", "private.sample.svc.cluster.local:5000"),
            caller("other port", "helloworld.sample.mesh.internal:22"),
            caller("pod", "127.0.0.2:5000"),
            caller("unknown", "nobody.sample.mesh.internal:5000"),
            caller("foreign mesh", who=intruder),
            caller("unlinked domain", who=stranger),
            caller("other server", servers=("spiffe://east.example/ns/sample/sa/other",)),
        ],
    )
    with playing(tmp_path_factory.mktemp("hbone"), played) as running:
        yield running


def test_calls_through_double_tunnels_reach_every_endpoint_with_both_identities(scene: Running) -> None:
    """The server sees the caller's own identity, the caller has checked the server's: the gateway opened nothing."""
    found = Counter(scene.call("good", 20))
    assert found.keys() == set(WORKLOADS)
    assert min(found.values()) >= 8
    assert {(one["peer"], one["authority"]) for one in scene.met()} >= {(CLIENT, HOST)}


def test_the_services_own_name_is_as_good(scene: Running) -> None:
    assert set(scene.call("own name", 4)) == set(WORKLOADS)


@pytest.mark.parametrize("caller", ["not global", "other port", "pod", "unknown"])
def test_what_is_not_a_global_service_is_refused(scene: Running, caller: str) -> None:
    before = scene.count("http.hbone.15008.no_route")
    assert scene.call(caller, 2) == ["", ""]
    assert scene.count("http.hbone.15008.no_route") > before


@pytest.mark.parametrize(("caller", "why"), [("foreign mesh", "error"), ("unlinked domain", "san")])
def test_callers_of_other_meshes_and_unlinked_trust_domains_get_no_connection(
    scene: Running, caller: str, why: str
) -> None:
    """Their handshake with the gateway fails, so that they cannot even ask."""
    asked = scene.count("http.hbone.15008.downstream_rq_total")
    assert scene.call(caller, 2) == ["", ""]
    assert scene.count("http.hbone.15008.downstream_rq_total") == asked
    assert scene.count(f"listener.127.0.0.1_{scene.hbone}.ssl.fail_verify_{why}") > 0


def test_a_caller_that_meets_somebody_else_sends_nothing(scene: Running) -> None:
    assert scene.call("other server") == [""]


def test_whoever_wants_to_know_that_it_serves_may_ask_without_a_certificate(scene: Running) -> None:
    found = asyncio.run(GatewayProber().probe("127.0.0.1", scene.hbone, roots=scene.roots, within=10))
    assert (found.good, found.answered) == (True, True)
