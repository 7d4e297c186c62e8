"""The mesh configuration's word on the cluster."""

import pytest

from isthmus.model.rows import Cluster
from tests.ingest.check import check, complaints


def test_trust_domain_tr6() -> None:
    found = check("ConfigMap", {"metadata": {"name": "istio"}, "data": {"mesh": "trustDomain: td.example\nother: 1\n"}})
    assert found.rows == (Cluster(cluster="east", name="east", trust_domain="td.example"),)


@pytest.mark.parametrize("data", [None, {}, {"mesh": ""}, {"mesh": "enableAutoMtls: true"}])
def test_without_trust_domain_there_is_nothing_to_say(data: dict[str, str] | None) -> None:
    found = check("ConfigMap", {"metadata": {"name": "istio"}, "data": data})
    assert (found.rows, found.problems) == ((), ())


def test_other_config_maps_are_not_read() -> None:
    found = check("ConfigMap", {"metadata": {"name": "other"}, "data": {"mesh": "]["}})
    assert (found.rows, found.problems) == ((), ())


@pytest.mark.parametrize(
    ("mesh", "field"),
    [
        ("trustDomain: [", "data.mesh"),
        ("just text", "data.mesh"),
        ("trustDomain: 5", "data.mesh.trustDomain"),
        ("trustDomain: a/b", "data.mesh.trustDomain"),
        ("x: 2001-13-45", "data.mesh"),
    ],
)
def test_malformed_configuration_is_refused_and_told(mesh: str, field: str) -> None:
    found = check("ConfigMap", {"metadata": {"name": "istio"}, "data": {"mesh": mesh}})
    assert found.rows is None
    assert [name for name, _ in complaints(found)] == [field]
