"""One frozen object says everything; what cannot work is refused at once."""

from typing import Any

import pytest

from isthmus.app.settings import Listen, ServeSettings
from isthmus.base.errors import UsageError
from isthmus.kube.kubeconfig import Access


def settings(**changes: Any) -> ServeSettings:
    fields: dict[str, Any] = {"cluster": "east", "access": Access(server="https://east")}
    return ServeSettings(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cluster": ""}, "the cluster has no name"),
        ({"trust_domain": ""}, "no trust domain"),
        ({"trust_domain": "a/b"}, "'a/b' is no trust domain"),
        ({"listen": Listen(loopback="0.0.0.0")}, "must not be on 0.0.0.0"),
        ({"node_accounts": ("ztunnel",)}, "'ztunnel' is no service account"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        settings(**changes)
    assert refused.value.remedy


def test_the_server_certificate_has_every_name_that_proxies_use() -> None:
    """TR12"""
    names = settings(revision="canary", custom_hosts=("istiod.example.com",)).dns_names
    assert names == (
        "istiod.example.com",
        "istiod.istio-system.svc",
        "istiod-remote.istio-system.svc",
        "istio-pilot.istio-system.svc",
        "istiod-canary.istio-system.svc",
        "istiod.istio-system.svc.cluster.local",
    )
    assert "istiod-default.istio-system.svc" not in settings().dns_names


def test_injected_pods_are_given_what_the_control_plane_was_told() -> None:
    values = settings(network="n1", mesh_id="m", trust_domain="td", dns_capture=False, revision="r").injected
    assert (values.cluster, values.network, values.mesh_id, values.trust_domain) == ("east", "n1", "m", "td")
    assert (values.dns_capture, values.revision, values.discovery_address) == (
        False,
        "r",
        "istiod.istio-system.svc:15012",
    )


def test_node_proxies_are_trusted_by_name() -> None:
    """TR11"""
    assert settings(system_namespace="mesh").trusted_node_accounts == {("mesh", "isthmus-node"), ("mesh", "ztunnel")}
    assert settings(node_accounts=("kube-system/ztunnel",)).trusted_node_accounts == {("kube-system", "ztunnel")}
