"""What an installer makes besides manifests: a common root, intermediates, secrets with other clusters' tokens."""

import asyncio
import base64
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.base.errors import UnreachableError
from isthmus.install.values import READER_ACCOUNT, SYSTEM_NAMESPACE
from isthmus.kube import remote_secret
from isthmus.trust.authority import secret_data
from isthmus.trust.issue import PemPair, make_intermediate, make_root, serial_from
from isthmus.trust.pem import new_key
from isthmus_lab.kubelet.client import ApiError
from isthmus_lab.supervisor.cluster import ClusterControl
from isthmus_lab.world import ControlPlane, World

Object = dict[str, Any]
_TOKEN_SECONDS = 20.0
_POLL = 0.05


@dataclass(frozen=True, slots=True)
class RootAuthority:
    """The common root of all clusters, kept in the state directory."""

    directory: Path

    def load(self) -> PemPair:
        """The root; made at the first call."""
        key_file, certificate_file = self.directory / "root-key.pem", self.directory / "root-cert.pem"
        if certificate_file.exists():
            return PemPair(certificate_file.read_bytes(), key_file.read_bytes())
        pair = make_root(new_key(), now=time.time(), serial=_serial())
        self.directory.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(pair.key)
        certificate_file.write_bytes(pair.certificate)
        return pair


def _serial() -> int:
    return serial_from(os.urandom(20))


def bound_to(world: World, plane: ControlPlane) -> tuple[str, ...]:
    """The trust domains that a control plane's authority is bound to: those of the clusters whose proxies use it.

    Where all clusters of the lab have one trust domain there is nothing to keep apart.
    """
    if len({cluster.trust_domain for cluster in world.clusters}) < 2:
        return ()
    return tuple(sorted({cluster.trust_domain for cluster in world.clusters if plane.name in cluster.sources}))


def cacerts(cluster: str, root: PemPair, trust_domains: Sequence[str] = ()) -> Object:
    """The secret with a new intermediate of the root for one cluster's control plane."""
    pair = make_intermediate(
        root, new_key(), now=time.time(), serial=_serial(), cluster=cluster, trust_domains=trust_domains
    )
    data = secret_data(pair, pair.certificate + root.certificate, root.certificate)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cacerts", "namespace": SYSTEM_NAMESPACE},
        "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
    }


async def ensure_cacerts(cluster: ClusterControl, root: PemPair, trust_domains: Sequence[str]) -> None:
    """Give the cluster its intermediate, once."""
    namespace = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}"
    try:
        await cluster.client.get(f"{namespace}/secrets/cacerts")
    except ApiError as error:
        if error.code != 404:
            raise
        await cluster.ensure_namespace(SYSTEM_NAMESPACE)
        await cluster.client.post(f"{namespace}/secrets", cacerts(cluster.plan.name, root, trust_domains))


async def remote_secret_of(cluster: ClusterControl) -> Object:
    """What `isthmus create-remote-secret` prints for this cluster: its WAN address and its reader's token."""
    return await _secret(cluster, READER_ACCOUNT, "remote")


async def config_secret_of(cluster: ClusterControl) -> Object:
    """What `isthmus create-remote-secret --type config` prints: with the rights of a control plane of this cluster."""
    return await _secret(cluster, "istiod", "config")


async def _secret(cluster: ClusterControl, account: str, kind: str) -> Object:
    path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/secrets"
    wanted = remote_secret.token_secret(account, SYSTEM_NAMESPACE)
    try:
        await cluster.client.post(path, wanted)
    except ApiError as error:
        if error.code != 409:
            raise
    token, authority = await _token(cluster, f"{path}/{wanted['metadata']['name']}")
    info = await cluster.client.get("/api/v1/namespaces/kube-public/configmaps/cluster-info")
    server = remote_secret.Server(remote_secret.published_server(info))
    name = cluster.plan.name
    document = remote_secret.kubeconfig_document(name, server, authority, remote_secret.User(token=token))
    return remote_secret.remote_secret(name, document, namespace=SYSTEM_NAMESPACE, kind=kind)


async def addresses_of(cluster: ClusterControl, service: str) -> tuple[str, ...]:
    """Where a Service of the mesh is reached on the WAN; empty while nobody is. ApiError, UnreachableError."""
    try:
        found = await cluster.client.get(f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/services/{service}")
    except ApiError as error:
        if error.code != 404:
            raise
        return ()
    ingress = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return tuple(item["ip"] for item in ingress if item.get("ip"))


async def _token(cluster: ClusterControl, path: str) -> tuple[str, bytes]:
    deadline = time.monotonic() + _TOKEN_SECONDS
    while time.monotonic() < deadline:
        found = remote_secret.token_and_ca(await cluster.client.get(path))
        if found:
            return found
        await asyncio.sleep(_POLL)
    raise UnreachableError(f"{cluster.plan.name}: the account's secret got no token", "See its apiserver.log.")
