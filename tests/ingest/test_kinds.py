"""The registry as a whole: whatever bytes come, an observation comes out."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.ingest.kinds import KINDS, Kind, observer
from isthmus.ingest.place import Place

VOCABULARY = """
    metadata name namespace labels spec status servers port ports number protocol tls mode hosts selector matchLabels
    mtls portLevelMtls host subsets trafficPolicy outlierDetection interval connectionPool tcp http portLevelSettings
    loadBalancer simple endpoints addresses conditions ready targetRef data mesh clusterIP type externalName
    trafficDistribution annotations ingress podIPs containers STRICT TLS 80 10.0.0.1 * a.b
"""
WORDS = st.sampled_from(VOCABULARY.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 70000) | WORDS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.fixed_dictionaries(
    {"metadata": st.just({"name": "x", "namespace": "a"}) | JSON},
    optional={"spec": JSON, "status": JSON, "data": JSON, "endpoints": JSON, "ports": JSON},
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_reads_whatever_comes(kind: Kind[Any]) -> None:
    observe = observer(kind, Place("east"))

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(OBJECTS)
    def check(obj: dict[str, Any]) -> None:
        found = observe(json.dumps(obj).encode())
        assert found.rows is not None or found.problems
        assert all(problem.remedy and problem.message and problem.field for problem in found.problems)
        for row in found.rows or ():
            assert isinstance(row, kind.rows)
            assert row.cluster == "east"
            hash(row)

    check()


def test_a_defect_of_ours_is_a_problem_of_one_object() -> None:
    def read(place: Place, obj: Any) -> Any:
        raise ZeroDivisionError("oops")

    found = observer(replace(KINDS[0], read=read), Place("east"))(b'{"metadata":{"name":"x"}}')
    assert found.rows is None
    assert "ZeroDivisionError" in found.problems[0].message


def test_every_kind_yields_rows_of_tables_of_its_own() -> None:
    names = [kind.name for kind in KINDS]
    assert len(set(names)) == len(names)
    assert len({kind.resource for kind in KINDS}) == len(KINDS)
    assert all(kind.rows for kind in KINDS)
