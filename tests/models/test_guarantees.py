"""Deployment models on paper: who answers whom by which path with which identity, and what is lost with what."""

from dataclasses import replace

import pytest

from tests.models.faults import Fault, Survey, lost_cluster
from tests.models.follow import Way
from tests.models.guarantees import DOCUMENT, MODELS, Model, ambient, row, table, written
from tests.models.paper import Paper

DIRECT: tuple[str, ...] = ()

AMBIENT = ("east", "west", "north")
EVERYWHERE = {here: {(there, DIRECT if there == here else (there,)): 1 / 3 for there in AMBIENT} for here in AMBIENT}

WAYS = {
    "single-cluster": {"east": {("east", DIRECT): 1.0}},
    "flat-network": {
        "east": {("east", DIRECT): 0.5, ("west", DIRECT): 0.5},
        "west": {("east", DIRECT): 0.5, ("west", DIRECT): 0.5},
    },
    "two-networks": {
        "east": {("east", DIRECT): 0.75, ("west", ("west",)): 0.25},
        "west": {("west", DIRECT): 0.25, ("east", ("east",)): 0.75},
    },
    "primary-remote": {
        "east": {("east", DIRECT): 0.5, ("west", DIRECT): 0.5},
        "west": {("east", DIRECT): 0.5, ("west", DIRECT): 0.5},
    },
    "primary-remote-two-networks": {
        "east": {("east", DIRECT): 0.5, ("west", ("west",)): 0.5},
        "west": {("west", DIRECT): 0.5, ("east", ("east",)): 0.5},
    },
    "external-control-plane": {
        "east": {("east", DIRECT): 0.5, ("west", ("west",)): 0.5},
        "west": {("west", DIRECT): 0.5, ("east", ("east",)): 0.5},
    },
    # East and west are one network with two gateways: either gateway leads to the endpoints of both.
    "shared-and-own": {
        "east": {("east", DIRECT): 1 / 3, ("west", DIRECT): 1 / 3, ("north", ("north",)): 1 / 3},
        "west": {("east", DIRECT): 1 / 3, ("west", DIRECT): 1 / 3, ("north", ("north",)): 1 / 3},
        "north": {
            ("north", DIRECT): 1 / 3,
            ("east", ("east",)): 1 / 6,
            ("west", ("east",)): 1 / 6,
            ("east", ("west",)): 1 / 6,
            ("west", ("west",)): 1 / 6,
        },
    },
    "three-regions": {region: {(region, DIRECT): 1.0} for region in ("eu", "us", "asia")},
    "vm": {"east": {("east", DIRECT): 1.0}, "west": {("east", ("east",)): 1.0}},
    "tenancy": {
        "team-a": {("team-a", DIRECT): 0.5, ("team-b", ("team-b",)): 0.5},
        "team-b": {("team-b", DIRECT): 0.5, ("team-a", ("team-a",)): 0.5},
    },
    "replicated": {"east": {("east", DIRECT): 1.0}, "west": {("west", DIRECT): 1.0}},
    "blue-green": {"east": {("east", DIRECT): 1.0}, "west": {("west", DIRECT): 1.0}},
    "blue-green-isolated": {"east": {("east", DIRECT): 1.0}, "west": {("west", DIRECT): 1.0}},
    "ambient": {name: {(name, DIRECT): 1.0} for name in AMBIENT},
    "ambient, Any": EVERYWHERE,
    "ambient, Any, waypoint": EVERYWHERE,
    "ambient/mixed.yaml, Any": EVERYWHERE,
}
"""For callers of each cluster: (answering cluster, gateways on the way) and its share."""


def test_the_document_says_what_the_resources_do() -> None:
    text = DOCUMENT.read_text()
    assert text == written(text, table()), "run python -m tests.models.guarantees and look at what changed"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_who_answers_by_which_path_with_which_identity(model: Model) -> None:
    survey = model.survey()
    found = {
        cluster: {(way.cluster, way.gateways): pytest.approx(share) for way, share in ways.items()}
        for cluster, ways in survey.ways().items()
    }
    assert found == WAYS[model.name]
    for client in survey.clients():
        assert client.identity.endswith(f"/ns/{model.app[0]}/sa/{model.app[1]}")
        shown: dict[str, tuple[str, ...]] = {client.identity: ()}
        if model.waypoint:
            # Who asks a waypoint is told to the application; the proxy of the server sees who asks on.
            space = client.identity.rpartition("/sa/")[0]
            shown = {f"{space}/sa/waypoint": (client.cluster,)}
        assert {way.identity: way.waypoints for way in survey.call(client)} == shown


@pytest.mark.parametrize(
    ("host", "app", "expected"),
    [
        ("billing.billing", ("shop", "storefront"), {"team-a": {"team-b"}, "team-b": set()}),
        ("billing.billing", ("shop", "intern"), {"team-a": set()}),
        ("payroll.billing", ("shop", "storefront"), {"team-a": set(), "team-b": {"team-b"}}),
    ],
)
def test_who_may_call_whom_between_teams(host: str, app: tuple[str, str], expected: dict[str, set[str]]) -> None:
    """Named by a policy; not named; not exposed by the gateway (and called by a service account of that namespace)."""
    ways = Model("tenancy", host, app=app).survey().ways()
    assert {cluster: {way.cluster for way in found} for cluster, found in ways.items()} == expected


def test_a_lost_cluster_leaves_the_other() -> None:
    paper = Paper("two-networks")
    survey = Survey(paper, fault=lost_cluster(paper, "east"))
    assert {cluster: {way.cluster for way in ways} for cluster, ways in survey.ways().items()} == {"west": {"west"}}


def test_global_names_lead_from_gateway_to_gateway() -> None:
    survey = Model("replicated", "helloworld.sample.global").survey()
    survey.fault = Fault(apps=frozenset({("east", "helloworld")}))
    ways = {cluster: {(way.cluster, way.gateways) for way in found} for cluster, found in survey.ways().items()}
    assert ways == {"east": {("west", ("east", "west"))}, "west": {("west", DIRECT)}}


@pytest.mark.parametrize("example", ["ambient", "ambient/mixed.yaml"])
def test_what_is_gone_at_home_is_answered_elsewhere_under_the_caller_s_own_identity(example: str) -> None:
    survey = ambient(example).survey()
    survey.fault = Fault(apps=frozenset({("east", "hello-world")}))
    ways = survey.ways()
    identity = "spiffe://east.example/ns/app/sa/sleep"
    assert set(ways["east"]) == {Way("west", ("west",), identity), Way("north", ("north",), identity)}
    assert {way.cluster for way in ways["west"]} == {"west"}
    survey.fault = replace(survey.fault, gateways=frozenset({"west"}))
    assert set(survey.ways()["east"]) == {Way("north", ("north",), identity)}


def test_a_service_that_is_global_nowhere_stays_at_home() -> None:
    survey = replace(ambient("ambient").survey(), host="hello-world.app")
    survey.fault = Fault(apps=frozenset({("east", "hello-world")}))
    assert {cluster: {way.cluster for way in ways} for cluster, ways in survey.ways().items()} == {
        "east": set(),
        "west": {"west"},
        "north": {"north"},
    }


def test_unlinked_clusters_know_nothing_of_each_other() -> None:
    survey = replace(ambient("ambient"), linked=False).survey()
    assert survey.ways() == {name: {} for name in AMBIENT}
    survey.host = "hello-world.app"
    assert all({way.cluster for way in ways} == {name} for name, ways in survey.ways().items())


def test_a_pod_is_mute_without_the_proxy_of_its_node_and_its_neighbours_elsewhere_are_not() -> None:
    survey = ambient("ambient").survey()
    (caller,) = [client for client in survey.clients() if client.cluster == "east"]
    survey.fault = Fault(node_proxies=frozenset({("east", caller.node)}))
    assert survey.call(caller) == {}
    caller.node = next(node for cluster, node in survey.paper.nodes if cluster == "east" and node != caller.node)
    assert survey.call(caller)[Way("east", DIRECT, caller.identity)] > 0


def test_a_dead_waypoint_is_no_way_around_its_policies() -> None:
    survey = replace(ambient("ambient"), waypoint=True).survey()
    survey.fault = Fault(waypoints=frozenset({"east"}))
    assert {cluster: bool(ways) for cluster, ways in survey.ways().items()} == {
        "east": False,
        "west": True,
        "north": True,
    }


def test_a_table_tells_of_what_is_lost() -> None:
    """The table is no constant: callers of a service that only west has have nobody left without it."""
    cells = row(Model("two-networks", "only-west.sample"))
    assert cells["gateway"] == "east: same<br>west: east unanswered"
    assert cells["API server"] == "same"
