"""What a stream says of itself, and extension configurations, which are never taken away."""

from collections.abc import Collection, Mapping

from envoy.service.discovery.v3 import discovery_pb2

from isthmus.xds.delta import DeltaSession
from isthmus.xds.resource import CDS, ECDS, EDS, NDS, RDS, XdsResource
from isthmus.xds.subscription import SyncState


class World:
    def __init__(self) -> None:
        self.exists: dict[str, dict[str, XdsResource]] = {}

    def put(self, type_url: str, name: str) -> None:
        self.exists.setdefault(type_url, {})[name] = XdsResource(type_url, name, b"1")

    def resource(self, type_url: str, name: str) -> XdsResource | None:
        return self.exists.get(type_url, {}).get(name)

    def resources(self, type_url: str) -> Mapping[str, XdsResource]:
        return self.exists.get(type_url, {})

    def subscribe(self, type_url: str, names: Collection[str]) -> None:
        """Nobody follows."""

    def unsubscribe(self, type_url: str, names: Collection[str]) -> None:
        """Nobody follows."""


def ask(session: DeltaSession, type_url: str, *names: str) -> None:
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names)
    session.receive(request, 1.0)


def test_the_status_is_in_push_order_whatever_came_first() -> None:
    session = DeltaSession(World())
    for type_url in (NDS, ECDS, RDS, EDS, CDS):
        ask(session, type_url, "a")
    assert [row.type for row in session.status()] == ["CDS", "EDS", "RDS", "NDS", "ECDS"]
    assert {row.state for row in session.status()} == {SyncState.STALE}


def test_extension_configurations_are_never_removed() -> None:
    """XD7"""
    world = World()
    world.put(ECDS, "filter")
    session = DeltaSession(world)
    ask(session, ECDS, "filter")
    push = session.next(1.0)
    assert push is not None
    session.receive(discovery_pb2.DeltaDiscoveryRequest(type_url=ECDS, response_nonce=push.nonce), 1.0)
    world.exists.clear()
    session.mark({ECDS: {"filter"}})
    assert session.next(1.0) is None
    assert session.idle


def test_many_names_are_looked_up_in_all_that_there_is() -> None:
    world = World()
    names = [f"n{number}" for number in range(200)]
    for name in names:
        world.put(EDS, name)
    single: list[str] = []
    found = world.resource

    def counted(type_url: str, name: str) -> XdsResource | None:
        single.append(name)
        return found(type_url, name)

    world.resource = counted  # type: ignore[method-assign]
    session = DeltaSession(world)
    ask(session, EDS, *names, "absent")
    push = session.next(1.0)
    assert push is not None
    assert (push.resources, push.removed, single) == (200, 1, [])
