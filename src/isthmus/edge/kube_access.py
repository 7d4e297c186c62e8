"""Finds out how to reach an API server: kubeconfig files, the pod's own service account; and makes it usable."""

import asyncio
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from isthmus.base.errors import IsthmusError, UsageError
from isthmus.kube import kubeconfig
from isthmus.kube.kubeconfig import Access

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_REREAD = 10.0
"""Seconds after which a token file is read again; kubelets replace it long before it ends."""


def in_cluster(env: Mapping[str, str] | None = None, directory: Path = SERVICE_ACCOUNT_DIR) -> Access:
    """The access that a pod has by its service account. Raises UsageError outside of a pod."""
    env = os.environ if env is None else env
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    token = directory / "token"
    if not host or not token.exists():
        raise UsageError("not running in a pod of a cluster", "Give --kubeconfig and --context, or run it in a pod")
    if ":" in host:
        host = f"[{host}]"
    namespace = directory / "namespace"
    return Access(
        server=f"https://{host}:{port}",
        ca_file=str(directory / "ca.crt"),
        token_file=str(token),
        namespace=namespace.read_text().strip() if namespace.exists() else "",
    )


def from_kubeconfig(path: str = "", context: str = "", env: Mapping[str, str] | None = None) -> Access:
    """The access of a person: `path`, else $KUBECONFIG (several files are merged), else ~/.kube/config."""
    document, directory = load_document(path, env)
    access = kubeconfig.select(document, context)

    def beside(name: str) -> str:
        return str(directory / name) if name else ""

    return replace(
        access,
        ca_file=beside(access.ca_file),
        token_file=beside(access.token_file),
        client_cert_file=beside(access.client_cert_file),
        client_key_file=beside(access.client_key_file),
    )


def load_document(path: str = "", env: Mapping[str, str] | None = None) -> tuple[kubeconfig.Document, Path]:
    """The merged kubeconfig and the directory its relative paths start from. Raises UsageError if there is none."""
    env = os.environ if env is None else env
    listed = path or env.get("KUBECONFIG", "") or str(Path(env.get("HOME", "~")).expanduser() / ".kube" / "config")
    files = [Path(name) for name in listed.split(os.pathsep) if name]
    found = [file for file in files if file.is_file()]
    if not found:
        raise UsageError(f"no kubeconfig at {listed}", "Give --kubeconfig, or set KUBECONFIG")
    document: kubeconfig.Document = {}
    for file in found:
        _merge(document, kubeconfig.parse(file.read_bytes()))
    return document, found[0].parent


def _merge(into: kubeconfig.Document, other: kubeconfig.Document) -> None:
    """kubectl's rule: the first file to set something wins."""
    for group in ("clusters", "contexts", "users"):
        names = {entry.get("name") for entry in into.get(group) or []}
        extra = [entry for entry in other.get(group) or [] if entry.get("name") not in names]
        into[group] = [*(into.get(group) or []), *extra]
    if not into.get("current-context"):
        into["current-context"] = other.get("current-context", "")


def ssl_context(access: Access) -> ssl.SSLContext | None:
    """How to trust the server and prove who asks; None for plain HTTP. Raises IsthmusError for unusable material."""
    if not access.server.startswith("https://"):
        return None
    try:
        ca = access.ca.decode("ascii") if access.ca else None
        context = ssl.create_default_context(cafile=access.ca_file or None, cadata=ca)
        if access.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        _load_client_certificate(context, access)
    except (ssl.SSLError, ValueError, OSError) as error:
        message = f"the certificates for {access.server} are not usable: {error}"
        raise IsthmusError(message, "Check certificate-authority-data and the client certificate") from error
    return context


def _load_client_certificate(context: ssl.SSLContext, access: Access) -> None:
    if access.client_cert_file:
        context.load_cert_chain(access.client_cert_file, access.client_key_file or None)
    elif access.client_cert:
        # Python loads certificates from files only: the key is in one for this moment, readable by this user alone.
        with tempfile.NamedTemporaryFile(prefix="isthmus-") as file:
            file.write(access.client_cert + b"\n" + access.client_key)
            file.flush()
            context.load_cert_chain(file.name)


class Credentials:
    """The bearer token to send: fixed, from a file that is replaced now and then, or from a credential plugin."""

    def __init__(self, access: Access, time: Callable[[], float]) -> None:
        self._access = access
        self._time = time
        self._token = access.token
        self._until = 0.0

    async def headers(self) -> dict[str, str]:
        """Headers to send now."""
        if self._token and self._is_fixed():
            return {"Authorization": f"Bearer {self._token}"}
        if not self._is_fixed() and self._time() >= self._until:
            self._token, self._until = await asyncio.to_thread(self._read)
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def refused(self) -> bool:
        """The server refused the token; True if another may be had by asking again."""
        self._until = 0.0
        return not self._is_fixed()

    def _is_fixed(self) -> bool:
        return not self._access.token_file and not self._access.command

    def _read(self) -> tuple[str, float]:
        now = self._time()
        if self._access.command:
            return _run_plugin(self._access.command, now)
        try:
            return Path(self._access.token_file).read_text().strip(), now + TOKEN_REREAD
        except OSError as error:
            if self._token:
                return self._token, now + TOKEN_REREAD
            raise IsthmusError(f"cannot read the token: {error}", "Check the file and its permissions") from error


def _run_plugin(command: Mapping[str, Any], now: float) -> tuple[str, float]:
    """A client-go credential plugin: prints an ExecCredential. https://kubernetes.io/docs/reference/config-api/client-authentication.v1/"""
    version = str(command.get("apiVersion") or "client.authentication.k8s.io/v1")
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    env = {str(e["name"]): str(e["value"]) for e in command.get("env") or []}
    line = [str(command.get("command") or ""), *map(str, command.get("args") or [])]
    try:
        done = subprocess.run(
            line,
            env={**os.environ, **env, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            capture_output=True,
            check=True,
            timeout=60,
        )
        status = json.loads(done.stdout)["status"]
        token = str(status["token"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise IsthmusError(f"the credential plugin {line[0]!r} gave no token: {error}", "Run it by hand") from error
    expiry = status.get("expirationTimestamp")
    if not expiry:
        return token, now + 3600.0
    left = datetime.fromisoformat(expiry).timestamp() - datetime.now().timestamp()
    return token, now + max(left - 30.0, 1.0)
