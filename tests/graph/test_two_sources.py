"""A proxy may take its configuration from any of several control planes: each makes the same bytes of the same rows.

Configuration comes from each one's own config cluster, so it is the same where those hold the same objects.
"""

from typing import Any

import msgspec
import pytest

from isthmus.graph.mesh import Mesh
from isthmus.install.eastwest import exposed_control_plane
from isthmus.install.values import MeshValues
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.routing import VirtualService
from isthmus.model.rows import Cluster, DestinationRule, Gateway, PeerAuthentication, Proxy, Row
from isthmus.xds.resource import CDS, EDS, LDS, NDS, RDS
from tests.envoy.test_acceptance import EMPTY, HEADLESS, MIXED, PLAIN, REMOTE, policies, rules
from tests.graph.test_passthrough import istiod, rows
from tests.graph.world import helloworld, mesh, router, sleep, two_networks

CONFIGURATION = (Gateway, VirtualService, DestinationRule, PeerAuthentication, AuthorizationPolicy)


def observed() -> list[Row]:
    """What every control plane of the mesh sees, with the same configuration in both clusters."""
    apps = [row for app in (MIXED, HEADLESS, REMOTE, PLAIN, EMPTY) for row in app.rows()]
    planes = [*istiod("east", "10.0.0.21").rows(), *istiod("west", "10.0.0.22").rows()]
    exposed = rows(*exposed_control_plane(MeshValues(cluster="east")))
    found: list[Row] = [*two_networks(), *apps, *planes, *exposed, *rules(), *policies()]
    there = [msgspec.structs.replace(row, cluster="west") for row in found if isinstance(row, CONFIGURATION)]
    return [*found, *there]


def source(config_cluster: str) -> Mesh:
    """A control plane whose config cluster is this one."""
    seen = [
        msgspec.structs.replace(row, config=row.name == config_cluster) if isinstance(row, Cluster) else row
        for row in observed()
    ]
    return mesh(config_cluster, seen)


def versions(made: Mesh, proxy: Proxy) -> dict[tuple[str, str], Any]:
    made.connect(proxy)
    return {
        (kind, name): one.version
        for kind in (CDS, EDS, LDS, NDS, RDS)
        for name, one in made.resources(proxy.id, kind).items()
    }


@pytest.mark.parametrize(
    "proxy",
    [
        sleep().sidecar(network="net-east", dns_capture=True),
        MIXED.sidecar(network="net-east"),
        helloworld("west", "10.0.0.11").sidecar(network="net-west"),
        router("east", "net-east"),
        router("west", "net-west", pod="gw-west"),
    ],
    ids=lambda proxy: str(proxy.id),
)
def test_a_proxy_gets_the_same_from_either(proxy: Proxy) -> None:
    first, second = versions(source("east"), proxy), versions(source("west"), proxy)
    assert len(first) > 5
    assert {key for key in first if first[key] != second.get(key)} == set()
    assert first.keys() == second.keys()
