"""Secrets that the control plane lives on: credentials of other clusters, and its certificate authority."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from isthmus.base.errors import Problem
from isthmus.ingest.decode import shape_decoder
from isthmus.ingest.finding import Reader
from isthmus.ingest.place import Place
from isthmus.kube import kubeconfig, objects
from isthmus.kube.kubeconfig import Access, KubeconfigError

REMOTE_LABEL = "istio/multiCluster"
REMOTE_SELECTOR = f"{REMOTE_LABEL}=true"
CA_SECRET = "cacerts"

_CREATE = "Create it again with isthmus create-remote-secret"
_FORBIDDEN = {
    "exec": "runs a command in the control plane",
    "tokenFile": "names a file of another machine",
    "client-certificate": "names a file of another machine",
    "client-key": "names a file of another machine",
}
"""What a kubeconfig may hold but a remote secret must not (RS8)."""


@dataclass(frozen=True, slots=True)
class RemoteCluster:
    """One cluster that a remote secret gives access to. `access` is None where the kubeconfig is not usable.

    `digest` tells a changed kubeconfig from an equal one (RS4); `error` is what `remote-clusters` shows.
    """

    id: str
    secret: str
    digest: str
    access: Access | None = field(repr=False)
    error: str = ""


def remote_secret(place: Place, obj: objects.Secret) -> tuple[list[RemoteCluster], list[Problem]]:
    """The clusters of one remote secret: each data key is a cluster's id, its value a kubeconfig (RS2)."""
    read = Reader(place.cluster, "Secret", obj)
    name = f"{obj.metadata.namespace}/{obj.metadata.name}"
    found: list[RemoteCluster] = []
    if not obj.data:
        read.error("data", "is empty", _CREATE)
    for cluster, value in sorted((obj.data or {}).items()):
        if cluster == place.cluster:
            read.warn(f"data.{cluster}", "is this cluster itself and is ignored", "Remove the key (RS3)")
            continue
        digest = hashlib.sha256(value.encode()).hexdigest()
        try:
            access = _access(read, cluster, value)
            found.append(RemoteCluster(cluster, name, digest, access))
        except KubeconfigError as error:
            where = f"data.{cluster}" + (f".{error.field}" if error.field else "")
            read.error(where, error.reason, error.remedy)
            found.append(RemoteCluster(cluster, name, digest, None, f"kubeconfig: {error}"))
    return found, read.problems


def _access(read: Reader, cluster: str, value: str) -> Access:
    """The sanitised access: rebuilt from the fields that are allowed, so that unknown ones vanish (RS8)."""
    try:
        text = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise KubeconfigError("", "is no base64", _CREATE) from error
    document = kubeconfig.parse(text)
    user = kubeconfig.user_entry(document)
    for name, reason in _FORBIDDEN.items():
        if user.get(name):
            raise KubeconfigError(
                f"users[].user.{name}", f"{reason}; that is refused", "Use a token instead. " + _CREATE
            )
    provider = user.get("auth-provider")
    provider_name = provider.get("name") if isinstance(provider, dict) else None
    if provider_name and provider_name != "oidc":
        message = f"auth provider {provider_name!r} is refused"
        raise KubeconfigError("users[].user.auth-provider", message, "Use a token instead. " + _CREATE)
    found = kubeconfig.select(document)
    if found.ca_file:
        message = "names a file of another machine; that is refused"
        raise KubeconfigError("clusters[].cluster.certificate-authority", message, "Use certificate-authority-data")
    if not found.has_credentials:
        raise KubeconfigError("users[].user", "has neither token nor client certificate", _CREATE)
    if found.insecure:
        field_name = f"data.{cluster}.clusters[].cluster.insecure-skip-tls-verify"
        read.warn(field_name, "sends the token to whoever answers", "Use certificate-authority-data")
    return found


def remote_clusters(place: Place, secrets: Iterable[objects.Secret]) -> tuple[dict[str, RemoteCluster], list[Problem]]:
    """The clusters of all remote secrets. Of two secrets with the same cluster the older one counts (RS3)."""
    found: dict[str, RemoteCluster] = {}
    problems: list[Problem] = []
    for secret in sorted(secrets, key=_age):
        clusters, broken = remote_secret(place, secret)
        problems += broken
        read = Reader(place.cluster, "Secret", secret)
        for cluster in clusters:
            first = found.setdefault(cluster.id, cluster)
            if first is not cluster:
                message = f"the cluster is given by secret {first.secret} already; this one is ignored"
                read.warn(f"data.{cluster.id}", message, "Remove the key from one of the two")
        problems += read.problems
    return found, problems


@dataclass(frozen=True, slots=True)
class SecretObservation:
    """A secret as it came: decoded, or the problem that prevents it."""

    key: tuple[str, str]
    secret: objects.Secret | None = field(default=None, repr=False)
    problem: Problem | None = None


def observe_secret(place: Place) -> Callable[[bytes | msgspec.Raw], SecretObservation]:
    """A function from a secret's bytes to what it says. It never raises."""
    decode = shape_decoder("Secret", objects.Secret, place.cluster)

    def observe(raw: bytes | msgspec.Raw) -> SecretObservation:
        found = decode(raw)
        if isinstance(found, Problem):
            return SecretObservation((found.where.namespace, found.where.name), problem=found)
        return SecretObservation((found.metadata.namespace, found.metadata.name), found)

    return observe


def _age(secret: objects.Secret) -> tuple[str, str, str]:
    return (secret.metadata.creation_timestamp or "", secret.metadata.namespace, secret.metadata.name)


@dataclass(frozen=True, slots=True)
class CaFiles:
    """PEM files of a plugged-in certificate authority (TR1); the key never leaves the process."""

    cert: bytes
    key: bytes = field(repr=False)
    chain: bytes
    root: bytes


def ca_files(place: Place, obj: objects.Secret) -> tuple[CaFiles | None, Sequence[Problem]]:
    """The files of secret `cacerts`, in either of the two layouts (TR1). Whether they fit is `trust`'s part."""
    read = Reader(place.cluster, "Secret", obj)
    data = obj.data or {}
    layout = ("ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem")
    if "ca-cert.pem" not in data and "tls.crt" in data:
        layout = ("tls.crt", "tls.key", "tls.crt", "ca.crt")
    cert, key, chain, root = (_pem(read, data, name) for name in layout)
    if read.is_refused():
        return None, read.problems
    return CaFiles(cert=cert, key=key, chain=chain, root=root), read.problems


def _pem(read: Reader, data: dict[str, str], name: str) -> bytes:
    try:
        found = base64.b64decode(data.get(name, ""), validate=True)
    except binascii.Error:
        found = b""
    if b"-----BEGIN " not in found:
        message = "is no PEM" if name in data else "is missing"
        read.error(f"data[{name}]", message, "Create the secret again from the files of the certificate authority")
    return found
