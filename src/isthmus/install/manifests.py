"""Whole installations, and how they are written down."""

from collections.abc import Iterable

import yaml

from isthmus.install.crds import definitions
from isthmus.install.eastwest import east_west_gateway
from isthmus.install.istiod import common_labels, istiod
from isthmus.install.node import node_proxy
from isthmus.install.remote import elsewhere, remote_cluster
from isthmus.install.values import ControlPlaneValues, Manifest, RemoteValues

__all__ = ["control_plane", "definitions", "east_west_gateway", "node_proxy", "remote", "render"]


def control_plane(values: ControlPlaneValues) -> list[Manifest]:
    """What makes a cluster a primary: definitions of its resources first, then the control plane.

    An external control plane (`config_cluster`) has its definitions in its config cluster, not where it runs.
    """
    own = values.crds and not values.config_cluster
    made = definitions(gateway_api=values.gateway_api_crds) if own else []
    labels = common_labels(values.mesh)
    others = [elsewhere(values.mesh, plane, f"istiod-{plane.name}", labels) for plane in values.others]
    return [*made, *istiod(values), *(item for services in others for item in services)]


def remote(values: RemoteValues) -> list[Manifest]:
    """What makes a cluster a remote: definitions first, then accounts, Service istiod and webhook (PR1)."""
    made = definitions(gateway_api=values.gateway_api_crds) if values.crds else []
    return [*made, *remote_cluster(values)]


class _Dumper(yaml.SafeDumper):
    """Writes lists indented below their key and shares no anchors, as people write manifests."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, data: str) -> yaml.ScalarNode:
    """Texts of several lines, such as certificates, stand as they are."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _text)


def render(manifests: Iterable[Manifest]) -> str:
    """YAML documents, ready for `kubectl apply -f -`."""
    return "".join(
        f"---\n{yaml.dump(item, Dumper=_Dumper, sort_keys=False, default_flow_style=False)}" for item in manifests
    )
