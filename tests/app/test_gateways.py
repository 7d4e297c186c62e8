"""Whose Gateways a control plane looks after."""

import pytest

from isthmus.app.gateways import Gateways
from isthmus.app.settings import ServeSettings
from isthmus.edge.clock import SystemClock
from isthmus.install.values import CONTROL_PLANE_CLUSTERS
from isthmus.kube.kubeconfig import Access
from isthmus.model.rows import Namespace, labels
from tests.graph.world import cluster, mesh


@pytest.mark.parametrize(
    ("named", "ours"),
    [
        ("", False),
        ("east", True),
        ("east,south", True),
        ("south, east", False),
        ("*", True),
    ],
)
def test_gateways_of_clusters_that_name_us_first_are_ours(named: str, ours: bool) -> None:
    notes = labels({CONTROL_PLANE_CLUSTERS: named} if named else {})
    system = Namespace(cluster="west", name="istio-system", annotations=notes)
    made = mesh("east", cluster("east", config=True), [*cluster("west"), system])
    settings = ServeSettings(cluster="east", access=Access(server="https://127.0.0.1:1"))
    found = Gateways(settings, made, SystemClock(), lambda _: None).in_charge()
    assert found == ({"east", "west"} if ours else {"east"})
