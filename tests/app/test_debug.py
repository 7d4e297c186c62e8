"""The debug pages over a mesh made of a dictionary; what they show in the whole is seen in test_serve."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.app.cluster_settings import ClusterStatus
from isthmus.app.debug import DebugPages, Replica
from isthmus.base.errors import ObjectRef, Problem
from isthmus.derive.liveness import Decision
from isthmus.edge.journal import Entry, Journal
from isthmus.edge.xds_streams import Dirty, Stream, Streams
from isthmus.model.mesh import NetworkGateway
from isthmus.model.rows import Proxy
from isthmus.trust.caller import Caller
from isthmus.xds.delta import DeltaSession
from isthmus.xds.node import Node
from isthmus.xds.resource import CDS, EDS, XdsResource

STATUS = ClusterStatus(
    id="west",
    secret="istio-remote-secret-west",
    server="https://west",
    status="error",
    last_contact=None,
    last_error="refused",
    rows=3,
    stale=True,
)
PROBLEM = Problem(ObjectRef("c", "Gateway", "n", "g"), "spec", "is bad", "Mend it")
NODE = Node("id", "sidecar", "10.0.0.1", "a", "ns", "d", {}, version="1.2")


STANDING = {"cluster": "west", "standing": "demoted"}
FIRST = Entry(number=1, time=60.0, cluster="west", what="gateway", before="good", after="bad", reason="refused")
SECOND = Entry(number=2, time=61.0, cluster="west", what="standing", before="active", after="demoted", reason="a rule")


class Liveness:
    def __init__(self) -> None:
        self.journal = Journal("")
        for entry in (FIRST, SECOND):
            fields = (entry.time, entry.cluster, entry.what, entry.before, entry.after, entry.reason)
            self.journal.add([Decision(*fields)])

    def page(self) -> list[dict[str, Any]]:
        return [STANDING]


class Mesh:
    revision = 7

    def tables(self) -> Sequence[str]:
        return ["services"]

    def table(self, name: str) -> Sequence[tuple[Any, Any]]:
        rows: dict[str, list[tuple[Any, Any]]] = {
            "services": [(("c", "n", "s"), "row")],
        }
        return rows[name]

    def gateways(self) -> Sequence[NetworkGateway]:
        return [NetworkGateway("net-west", "west", "172.18.0.2", 15443)]

    def drain_preview(self, cluster: str) -> Sequence[Any]:
        return [f"all of {cluster}"]

    def connect(self, _: Proxy) -> Dirty:
        return {}

    def disconnect(self, _: str) -> None:
        """Nobody is told."""

    def demand(self, *_: Any) -> tuple[str, ...]:
        return ()

    def subscribe(self, *_: Any) -> None:
        """Nobody follows."""

    def unsubscribe(self, *_: Any) -> None:
        """Nobody follows."""

    def resource(self, proxy_id: str, type_url: str, name: str) -> XdsResource | None:
        return self.resources(proxy_id, type_url).get(name)

    def resources(self, proxy_id: str, type_url: str) -> Mapping[str, XdsResource]:
        bodies = {CDS: b"\x0a\x01a", EDS: b"\xff\xff"}
        return {"a": XdsResource(type_url, "a", bodies[type_url], "v")} if type_url in bodies else {}


class Clusters:
    """One cluster."""

    def statuses(self) -> list[ClusterStatus]:
        return [STATUS]

    async def digests(self) -> dict[str, dict[str, str]]:
        return {STATUS.id: {"Pod": "01"}, "gone": {}}


class Clock:
    def now(self) -> float:
        return 110.0

    def monotonic(self) -> float:
        return 110.0


@pytest.fixture
def pages() -> dict[str, Any]:
    mesh = Mesh()
    streams = Streams(mesh)
    proxy = Proxy(cluster="c", namespace="ns", name="a", network="net")
    stream = Stream(0, proxy, NODE, Caller("c", "ns", "default"), "peer", 90.0)
    stream.kick = lambda: None
    streams.open(stream, DeltaSession)
    for type_url in (CDS, EDS):
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=["a"])
        stream.session.receive(request, 100.0)
    stream.session.next(100.0)
    made = DebugPages(
        mesh,
        streams,
        Clock(),
        replica=Replica("istiod-1", "canary"),
        clusters=Clusters(),
        problems=lambda: [PROBLEM],
        plain={"trust": lambda: {"constrained": True}},
        liveness=Liveness(),
    )
    return dict(made.pages())


@pytest.mark.parametrize(
    ("name", "query", "answer"),
    [
        ("liveness", {}, {"istiod": "istiod-1", "clusters": [STANDING]}),
        ("drain", {"cluster": "west"}, {"istiod": "istiod-1", "config": "", "moves": ["all of west"]}),
        ("events", {}, {"istiod": "istiod-1", "now": 110.0, "events": [FIRST, SECOND]}),
        ("events", {"since": "60.5"}, {"istiod": "istiod-1", "now": 110.0, "events": [SECOND]}),
        ("events", {"after": "2"}, {"istiod": "istiod-1", "now": 110.0, "events": []}),
        ("problems", {}, [PROBLEM]),
        ("trust", {}, {"constrained": True}),
        (
            "networkz",
            {},
            [
                {
                    "Network": "net-west",
                    "Cluster": "west",
                    "Addr": "172.18.0.2",
                    "Port": 15443,
                    "HBONEPort": 0,
                    "ServiceAccount": {"Namespace": "", "Name": ""},
                }
            ],
        ),
        ("tables", {}, {"services": 1}),
        ("tables/", {"name": "services"}, [{"key": ("c", "n", "s"), "row": "row"}]),
    ],
)
def test_pages_show_what_is_known(pages: dict[str, Any], name: str, query: dict[str, str], answer: Any) -> None:
    assert pages[name](query) == answer


def test_streams_are_shown_with_the_age_of_each_type(pages: dict[str, Any]) -> None:
    found = pages["syncz"]({})
    assert (found["istiod"], found["revision"], found["now"]) == ("istiod-1", 7, 110.0)
    [entry] = found["proxies"]
    assert (entry["proxy"], entry["id"], entry["cluster"], entry["network"]) == ("a.ns", "a.ns@c", "c", "net")
    assert (entry["identity"], entry["version"], entry["connected_at"]) == ("ns/default of cluster c", "1.2", 90.0)
    assert [(item["type"], item["state"], item["age"]) for item in entry["types"]] == [
        ("CDS", "STALE", 10.0),
        ("EDS", "STALE", None),
    ]


@pytest.mark.parametrize("proxy", ["a.ns", "a.ns@c"])
def test_a_proxys_resources_are_decoded(pages: dict[str, Any], proxy: str) -> None:
    from isthmus.envoy import clusters

    assert clusters is not None, "the messages are known to the decoder because the envoy package was loaded"
    dump = pages["config_dump"]({"proxyID": proxy})
    [cluster] = dump["CDS"]
    assert (cluster["name"], cluster["version"], cluster["resource"]["name"]) == ("a", "v", "a")
    assert dump["EDS"][0]["resource"] == {"@type": EDS, "bytes": 2}, "what cannot be decoded is not hidden"
    assert dump["LDS"] == []


@pytest.mark.parametrize("query", [{}, {"cluster": "south"}])
def test_a_cluster_that_nobody_knows_cannot_be_drained(pages: dict[str, Any], query: dict[str, str]) -> None:
    with pytest.raises(KeyError, match="cluster"):
        pages["drain"](query)


@pytest.mark.parametrize("query", [{"since": "noon"}, {"after": "1.5"}])
def test_what_is_no_number_is_said(pages: dict[str, Any], query: dict[str, str]) -> None:
    with pytest.raises(KeyError):
        pages["events"](query)


@pytest.mark.parametrize("query", [{}, {"proxyID": "nobody"}])
def test_an_unknown_proxy_is_not_known(pages: dict[str, Any], query: dict[str, str]) -> None:
    with pytest.raises(KeyError):
        pages["config_dump"](query)


def test_clusters_are_told_with_how_they_stand_and_what_was_seen(pages: dict[str, Any]) -> None:
    assert asyncio.run(pages["clusterz"]({})) == {
        "istiod": "istiod-1",
        "revision": "canary",
        "clusters": [asdict(STATUS) | {"liveness": STANDING, "digests": {"Pod": "01"}}],
    }
