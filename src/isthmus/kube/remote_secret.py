"""Builds what links a cluster: the token's secret, the kubeconfig around it, and the remote secret (RS2, RS13)."""

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from isthmus.kube import kubeconfig
from isthmus.kube.kubeconfig import KubeconfigError

Manifest = dict[str, Any]

MULTICLUSTER_LABEL = "istio/multiCluster"
CLUSTER_ANNOTATION = "networking.istio.io/cluster"
TOKEN_TYPE = "kubernetes.io/service-account-token"
ACCOUNT_ANNOTATION = "kubernetes.io/service-account.name"
CONFIG_SECRET = "istio-kubeconfig"
CONFIG_KEY = "config"

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Server:
    """Where the cluster's API server is reached from other clusters."""

    url: str
    tls_server_name: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """With what the other control plane proves itself: a token, or an auth provider of client-go."""

    token: str = ""
    provider: str = ""
    provider_config: Mapping[str, str] | None = None

    def manifest(self) -> Manifest:
        """The `user` of a kubeconfig."""
        if self.provider:
            return {"auth-provider": {"name": self.provider, "config": dict(self.provider_config or {})}}
        return {"token": self.token}


def is_cluster_name(name: str) -> bool:
    """True for a DNS-1123 label: what `--name` must be."""
    return _LABEL.fullmatch(name) is not None


def is_loopback(url: str) -> bool:
    """True if the address means another machine to everybody else."""
    host = kubeconfig.server_host(url).lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def secret_name(cluster: str, kind: str = "remote") -> str:
    """The name that the remote secret of a cluster has by default (RS13)."""
    return CONFIG_SECRET if kind == "config" else f"istio-remote-secret-{cluster}"


def token_secret_name(account: str) -> str:
    """The name of the secret that holds the account's token."""
    return f"{account}-istio-remote-secret-token"


def token_secret(account: str, namespace: str) -> Manifest:
    """A secret that the cluster fills with a token that does not expire; delete it to revoke the token."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": TOKEN_TYPE,
        "metadata": {
            "name": token_secret_name(account),
            "namespace": namespace,
            "annotations": {ACCOUNT_ANNOTATION: account},
        },
    }


def token_and_ca(secret: Manifest) -> tuple[str, bytes] | None:
    """What the cluster filled in: the token and its certificate authority (PEM). None while it has not."""
    data = secret.get("data") or {}
    try:
        token = base64.b64decode(data.get("token") or "", validate=True).decode("ascii")
        authority = base64.b64decode(data.get("ca.crt") or "", validate=True)
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (token, authority) if token and authority else None


def published_server(cluster_info: Manifest) -> str:
    """The address that ConfigMap kube-public/cluster-info tells everybody; empty if it tells none."""
    text = (cluster_info.get("data") or {}).get("kubeconfig") or ""
    try:
        clusters = kubeconfig.parse(text).get("clusters") or []
    except KubeconfigError:
        return ""
    cluster = clusters[0].get("cluster") if clusters and isinstance(clusters[0], dict) else None
    server = cluster.get("server") if isinstance(cluster, dict) else ""
    return server if isinstance(server, str) else ""


def kubeconfig_document(cluster: str, server: Server, authority: bytes, user: User) -> Manifest:
    """A kubeconfig with one context, all of it named after the cluster."""
    entry: Manifest = {"certificate-authority-data": base64.b64encode(authority).decode(), "server": server.url}
    if server.tls_server_name:
        entry["tls-server-name"] = server.tls_server_name
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": cluster, "cluster": entry}],
        "users": [{"name": cluster, "user": user.manifest()}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": cluster}}],
        "current-context": cluster,
    }


def remote_secret(
    cluster: str, document: Manifest, *, namespace: str, name: str = "", kind: str = "remote"
) -> Manifest:
    """The secret for the other cluster's control plane; of kind `config` it is mounted by an external one (PR4)."""
    metadata: Manifest = {
        "name": name or secret_name(cluster, kind),
        "namespace": namespace,
        "annotations": {CLUSTER_ANNOTATION: cluster},
    }
    if kind == "remote":
        metadata["labels"] = {MULTICLUSTER_LABEL: "true"}
    text = yaml.safe_dump(document, sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "stringData": {CONFIG_KEY if kind == "config" else cluster: text},
    }


def to_yaml(secret: Manifest) -> str:
    """The text that `kubectl apply -f -` reads; several may be joined, and the kubeconfig in it stays readable."""
    return "---\n# This file is autogenerated, do not edit.\n" + yaml.dump(secret, Dumper=_Dumper, sort_keys=True)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
