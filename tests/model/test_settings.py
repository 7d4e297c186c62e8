"""Settings: trust domains and services that stay at home."""

import pytest

from isthmus.model.settings import MeshSettings


@pytest.mark.parametrize(
    ("aliases", "expected"), [((), ("td",)), (("old",), ("td", "old")), (("td", "old"), ("td", "old"))]
)
def test_trust_domains_start_with_the_own_one(aliases: tuple[str, ...], expected: tuple[str, ...]) -> None:
    settings = MeshSettings(config_cluster="c", trust_domain="td", trust_domain_aliases=aliases)
    assert settings.trust_domains == expected


def test_local_hosts_follow_domain_and_system_namespace() -> None:
    settings = MeshSettings(config_cluster="c", domain="example.org", system_namespace="mesh", cluster_local=("*.x",))
    assert settings.local_hosts == (
        "*.kube-system.svc.example.org",
        "kubernetes.default.svc.example.org",
        "istiod.mesh.svc.example.org",
        "*.x",
    )
