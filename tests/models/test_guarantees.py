"""Deployment models on paper: who answers whom by which path with which identity, and what is lost with what."""

import pytest

from tests.models.faults import Survey, lost_cluster
from tests.models.guarantees import DOCUMENT, MODELS, Model, row, table, written
from tests.models.paper import Paper

SLEEP = "spiffe://{}/ns/sample/sa/sleep"
DIRECT: tuple[str, ...] = ()

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
    "blue-green": {"east": {("east", DIRECT): 1.0}, "west": {("west", DIRECT): 1.0}},
    "blue-green-isolated": {"east": {("east", DIRECT): 1.0}, "west": {("west", DIRECT): 1.0}},
}
"""For callers of each cluster: (answering cluster, gateways on the way) and its share."""


def test_the_document_says_what_the_resources_do() -> None:
    text = DOCUMENT.read_text()
    assert text == written(text, table()), "run python -m tests.models.guarantees and look at what changed"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.example)
def test_who_answers_by_which_path_with_which_identity(model: Model) -> None:
    paper = Paper(model.example)
    for cluster, ways in Survey(paper, model.host, model.port).ways().items():
        assert {(way.cluster, way.gateways): pytest.approx(share) for way, share in ways.items()} == WAYS[
            model.example
        ][cluster]
        assert {way.identity for way in ways} == {SLEEP.format(paper.world.cluster(cluster).trust_domain)}


def test_a_lost_cluster_leaves_the_other() -> None:
    paper = Paper("two-networks")
    survey = Survey(paper, fault=lost_cluster(paper, "east"))
    assert {cluster: {way.cluster for way in ways} for cluster, ways in survey.ways().items()} == {"west": {"west"}}


def test_a_table_tells_of_what_is_lost() -> None:
    """The table is no constant: callers of a service that only west has have nobody left without it."""
    cells = row(Model("two-networks", "only-west.sample"))
    assert cells["gateway"] == "east: same<br>west: east unanswered"
    assert cells["API server"] == "same"
