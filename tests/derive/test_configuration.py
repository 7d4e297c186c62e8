"""The mesh's configuration over the settings of the start."""

import pytest

from isthmus.derive.configuration import discovered, effective
from isthmus.model.mesh_config import MeshConfig, Requirement, Selector, ServiceSetting
from isthmus.model.rows import labels
from isthmus.model.settings import MeshSettings

START = MeshSettings(
    config_cluster="east", allow_any=False, trust_domain_aliases=("a",), service_settings=(ServiceSetting(("x",)),)
)


def test_without_configuration_the_start_holds() -> None:
    assert effective(START, None) is START
    assert effective(START, MeshConfig(cluster="east", name="istio")) == START


def test_what_it_says_wins_and_adds() -> None:
    local = ServiceSetting(("y",), cluster_local=True)
    config = MeshConfig(
        cluster="east", name="istio", allow_any=True, trust_domain_aliases=("b", "a"), service_settings=(local,)
    )
    found = effective(START, config)
    assert found.allow_any
    assert found.trust_domain_aliases == ("a", "b")
    assert found.service_settings == (ServiceSetting(("x",)), local)


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        ((), True),
        ((Selector(),), True),
        ((Selector(labels=(("env", "prod"),)),), True),
        ((Selector(labels=(("env", "prod"), ("team", "b"))),), False),
        ((Selector(labels=(("env", "test"),)), Selector(labels=(("team", "a"),))), True),
        ((Selector(expressions=(Requirement("env", "In", ("test", "prod")),)),), True),
        ((Selector(expressions=(Requirement("env", "NotIn", ("prod",)),)),), False),
        ((Selector(expressions=(Requirement("other", "NotIn", ("prod",)),)),), True),
        ((Selector(expressions=(Requirement("other", "In", ("prod",)),)),), False),
        ((Selector(expressions=(Requirement("env", "Exists"), Requirement("other", "DoesNotExist"))),), True),
        ((Selector(expressions=(Requirement("env", "DoesNotExist"),)),), False),
        ((Selector(labels=(("env", "prod"),), expressions=(Requirement("other", "Exists"),)),), False),
    ],
)
def test_namespaces_are_chosen_by_labels_te4(selectors: tuple[Selector, ...], expected: bool) -> None:
    assert discovered(selectors, labels({"env": "prod", "team": "a"})) is expected
