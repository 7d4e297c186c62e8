"""Ambient workloads on paper: pods without a proxy of their own, and the proxies of nodes that speak for them."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from isthmus.agent.enrolment import NodePod, read_pod, wants_ambient
from isthmus.agent.node_proxy import parse_node_settings
from isthmus.agent.settings import Mounts, ProxySettings, ReadText
from isthmus.base.labels import REDIRECTION_ANNOTATION
from isthmus.base.names import spiffe_id
from isthmus.envoy.match import Config, Connection, Verdict
from isthmus.envoy.match_node import NodeConfig
from isthmus.install.node import CONTAINER
from isthmus.model.rows import Proxy
from tests.lab_pkg.controllers.world import Json, merged
from tests.models.proxies import PaperProxy

if TYPE_CHECKING:
    from tests.models.paper import Paper


def enrolled(pod: Json, namespace_labels: Mapping[str, str]) -> Json:
    """The pod as the agent of its node leaves it: captured, if its labels say so."""
    if not wants_ambient(read_pod(msgspec.convert(pod, NodePod)), namespace_labels):
        return pod
    return merged(pod, {"metadata": {"annotations": {REDIRECTION_ANNOTATION: "enabled"}}})


def is_captured(pod: Json) -> bool:
    """True if the proxy of its node speaks for the pod."""
    return (pod["metadata"].get("annotations") or {}).get(REDIRECTION_ANNOTATION) == "enabled"


class PaperNode(PaperProxy):
    """The proxy of a node."""

    container_name = CONTAINER
    held = NodeConfig

    def _parsed(self, args: list[str], env: dict[str, str], read: ReadText) -> ProxySettings:
        return parse_node_settings(args, env, mounts=Mounts(), read=read).proxy

    @cached_property
    def speaks(self) -> NodeConfig:
        """What it holds from the first of its control planes."""
        assert isinstance(self.config, NodeConfig)
        return self.config


class PaperCaptured(PaperProxy):
    """An ambient pod: calls and is called by the proxy of its node, under its own identity."""

    def __init__(self, paper: "Paper", cluster: str, pod: Json, by: PaperNode) -> None:
        super().__init__(paper, cluster, pod)
        self.by = by

    @property
    def uid(self) -> str:
        """How the node's proxy names it."""
        return str(self.pod["metadata"]["uid"])

    @cached_property
    def identity(self) -> str:
        """The certificate that its tunnels show, which is that of its account."""
        shown = self.by.speaks.identity(self.uid)
        trust_domain = self._paper.world.cluster(self.cluster).trust_domain
        account = self.pod["spec"].get("serviceAccountName", "default")
        assert shown == spiffe_id(trust_domain, self.pod["metadata"]["namespace"], account)
        return shown

    @property
    def is_waypoint(self) -> bool:
        return False

    @cached_property
    def config(self) -> Config:
        return self.by.config

    def row(self) -> Proxy:
        return self.by.row()

    def leaving(self, config: Config, connection: Connection, host: str) -> Verdict:
        assert isinstance(config, NodeConfig)
        return config.pod_leaving(self.uid, connection)

    def arriving(self, connection: Connection, host: str) -> Verdict:
        return self.by.speaks.pod_arriving(self.uid, connection)

    def tunnelled(self, config: Config, authority: str, peer: str, host: str) -> Verdict:
        assert isinstance(config, NodeConfig)
        return config.pod_tunnelled(self.uid, authority, peer)
