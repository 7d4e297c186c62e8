"""Keeps the control plane's own trust: its authority, its server certificate, and the roots where clients look.

A changed authority is taken over in two steps (`trust.rollout`); while the first lasts, the present one is kept in a
secret of its own, so that a restart does not sign with one that nobody believes yet.

The authority comes from mounted files, else from the secret `cacerts`, else from a self-signed one that is kept in
`istio-ca-secret` (TR1). Roots go to every namespace's ConfigMap (TR3) and into the webhooks' caBundle.
"""

import asyncio
import base64
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError, ObjectRef, Problem
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.edge.root_writer import MANAGER, trust_webhook, write_roots
from isthmus.kube.requests import SECRETS
from isthmus.trust.authority import (
    PLUG_IN_SECRET,
    SELF_SIGNED_SECRET,
    Authority,
    Issued,
    from_secret,
    renewed_root,
    root_needs_renewal,
    secret_data,
    self_signed_authority,
    server_names,
)
from isthmus.trust.errors import TrustError
from isthmus.trust.issue import PemPair, Validity, serial_from
from isthmus.trust.pem import certificate_to_pem, certificates_to_pem, fingerprint, key_to_pem, new_key
from isthmus.trust.rollout import (
    Fingerprints,
    Signed,
    anchors,
    check_succession,
    needed_roots,
    successor,
    to_be_believed,
    with_roots_of,
)
from isthmus.trust.rotation import due

log = structlog.get_logger()

HELD_SECRET = "isthmus-ca-in-force"
"""Secret with the authority that still signs while its successor is not believed by everybody."""

HURRY = 0.5
"""Seconds between looks while somebody is waited for."""

CA_FILES = ("ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem", "tls.crt", "tls.key", "ca.crt")


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """Where things are and how often they are looked at. Times in seconds."""

    system_namespace: str
    dns_names: tuple[str, ...]
    ca_directory: Path
    webhook_name: str = "istio-sidecar-injector"
    serving_lifetime: float = 86_400.0
    look: float = 3.0
    """How often the authority is looked at."""
    interval: float = 30.0
    """How often that what was written to clusters is still there."""


@dataclass(frozen=True, slots=True)
class Serving:
    """The control plane's own certificate: PEM key and chain."""

    key: bytes
    issued: Issued


Disbelievers = Callable[[Fingerprints, float], Sequence[str]]
"""Who does not believe any of these roots yet; they were told so many seconds ago."""


class TrustKeeper:
    """Call `start` once, then `run`. `on_serving` is told of each new server certificate."""

    def __init__(
        self,
        settings: TrustSettings,
        clock: Clock,
        *,
        client: Callable[[], KubeClient | None],
        on_serving: Callable[[Serving], None],
        config_client: Callable[[], KubeClient | None] | None = None,
        disbelievers: Disbelievers = lambda roots, seconds: (),
    ) -> None:
        """`client` is of the cluster that keeps our secrets; roots go to that of `config_client`, by default the same.

        Both are None while there is none. Nothing is signed under a new root while there are `disbelievers`.
        """
        self._disbelievers = disbelievers
        self._told_at: dict[str, float] = {}
        self._signed: dict[str, Signed] = {}
        self._written = ("", 0.0)
        self.waits_for: tuple[str, ...] = ()
        """Who does not believe the new authority yet; while there is somebody, the old one signs."""
        self._settings = settings
        self._clock = clock
        self._client = client
        self._config_client = config_client or client
        self._on_serving = on_serving
        self._authority: Authority | None = None
        self._serving: Serving | None = None
        self._kept_roots: Fingerprints = frozenset()
        self._holding = False
        self._poked = asyncio.Event()
        self.last_error = ""

    @property
    def ready(self) -> bool:
        """True once there is an authority."""
        return self._authority is not None

    @property
    def authority(self) -> Authority:
        """The authority in force. Raises TrustError before `start`."""
        if self._authority is None:
            raise TrustError("there is no certificate authority yet", "Wait until the control plane is ready")
        return self._authority

    def poke(self) -> None:
        """Something may have to be written: a namespace appeared."""
        self._written = ("", 0.0)
        self._poked.set()

    def signed(self, holder: str, until: float) -> None:
        """A holder has a new certificate, in place of the one that it had."""
        self._signed[holder] = Signed(anchors(self.authority), until)

    def problems(self, cluster: str) -> list[Problem]:
        """That a new authority does not sign yet, and whom that is waiting for."""
        if not self.waits_for:
            return []
        where = ObjectRef(cluster, "Secret", self._settings.system_namespace, PLUG_IN_SECRET)
        message = f"the new authority does not sign yet: it is not believed by {', '.join(self.waits_for)}"
        return [Problem(where, "data", message, "Nothing fails meanwhile. Bring it back, or unlink it")]

    @property
    def kept_roots(self) -> Fingerprints:
        """Roots that the operator took out, and that are believed as long as there are certificates under them."""
        return self._kept_roots

    async def start(self) -> Serving:
        """Load or make the authority and issue the server certificate. Raises IsthmusError."""
        self._authority = await self._held() or await self._load()
        serving = self._renew_serving()
        log.info(
            "authority ready",
            issuer=self._authority.certificate.subject.rfc4514_string(),
            expires=int(self._authority.not_after),
        )
        return serving

    async def run(self) -> None:
        """Look after everything until cancelled; what fails is logged and tried again."""
        while True:
            self._poked.clear()
            try:
                await self._round()
                self.last_error = ""
            except IsthmusError as error:
                if str(error) != self.last_error:
                    log.warning("trust could not be looked after", error=str(error))
                self.last_error = str(error)
            except Exception as error:
                # An object of a form that nobody foresaw must not end the control plane.
                log.exception("trust could not be looked after")
                self.last_error = f"{type(error).__name__}: {error}"
            try:
                async with asyncio.timeout(HURRY if self.waits_for else self._settings.look):
                    await self._poked.wait()
            except TimeoutError:
                continue

    async def _round(self) -> None:
        self._renew_serving()
        if self._client() is not None:
            await self._adopt(await self._load())
        client, now = self._config_client(), self._clock.monotonic()
        roots = self.authority.root_bundle.decode()
        written, at = self._written
        if client is None or (written == roots and now - at < self._settings.interval):
            return
        await write_roots(client, roots)
        await trust_webhook(client, self._settings.webhook_name, roots)
        self._written = (roots, now)

    async def _adopt(self, found: Authority) -> None:
        """Take over a changed authority, as far as everybody can follow. Raises TrustError (TR2), KubeError."""
        current = self.authority
        if found.certificate == current.certificate and found.roots == current.roots:
            self.waits_for, self._kept_roots = (), frozenset()
            await self._let_go()
            return
        check_succession(current, found)
        wanted = to_be_believed(current, found)
        self._tell_roots(with_roots_of(current, found))
        waits_for = tuple(self._disbelievers(wanted, self._told_for(wanted))) if wanted else ()
        if waits_for:
            if waits_for != self.waits_for:
                log.info("new authority held back", not_believed_by=list(waits_for))
            if not self.waits_for:
                await self._hold()
            self.waits_for = waits_for
            return
        remaining = frozenset(map(fingerprint, found.roots))
        self._kept_roots = needed_roots(self._signed, remaining, self._clock.now())
        self._tell_roots(successor(self.authority, found, self._kept_roots))
        if found.certificate != current.certificate:
            log.info("authority replaced", issuer=found.certificate.subject.rfc4514_string())
            self._renew_serving(force=True)
            await self._let_go()
        self.waits_for = ()

    def _tell_roots(self, authority: Authority) -> None:
        now = self._clock.monotonic()
        for root in authority.roots:
            if root not in self.authority.roots:
                self._told_at[fingerprint(root)] = now
        if authority.roots != self.authority.roots:
            log.info("roots changed", roots=[fingerprint(root)[:11] for root in authority.roots])
        self._authority = authority

    def _told_for(self, roots: Fingerprints) -> float:
        """Seconds since the roots were told of; those that were there from the start were known before."""
        return self._clock.monotonic() - max(self._told_at.get(one, -math.inf) for one in roots)

    async def _held(self) -> Authority | None:
        """The authority that signed before a restart, if its successor was held back. Raises IsthmusError."""
        client = self._client()
        secret = client and await client.find(SECRETS, self._settings.system_namespace, HELD_SECRET)
        if not secret or not secret.get("data"):
            return None
        self._holding = True
        try:
            held = from_secret(_decode(secret), now=self._clock.now())
        except TrustError as error:
            log.warning("the authority that was in force cannot be used any more", error=str(error))
            return None
        now = self._clock.monotonic()
        self._told_at = {fingerprint(root): now for root in held.roots if fingerprint(root) not in anchors(held)}
        return held

    async def _hold(self) -> None:
        client = self._client()
        if client is not None:
            now = self.authority
            pair = PemPair(certificate_to_pem(now.certificate), key_to_pem(now.key))
            data = secret_data(pair, certificates_to_pem(now.chain), now.root_bundle)
            body = _secret(self._settings.system_namespace, HELD_SECRET, data)
            self._holding = True
            await client.apply(SECRETS, body, manager=MANAGER)

    async def _let_go(self) -> None:
        """Empty the secret, for nothing else would need the right to delete secrets; until that is done, every look."""
        client = self._client()
        if client is not None and self._holding:
            body = _secret(self._settings.system_namespace, HELD_SECRET, {})
            await client.apply(SECRETS, body, manager=MANAGER)
            self._holding = False

    async def _load(self) -> Authority:
        now = self._clock.now()
        mounted = await asyncio.to_thread(_read_directory, self._settings.ca_directory)
        if mounted:
            return from_secret(mounted, now=now)
        client = self._client()
        if client is None:
            raise TrustError(
                "there is no certificate authority: the cluster's API server cannot be asked",
                f"Mount the secret {PLUG_IN_SECRET} at {self._settings.ca_directory}",
            )
        for name in (PLUG_IN_SECRET, SELF_SIGNED_SECRET):
            secret = await client.find(SECRETS, self._settings.system_namespace, name)
            if secret is not None:
                data = _decode(secret)
                if name == SELF_SIGNED_SECRET:
                    return await self._renew_root(client, data)
                return from_secret(data, now=now)
        return await self._make_self_signed(client)

    async def _make_self_signed(self, client: KubeClient) -> Authority:
        """A new root of our own. Two replicas may try: the one that comes second takes what the first wrote."""
        now = self._clock.now()
        authority, data = self_signed_authority(new_key(), now=now, serial=serial_from(secrets.token_bytes(19)))
        body = _secret(self._settings.system_namespace, SELF_SIGNED_SECRET, data)
        try:
            await client.create(SECRETS, body, namespace=self._settings.system_namespace)
        except KubeError as error:
            if error.status != 409:
                raise
            found = await client.get(SECRETS, self._settings.system_namespace, SELF_SIGNED_SECRET)
            return from_secret(_decode(found), now=now)
        log.info("self-signed authority made", secret=SELF_SIGNED_SECRET)
        return authority

    async def _renew_root(self, client: KubeClient, data: Mapping[str, bytes]) -> Authority:
        """The authority in our own secret, with its root renewed under the same key when it nears its end (TR1)."""
        now = self._clock.now()
        authority = from_secret(data, now=now)
        if not root_needs_renewal(authority, now):
            return authority
        pair = renewed_root(authority, now=now, serial=serial_from(secrets.token_bytes(19)))
        root = pair.certificate + authority.root_bundle
        fresh = secret_data(pair, b"", root)
        body = _secret(self._settings.system_namespace, SELF_SIGNED_SECRET, fresh)
        await client.apply(SECRETS, body, manager=MANAGER)
        log.info("self-signed root renewed", secret=SELF_SIGNED_SECRET)
        return from_secret(fresh, now=now)

    def _renew_serving(self, *, force: bool = False) -> Serving:
        """Issue the server certificate when it is due (TR12)."""
        now = self._clock.now()
        current = self._serving
        if current and not force and not due(current.issued.not_before, current.issued.not_after, now):
            return current
        key = new_key()
        issued = self.authority.issue(
            key.public_key(),
            server_names(self._settings.dns_names),
            validity=Validity(now, self._settings.serving_lifetime),
            serial=serial_from(secrets.token_bytes(19)),
        )
        self._serving = Serving(key_to_pem(key), issued)
        self._on_serving(self._serving)
        return self._serving


def _read_directory(directory: Path) -> dict[str, bytes]:
    found = {}
    for name in CA_FILES:
        path = directory / name
        if path.is_file():
            found[name] = path.read_bytes()
    return found


def _decode(secret: Mapping[str, Any]) -> dict[str, bytes]:
    data: Mapping[str, str] = secret.get("data") or {}
    return {name: base64.b64decode(value) for name, value in data.items()}


def _secret(namespace: str, name: str, data: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "istio.io/ca-root",
        "metadata": {"name": name, "namespace": namespace},
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }
