"""Who is told of a change, and that one proxy's trouble is not another's."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.edge.xds_streams import Dirty, Stream, Streams
from isthmus.model.rows import Proxy
from isthmus.xds.delta import DeltaSession
from isthmus.xds.node import Node
from isthmus.xds.resource import CDS, EDS, TRUST_BUNDLE, XdsResource

NODE = Node("id", "sidecar", "10.0.0.1", "a", "ns", "ns.svc.cluster.local")


class Mesh:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.bundles: dict[str, XdsResource] = {}
        self.dirty: Dirty = {}

    def connect(self, proxy: Proxy) -> Dirty:
        self.log.append(f"connect {proxy.id}")
        return self.dirty

    def disconnect(self, proxy_id: str) -> None:
        self.log.append(f"disconnect {proxy_id}")

    def subscribe(self, proxy_id: str, type_url: str, names: Collection[str]) -> None:
        self.log.append(f"+{' '.join(sorted(names))}")

    def unsubscribe(self, proxy_id: str, type_url: str, names: Collection[str]) -> None:
        self.log.append(f"-{' '.join(sorted(names))}")

    def demand(self, proxy_id: str, type_url: str, names: Collection[str]) -> Collection[str]:
        return ()

    def resource(self, proxy_id: str, type_url: str, name: str) -> XdsResource | None:
        return self.resources(proxy_id, type_url).get(name)

    def resources(self, proxy_id: str, type_url: str) -> Mapping[str, XdsResource]:
        return self.bundles if type_url == TRUST_BUNDLE else {}


class Bench:
    def __init__(self) -> None:
        self.mesh = Mesh()
        self.streams = Streams(self.mesh)
        self.kicked: list[str] = []

    def open(self, name: str, *, kick: Callable[[], None] | None = None, **fields: Any) -> Stream:
        proxy = Proxy(cluster="c", namespace="ns", name=name, **fields)
        stream = Stream(0, proxy, NODE, None, "peer", 0.0)
        stream.kick = kick or (lambda: self.kicked.append(name))
        self.streams.open(stream, DeltaSession)
        return stream

    def tell(self, **names: str) -> int:
        return self.streams.dispatch({f"{proxy}.ns@c": {EDS: {name}} for proxy, name in names.items()})


def ask(stream: Stream, type_url: str, subscribe: str = "", unsubscribe: str = "") -> None:
    request = discovery_pb2.DeltaDiscoveryRequest(
        type_url=type_url,
        resource_names_subscribe=subscribe.split(),
        resource_names_unsubscribe=unsubscribe.split(),
    )
    stream.session.receive(request, 0.0)
    while push := stream.session.next(0.0):
        answer = discovery_pb2.DeltaDiscoveryRequest(type_url=push.type_url, response_nonce=push.nonce)
        stream.session.receive(answer, 0.0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_only_who_follows_a_name_is_told(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        ask(bench.open(name), EDS, "x" if name != "c" else "y")
    assert bench.tell(a="x", b="y", c="y", nobody="x") == 2
    assert bench.kicked == ["a", "c"]


def test_the_mesh_hears_of_a_name_once_for_several_streams(bench: Bench) -> None:
    envoy, agent = bench.open("a"), bench.open("a")
    ask(envoy, EDS, "x y")
    ask(agent, EDS, "y z")
    ask(envoy, EDS, unsubscribe="y x")
    ask(agent, EDS, unsubscribe="y")
    assert bench.mesh.log == ["connect a.ns@c", "+x y", "+z", "-x", "-y"]


def test_a_stream_that_ends_lets_go_of_what_only_it_wanted(bench: Bench) -> None:
    envoy, agent = bench.open("a"), bench.open("a")
    ask(envoy, CDS)
    ask(envoy, EDS, "x")
    ask(agent, EDS, "x z")
    bench.mesh.log.clear()
    bench.streams.close(agent)
    assert bench.mesh.log == ["-z"]
    assert (len(bench.streams), bench.streams.of("a.ns@c")) == (1, [envoy])
    bench.streams.close(envoy)
    assert bench.mesh.log == ["-z", "disconnect a.ns@c"]
    assert (len(bench.streams), bench.streams.all()) == (0, [])


def test_a_row_that_changed_is_told_to_the_mesh_and_to_the_streams(bench: Bench) -> None:
    first = bench.open("a", network="n1")
    ask(first, EDS, "x")
    bench.mesh.dirty = {"a.ns@c": {EDS: {"x"}}}
    bench.open("a", network="n1")
    assert bench.kicked == []
    bench.open("a", network="n2")
    assert bench.mesh.log.count("connect a.ns@c") == 2
    assert bench.kicked == ["a"]


def test_one_proxys_trouble_is_not_anothers(bench: Bench) -> None:
    def broken() -> None:
        raise ValueError("boom")

    for name, kick in (("a", None), ("b", broken), ("c", None)):
        ask(bench.open(name, kick=kick), EDS, "x")
    assert bench.tell(a="x", b="x", c="x") == 2
    assert bench.kicked == ["a", "c"]


def test_a_proxy_that_left_is_not_missed(bench: Bench) -> None:
    bench.streams.close(bench.open("a"))
    assert bench.tell(a="x") == 0


def tell_roots(bench: Bench, body: bytes) -> None:
    """Everybody is to hear of other roots."""
    bench.mesh.bundles = {"east.test": XdsResource(TRUST_BUNDLE, "east.test", body)}
    bench.streams.dispatch({f"{name}.ns@c": {TRUST_BUNDLE: {"east.test"}} for name in ("a", "b")})


@pytest.mark.parametrize("refused", [False, True])
def test_who_has_not_confirmed_roots_is_known_from_the_moment_that_they_change(bench: Bench, refused: bool) -> None:
    a, _ = bench.open("a"), bench.open("b")
    tell_roots(bench, b"1")
    ask(a, TRUST_BUNDLE, "*")
    assert (bench.streams.behind(TRUST_BUNDLE), bench.streams.without(TRUST_BUNDLE)) == ([], ["b.ns@c"])
    tell_roots(bench, b"2")
    assert bench.streams.behind(TRUST_BUNDLE) == ["a.ns@c"]
    push = a.session.next(0.0)
    assert push is not None
    assert bench.streams.behind(TRUST_BUNDLE) == ["a.ns@c"]
    answer = discovery_pb2.DeltaDiscoveryRequest(type_url=TRUST_BUNDLE, response_nonce=push.nonce)
    if refused:
        answer.error_detail.message = "no root"
    a.session.receive(answer, 0.0)
    assert bench.streams.behind(TRUST_BUNDLE) == (["a.ns@c"] if refused else [])
