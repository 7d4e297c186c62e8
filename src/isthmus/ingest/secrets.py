"""Remote secrets: the credentials of other clusters. (The certificate authority's secret is read in `trust`.)"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from isthmus.base.errors import Problem
from isthmus.ingest.decode import shape_decoder
from isthmus.ingest.finding import Reader
from isthmus.ingest.place import Place
from isthmus.kube import kubeconfig, objects
from isthmus.kube.kubeconfig import Access, KubeconfigError
from isthmus.kube.remote_secret import MULTICLUSTER_LABEL, is_loopback

REMOTE_SELECTOR = f"{MULTICLUSTER_LABEL}=true"

_TO_ANYBODY = "sends the credentials to whoever answers or listens"
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
    return _sanitised(read, f"data.{cluster}", kubeconfig.parse(text))


def _sanitised(read: Reader, field: str, document: kubeconfig.Document) -> Access:
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
    at = f"{field}.clusters[].cluster"
    if found.insecure:
        read.warn(f"{at}.insecure-skip-tls-verify", _TO_ANYBODY, "Use certificate-authority-data")
    if found.server.startswith("http://") and not is_loopback(found.server):
        read.warn(f"{at}.server", _TO_ANYBODY, "Use https")
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


def kubeconfig_files(
    place: Place, files: Mapping[str, bytes], *, taken: Collection[str]
) -> tuple[dict[str, RemoteCluster], list[Problem]]:
    """The clusters of kubeconfig files by name (RS9). A cluster of two files, or one that is `taken`, is a conflict.

    Of two files with the same cluster the first by name counts: unlike Istio's, that answer is the same at each start.
    """
    found: dict[str, RemoteCluster] = {}
    problems: list[Problem] = []
    for name, text in sorted(files.items()):
        where = objects.Secret(metadata=objects.Metadata(name=name))
        read = Reader(place.cluster, "kubeconfig file", where)
        try:
            document = kubeconfig.parse(text)
            cluster = kubeconfig.cluster_name(document)
            if not cluster:
                raise KubeconfigError("clusters", "names no cluster", "Add a cluster and a context")
        except KubeconfigError as error:
            read.error(error.field or "(file)", error.reason, error.remedy)
            problems += read.problems
            continue
        if cluster in found or cluster in taken or cluster == place.cluster:
            read.warn("(file)", f"cluster {cluster} is known already; this file is ignored", "Remove one of the two")
        else:
            found[cluster] = _of_file(read, cluster, f"file {name}", text)
        problems += read.problems
    return found, problems


def _of_file(read: Reader, cluster: str, source: str, text: bytes) -> RemoteCluster:
    digest = hashlib.sha256(text).hexdigest()
    try:
        return RemoteCluster(cluster, source, digest, _sanitised(read, "(file)", kubeconfig.parse(text)))
    except KubeconfigError as error:
        read.error(error.field or "(file)", error.reason, error.remedy)
        return RemoteCluster(cluster, source, digest, None, f"kubeconfig: {error}")


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
