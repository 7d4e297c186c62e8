"""What peers are told of a service."""

import msgspec
import pytest

from isthmus.derive.exports import exported
from isthmus.model.mesh import Endpoint
from isthmus.model.peering import PeerEndpoints, PeerService, ServiceScope
from isthmus.model.rows import Locality, Protocol, Service, ServicePort

NEAR, FAR = Locality("eu", "eu-1"), Locality("eu", "eu-2")
ALICE, BOB = "spiffe://east.test/ns/app/sa/alice", "spiffe://east.test/ns/app/sa/bob"
HELLO = Service(
    cluster="east",
    namespace="app",
    name="hello",
    ports=(ServicePort("http", 80, Protocol.HTTP, "web", 30080), ServicePort("dns", 53, Protocol.UDP)),
)


def endpoint(place: Locality = NEAR, **changes: object) -> Endpoint:
    fields: dict[str, object] = {
        "cluster": "east",
        "network": "n",
        "address": "10.0.0.1",
        "identity": ALICE,
        "locality": place,
        "hbone": True,
    }
    return Endpoint(**(fields | changes))  # type: ignore[arg-type]


def told(
    *endpoints: Endpoint, scope: ServiceScope = ServiceScope.GLOBAL, service: Service = HELLO
) -> PeerService | None:
    return exported(service, scope, endpoints, network="n", traffic_distribution="Any")


def test_a_service_is_told_in_summary() -> None:
    found = told(
        endpoint(),
        endpoint(ready=False, identity=BOB),
        endpoint(FAR, hbone=False),
        endpoint(FAR, terminating=True, identity="spiffe://east.test/ns/app/sa/gone"),
        endpoint(network="elsewhere", identity="spiffe://east.test/ns/app/sa/elsewhere"),
    )
    assert found == PeerService(
        cluster="east",
        namespace="app",
        name="hello",
        scope=ServiceScope.GLOBAL,
        ports=(ServicePort("http", 80, Protocol.HTTP),),
        identities=(ALICE, BOB),
        endpoints=(PeerEndpoints("n", NEAR, 1, 2), PeerEndpoints("n", FAR, 0, 1)),
        traffic_distribution="Any",
    )


def test_a_service_without_endpoints_is_told_all_the_same() -> None:
    found = told()
    assert found is not None
    assert (found.endpoints, found.identities) == ((), ())


def test_a_headless_service_is_told_as_any_other_is() -> None:
    """Its mesh-wide name has an address, whatever its own name resolves to."""
    found = told(endpoint(), service=msgspec.structs.replace(HELLO, headless=True, cluster_ips=()))
    assert found == told(endpoint())


@pytest.mark.parametrize(
    ("scope", "service"),
    [
        (ServiceScope.LOCAL, HELLO),
        (ServiceScope.GLOBAL, Service(cluster="east", namespace="a", name="b", external_name="x.example")),
    ],
)
def test_what_stays_at_home(scope: ServiceScope, service: Service) -> None:
    assert told(endpoint(), scope=scope, service=service) is None
