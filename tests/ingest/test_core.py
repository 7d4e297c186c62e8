"""Namespaces and nodes."""

import pytest

from isthmus.model.rows import Locality, Namespace, Node
from tests.ingest.check import check, complaints


def test_namespace_row() -> None:
    found = check("Namespace", {"metadata": {"namespace": "", "labels": {"a": "1"}, "annotations": {"b": "2"}}})
    assert found.rows == (Namespace(cluster="east", name="x", labels=(("a", "1"),), annotations=(("b", "2"),)),)


def test_node_row() -> None:
    labels = {
        "topology.kubernetes.io/region": "r",
        "failure-domain.beta.kubernetes.io/region": "old",
        "failure-domain.beta.kubernetes.io/zone": "z",
        "topology.istio.io/subzone": "s",
    }
    addresses = [
        {"type": "InternalIP", "address": "10.0.0.1"},
        {"type": "ExternalIP", "address": "192.0.2.1"},
        {"type": "Hostname", "address": "n"},
    ]
    found = check("Node", {"metadata": {"namespace": "", "labels": labels}, "status": {"addresses": addresses}})
    assert found.rows == (
        Node(
            cluster="east",
            name="x",
            labels=tuple(sorted(labels.items())),
            locality=Locality("r", "z", "s"),
            addresses=("10.0.0.1",),
            external_addresses=("192.0.2.1",),
        ),
    )


def test_a_node_without_labels_is_nowhere() -> None:
    assert check("Node", {"metadata": {"namespace": ""}}).rows == (Node(cluster="east", name="x"),)


def test_malformed_ones_are_refused_and_told() -> None:
    for kind in ("Namespace", "Node"):
        found = check(kind, {"metadata": {"labels": {"a": 5}}})
        assert found.rows is None
        assert complaints(found) == [("metadata.labels[...]", "expected `str`, got `int`")]


@pytest.mark.parametrize(
    ("text", "expected", "warned"),
    [("preferclose", "PreferSameZone", 0), ("PreferNetwork", "PreferNetwork", 0), ("?", "Any", 1)],
)
def test_traffic_distribution_of_a_namespace_lb9(text: str, expected: str, warned: int) -> None:
    metadata = {"namespace": "", "annotations": {"networking.istio.io/traffic-distribution": text}}
    found = check("Namespace", {"metadata": metadata})
    assert [row.traffic_distribution for row in found.rows or () if isinstance(row, Namespace)] == [expected]
    assert len(found.problems) == warned


@pytest.mark.parametrize(("mode", "told"), [("ambient", 0), ("none", 0), ("ambent", 1)])
@pytest.mark.parametrize("kind", ["Namespace", "Pod"])
def test_a_data_plane_that_nobody_knows_is_told(kind: str, mode: str, told: int) -> None:
    found = check(kind, {"metadata": {"labels": {"istio.io/dataplane-mode": mode}}})
    assert found.rows, "it counts all the same"
    message = "'ambent' is not known, so no pod is captured by it"
    assert complaints(found) == [("metadata.labels[istio.io/dataplane-mode]", message)] * told
