"""Whole installations, and how they are written down."""

from collections.abc import Iterable

import yaml

from isthmus.install.crds import definitions
from isthmus.install.eastwest import east_west_gateway
from isthmus.install.istiod import istiod
from isthmus.install.values import ControlPlaneValues, Manifest

__all__ = ["control_plane", "definitions", "east_west_gateway", "render"]


def control_plane(values: ControlPlaneValues) -> list[Manifest]:
    """What makes a cluster a primary: definitions of its resources first, then the control plane."""
    made = definitions(gateway_api=values.gateway_api_crds) if values.crds else []
    return [*made, *istiod(values)]


class _Dumper(yaml.SafeDumper):
    """Writes lists indented below their key and shares no anchors, as people write manifests."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def render(manifests: Iterable[Manifest]) -> str:
    """YAML documents, ready for `kubectl apply -f -`."""
    return "".join(
        f"---\n{yaml.dump(item, Dumper=_Dumper, sort_keys=False, default_flow_style=False)}" for item in manifests
    )
