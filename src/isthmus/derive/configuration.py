"""What the mesh's configuration makes of the settings that the control plane was started with."""

from collections.abc import Sequence

import msgspec

from isthmus.model.mesh_config import MeshConfig, Selector
from isthmus.model.rows import Labels
from isthmus.model.settings import MeshSettings


def effective(settings: MeshSettings, config: MeshConfig | None) -> MeshSettings:
    """The settings in force: what ConfigMap `istio` says wins over flags, field by field; aliases are added."""
    if config is None:
        return settings
    return msgspec.structs.replace(
        settings,
        allow_any=settings.allow_any if config.allow_any is None else config.allow_any,
        trust_domain_aliases=tuple(dict.fromkeys((*settings.trust_domain_aliases, *config.trust_domain_aliases))),
        service_settings=(*settings.service_settings, *config.service_settings),
    )


def discovered(selectors: Sequence[Selector], labels: Labels) -> bool:
    """True if a namespace with these labels is one of the mesh's: one selector of several is enough (TE4)."""
    return not selectors or any(selector.matches(labels) for selector in selectors)
