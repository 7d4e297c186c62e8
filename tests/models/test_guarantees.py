"""Deployment models on paper: who answers whom by which path with which identity, and what is lost with what."""

import pytest

from tests.models.faults import Survey, Way, lost_cluster
from tests.models.guarantees import DOCUMENT, MODELS, Model, row, table, written
from tests.models.paper import Paper

SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"


def test_the_document_says_what_the_resources_do() -> None:
    text = DOCUMENT.read_text()
    assert text == written(text, table()), "run python -m tests.models.guarantees and look at what changed"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.example)
def test_every_caller_is_answered_while_nothing_is_lost(model: Model) -> None:
    ways = Survey(Paper(model.example), model.host, model.port).ways()
    assert ways
    for cluster, found in ways.items():
        assert sum(found.values()) == pytest.approx(1), cluster


def test_two_networks() -> None:
    paper = Paper("two-networks")
    survey = Survey(paper)
    assert survey.ways() == {
        "east": {Way("east", (), SLEEP): 0.75, Way("west", ("west",), SLEEP): 0.25},
        "west": {Way("west", (), SLEEP): 0.25, Way("east", ("east",), SLEEP): 0.75},
    }
    survey.fault = lost_cluster(paper, "east")
    assert survey.ways() == {"west": {Way("west", (), SLEEP): 1.0}}


def test_a_table_tells_of_what_is_lost() -> None:
    """The table is no constant: callers of a service that only west has have nobody left without it."""
    cells = row(Model("two-networks", "only-west.sample"))
    assert cells["gateway"] == "east: same<br>west: east unanswered"
    assert cells["API server"] == "same"
