"""Kubeconfig documents: which server to ask, how to trust it, and with which credentials. Pure: no files."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from isthmus.base.errors import UsageError


class KubeconfigError(UsageError):
    """The document is not usable; `field` says where."""

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(f"{field}: {message}" if field else message, remedy)
        self.field = field
        self.reason = message


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one API server. Paths and commands are for a person's own kubeconfig, never for remote secrets.

    `ca` and the client's certificate and key are PEM; `tls_server_name` replaces the name that the server must prove.
    """

    server: str
    ca: bytes = b""
    ca_file: str = ""
    insecure: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    client_cert: bytes = b""
    client_key: bytes = field(default=b"", repr=False)
    client_cert_file: str = ""
    client_key_file: str = ""
    command: Mapping[str, Any] | None = None
    namespace: str = ""

    @property
    def has_credentials(self) -> bool:
        """True if the server can tell who asks."""
        return bool(self.token or self.token_file or self.client_cert or self.client_cert_file or self.command)


Document = dict[str, Any]

_SERVER = re.compile(
    r"https?://(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^/:@?#\[\]\s]+))(?::(?P<port>\d{1,5}))?(?:/[^?#\s]*)?"
)


def server_host(url: str) -> str:
    """The host of an API server's URL; empty if it is none that can be asked."""
    found = _SERVER.fullmatch(url)
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        return ""
    return found["v6"] or found["host"]


def parse(text: bytes | str) -> Document:
    """Read a kubeconfig. Raises KubeconfigError."""
    try:
        document = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise KubeconfigError("", f"is no YAML{place}", "Correct the kubeconfig, or make it anew") from error
    if not isinstance(document, dict):
        raise KubeconfigError("", "is no kubeconfig", "Correct the kubeconfig, or make it anew")
    return document


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, in C where it is built."""


def contexts(document: Document) -> tuple[str, ...]:
    """Names of the contexts."""
    entries = document.get("contexts") or []
    return tuple(str(entry.get("name", "")) for entry in entries if isinstance(entry, dict))


def select(document: Document, context: str = "") -> Access:
    """The access that a context means: the named one, else the current, else the only one. Raises KubeconfigError."""
    names = contexts(document)
    wanted = context or document.get("current-context") or (names[0] if len(names) == 1 else "")
    if not wanted:
        raise KubeconfigError("current-context", "is not set", f"Choose one with --context: {_listed(names)}")
    if wanted not in names:
        raise KubeconfigError("contexts", f"there is no context {wanted!r}", f"Choose one of: {_listed(names)}")
    chosen = _entry(document, "contexts", wanted, "context")
    cluster = _entry(document, "clusters", _text(chosen, "cluster", "contexts[].context"), "cluster")
    user_name = _text(chosen, "user", "contexts[].context", required=False)
    user = _entry(document, "users", user_name, "user") if user_name else {}
    return _access(cluster, user, namespace=_text(chosen, "namespace", "contexts[].context", required=False))


def cluster_name(document: Document) -> str:
    """The cluster that a kubeconfig is about: the current context's, else the first context's, else the first (RS9)."""
    names = contexts(document)
    wanted = document.get("current-context") or (names[0] if names else "")
    if wanted in names:
        return _text(_entry(document, "contexts", str(wanted), "context"), "cluster", "contexts[].context")
    clusters = document.get("clusters")
    first = clusters[0] if isinstance(clusters, list) and clusters else None
    return _text(first, "name", "clusters[]") if isinstance(first, dict) else ""


def user_entry(document: Document, context: str = "") -> Mapping[str, Any]:
    """The selected context's user as written, to see what it relies on."""
    names = contexts(document)
    wanted = context or document.get("current-context") or (names[0] if len(names) == 1 else "")
    name = _entry(document, "contexts", str(wanted), "context").get("user") if wanted in names else None
    return _entry(document, "users", str(name), "user") if name else {}


def _access(cluster: Mapping[str, Any], user: Mapping[str, Any], *, namespace: str) -> Access:
    server = _text(cluster, "server", "clusters[].cluster")
    if not server_host(server):
        raise KubeconfigError("clusters[].cluster.server", f"{server!r} is no URL", "Write https://<host>:<port>")
    provider = user.get("auth-provider")
    token = _text(user, "token", "users[].user", required=False)
    if not token and isinstance(provider, dict) and provider.get("name") == "oidc":
        settings = provider.get("config")
        token = _text(settings, "id-token", "users[].user.auth-provider.config") if isinstance(settings, dict) else ""
    command = user.get("exec")
    return Access(
        server=server.rstrip("/"),
        ca=_data(cluster, "certificate-authority-data", "clusters[].cluster"),
        ca_file=_text(cluster, "certificate-authority", "clusters[].cluster", required=False),
        insecure=cluster.get("insecure-skip-tls-verify") is True,
        tls_server_name=_text(cluster, "tls-server-name", "clusters[].cluster", required=False),
        proxy_url=_text(cluster, "proxy-url", "clusters[].cluster", required=False),
        token=token,
        token_file=_text(user, "tokenFile", "users[].user", required=False),
        client_cert=_data(user, "client-certificate-data", "users[].user"),
        client_key=_data(user, "client-key-data", "users[].user"),
        client_cert_file=_text(user, "client-certificate", "users[].user", required=False),
        client_key_file=_text(user, "client-key", "users[].user", required=False),
        command=command if isinstance(command, dict) else None,
        namespace=namespace,
    )


def _entry(document: Document, group: str, name: str, part: str) -> Mapping[str, Any]:
    entries = document.get(group)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(part)
            return found if isinstance(found, dict) else {}
    raise KubeconfigError(
        group, f"there is no entry {name!r}", f"Add it, or name another in the {part} that refers to it"
    )


def _text(part: Mapping[str, Any], name: str, at: str, *, required: bool = True) -> str:
    value = part.get(name)
    if isinstance(value, str) and value:
        return value
    if value not in (None, "") or required:
        problem = "is missing" if value in (None, "") else "is no string"
        raise KubeconfigError(f"{at}.{name}", problem, "Correct the kubeconfig, or make it anew")
    return ""


def _data(part: Mapping[str, Any], name: str, at: str) -> bytes:
    text = _text(part, name, at, required=False)
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise KubeconfigError(f"{at}.{name}", "is no base64", "Encode the PEM file with base64 -w0") from error


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "(the file has none)"
