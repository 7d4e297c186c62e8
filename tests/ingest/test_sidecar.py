"""networking.istio.io Sidecars."""

from typing import Any

import pytest

from isthmus.base.errors import Severity
from isthmus.model.routing import Sidecar
from tests.ingest.check import check, complaints


def test_a_sidecar() -> None:
    spec = {
        "workloadSelector": {"labels": {"app": "x"}},
        "egress": [{"hosts": ["./*"]}, {"hosts": ["istio-system/*", "~/a.example"]}],
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
    }
    found = check("Sidecar", {"spec": spec})
    assert found.problems == ()
    assert found.rows == (
        Sidecar(
            cluster="east",
            namespace="a",
            name="x",
            selector=(("app", "x"),),
            egress=("./*", "istio-system/*", "~/a.example"),
            allow_any=False,
        ),
    )


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"egress": "x"}, "spec.egress"),
        ({"egress": [{}]}, "spec.egress[0].hosts"),
        ({"egress": [{"hosts": ["a"]}]}, "spec.egress[0].hosts[0]"),
        ({"egress": [{"hosts": ["a.b/c"]}, {"hosts": ["./a b"]}]}, "spec.egress[1].hosts[0]"),
        ({"outboundTrafficPolicy": {"mode": "SOME"}}, "spec.outboundTrafficPolicy.mode"),
        ({"workloadSelector": {"labels": {"a": 1}}}, "spec.workloadSelector.labels.a"),
    ],
)
def test_malformed_sidecars_are_refused_and_told(spec: Any, field: str) -> None:
    found = check("Sidecar", {"spec": spec})
    assert found.rows is None
    assert [name for name, _ in complaints(found)] == [field]


def test_a_selector_for_the_whole_mesh_is_refused() -> None:
    metadata = {"namespace": "istio-system"}
    found = check("Sidecar", {"metadata": metadata, "spec": {"workloadSelector": {"labels": {"a": "b"}}}})
    assert [name for name, _ in complaints(found)] == ["spec.workloadSelector"]


def test_what_has_no_effect_is_told() -> None:
    found = check("Sidecar", {"spec": {"ingress": [{}], "egress": [{"hosts": ["*/*"], "port": {"number": 80}}]}})
    assert found.rows
    assert [name for name, _ in complaints(found)] == ["spec.ingress", "spec.egress[0].port"]
    assert {problem.severity for problem in found.problems} == {Severity.WARNING}


@pytest.mark.parametrize(
    ("text", "words", "problems"),
    [
        ("*", ("*",), 0),
        (".,b", (".", "b"), 0),
        (" . , team-a ,", (".", "team-a"), 0),
        ("", (), 0),
        ("Not A Namespace", ("Not A Namespace",), 1),
    ],
)
def test_a_service_says_who_sees_it(text: str, words: tuple[str, ...], problems: int) -> None:
    metadata = {"annotations": {"networking.istio.io/exportTo": text}}
    found = check("Service", {"metadata": metadata, "spec": {"ports": [{"port": 80}]}})
    assert found.rows
    assert found.rows[0].export_to == words  # type: ignore[attr-defined]
    assert len(found.problems) == problems
