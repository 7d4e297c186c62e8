"""The client's side of the delta protocol against the server's: what is held, sent again, taken away."""

from collections.abc import Collection, Mapping

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.xds.client import DeltaClient
from isthmus.xds.delta import DeltaSession
from isthmus.xds.resource import XdsResource
from isthmus.xds.session import Rejected

THING, HELLO = "type/thing", "type/hello"


class Things:
    """A source that can be changed."""

    def __init__(self, **things: str) -> None:
        self.all = {THING: dict[str, XdsResource](), HELLO: {"me": XdsResource(HELLO, "me", b"me")}}
        self.put(**things)

    def put(self, **things: str) -> None:
        self.all[THING] = {name: XdsResource(THING, name, text.encode()) for name, text in things.items()}

    def resource(self, type_url: str, name: str) -> XdsResource | None:
        return self.all[type_url].get(name)

    def resources(self, type_url: str) -> Mapping[str, XdsResource]:
        return self.all[type_url]

    def subscribe(self, type_url: str, names: Collection[str]) -> None:
        """Nothing to note."""

    def unsubscribe(self, type_url: str, names: Collection[str]) -> None:
        """Nothing to note."""


class Stream:
    """A client and a server over a wire without time."""

    def __init__(self, client: DeltaClient, source: Things) -> None:
        self.client = client
        self.session = DeltaSession(source)
        self.log: list[str] = []
        for frame in client.open(base_pb2.Node(id="n")):
            self.send(frame)
        self.talk()

    def send(self, frame: bytes) -> list[object]:
        return list(self.session.receive(discovery_pb2.DeltaDiscoveryRequest.FromString(frame), 0.0))

    def talk(self) -> None:
        while push := self.session.next(0.0):
            update = self.client.receive(push.data)
            assert update is not None
            kind = update.type_url.rpartition("/")[2]
            self.log.append(f"{kind} +{','.join(sorted(update.changed))} -{','.join(update.removed)}")
            self.send(self.client.answer(update))


def client() -> DeltaClient:
    return DeltaClient((THING,), fresh=HELLO)


def held(who: DeltaClient) -> dict[str, str]:
    return {name: one.body.decode() for name, one in who.held[THING].items()}


def test_everything_comes_first_and_the_fresh_type_says_when_that_was_all() -> None:
    who = client()
    assert Stream(who, Things(a="1", b="2")).log == ["thing +a,b -", "hello +me -"]
    assert held(who) == {"a": "1", "b": "2"}


def test_a_new_stream_brings_only_what_differs_and_takes_away_what_is_gone() -> None:
    who = client()
    Stream(who, Things(a="1", b="2", c="3"))
    assert Stream(who, Things(a="1", b="2", c="3")).log == ["hello +me -"]
    assert Stream(who, Things(a="1", b="new")).log == ["thing +b -", "hello +me -", "thing + -c"]
    assert held(who) == {"a": "1", "b": "new"}


def test_changes_on_the_stream() -> None:
    who, source = client(), Things(a="1")
    stream = Stream(who, source)
    source.put(a="2", b="3")
    stream.session.mark({THING: ["a", "b"]})
    stream.talk()
    source.put(b="3")
    stream.session.mark({THING: ["a"]})
    stream.talk()
    assert stream.log[2:] == ["thing +a,b -", "thing + -a"]
    assert held(who) == {"b": "3"}


def test_a_resource_is_sent_again_when_it_is_asked_for() -> None:
    who = client()
    stream = Stream(who, Things())
    for _ in range(2):
        stream.send(who.ask_again(HELLO, "me"))
        stream.talk()
    assert stream.log == ["thing + -", "hello +me -", "hello +me -", "hello +me -"]


def test_a_refusal_reaches_the_server_with_its_reason() -> None:
    who, source = client(), Things(a="1")
    session = DeltaSession(source)
    frames = who.open(base_pb2.Node(id="n"))
    session.receive(discovery_pb2.DeltaDiscoveryRequest.FromString(frames[0]), 0.0)
    push = session.next(0.0)
    assert push is not None
    update = who.receive(push.data)
    assert update is not None
    answer = discovery_pb2.DeltaDiscoveryRequest.FromString(who.answer(update, "not yours"))
    assert [event for event in session.receive(answer, 0.0) if isinstance(event, Rejected)] == [
        Rejected(THING, "not yours", ("a",))
    ]


def test_types_that_were_not_asked_for_are_left_alone() -> None:
    response = discovery_pb2.DeltaDiscoveryResponse(type_url="type/other", nonce="1")
    assert client().receive(response.SerializeToString()) is None
