"""Rows: keys, labels, and what equals what."""

import msgspec
import pytest

from isthmus.model.observed import OBSERVED
from isthmus.model.rows import Cluster, Locality, Protocol, Proxy, Row, Workload, labels, labels_match


def test_every_observed_kind_has_its_own_table() -> None:
    tables = [kind.TABLE for kind in OBSERVED]
    assert all(tables)
    assert len(set(tables)) == len(tables)


@pytest.mark.parametrize("kind", OBSERVED)
def test_a_row_is_keyed_by_cluster_first_and_frozen(kind: type[Row]) -> None:
    row = kind(cluster="c", namespace="ns", name="n")
    assert row.key == ("c", "ns", "n")
    assert row == kind(cluster="c", namespace="ns", name="n")
    with pytest.raises(AttributeError):
        row.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("selector", "found", "matches"),
    [
        ({}, {"a": "1"}, True),
        ({"a": "1"}, {"a": "1", "b": "2"}, True),
        ({"a": "2"}, {"a": "1"}, False),
        ({"a": "1", "b": "2"}, {"a": "1"}, False),
    ],
)
def test_selectors_are_subsets(selector: dict[str, str], found: dict[str, str], matches: bool) -> None:
    assert labels_match(labels(selector), labels(found)) is matches


def test_labels_have_one_order() -> None:
    assert labels({"b": "2", "a": "1"}) == labels({"a": "1", "b": "2"}) == (("a", "1"), ("b", "2"))
    assert labels(None) == ()


def test_a_proxys_id_tells_clusters_apart() -> None:
    ids = {Proxy(cluster=cluster, namespace="ns", name="p").id for cluster in ("east", "west")}
    assert ids == {"p.ns@east", "p.ns@west"}


@pytest.mark.parametrize(
    ("locality", "text"),
    [(Locality("r", "z", "s"), "r/z/s"), (Locality("r", "z"), "r/z"), (Locality("r"), "r"), (Locality(), "")],
)
def test_localities_as_text(locality: Locality, text: str) -> None:
    assert str(locality) == text


def test_what_http_is() -> None:
    assert {protocol for protocol in Protocol if protocol.is_http} == {Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC}


def test_rows_survive_a_checkpoint() -> None:
    row = Workload(cluster="c", namespace="ns", name="p", labels=labels({"a": "1"}), addresses=("1.1.1.1",))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=Workload) == row
    assert msgspec.structs.replace(Cluster(cluster="c", name="c"), stale=True).stale
