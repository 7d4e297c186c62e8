"""Gets a proxy its certificate and replaces it in time; the key never leaves this process unless it was asked for."""

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from isthmus.agent.secrets import Identity, SigningRequest, make_identity, make_request
from isthmus.agent.settings import ProxySettings
from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError
from isthmus.base.names import spiffe_id
from isthmus.edge.agent_ca_client import request_certificate
from isthmus.edge.control_plane import Upstream
from isthmus.edge.whole_file import PRIVATE, replace_file
from isthmus.trust.errors import TrustError
from isthmus.trust.pem import fingerprint, load_certificates
from isthmus.trust.rotation import renewal_time, retry_delay

LONGEST_RETRY = 30.0
FIRST_RETRY_LIMIT = 5.0
"""Longest pause while there is no certificate at all: the pod waits for it."""


SHORTEST_WAIT = 1.0
SPREAD = 3.0
"""Seconds over which proxies ask anew that hear of another signer at the same time."""
ROOTS_EVERY = 5.0
"""Seconds between looks at the mounted bundle of roots: a new root must be trusted before peers use it."""


IDENTITY_FILES = ("key.pem", "cert-chain.pem", "root-cert.pem")


@dataclass(frozen=True, slots=True)
class _Answer:
    request: SigningRequest
    chain: tuple[str, ...]


def retry_wait(failures: int, *, now: float, identity: Identity | None) -> float:
    """Seconds until the next attempt: quick without a certificate, ever slower with one, never too late for it."""
    if identity is None:
        return retry_delay(failures, remaining=math.inf, longest=FIRST_RETRY_LIMIT)
    remaining = identity.end - now
    return retry_delay(failures, remaining=remaining if remaining > 0 else math.inf, longest=LONGEST_RETRY)


class Signer:
    """Who signs now, as the control plane tells it: whoever has a certificate of another one asks for a new one."""

    def __init__(self) -> None:
        self._fingerprint = ""
        self._changed = asyncio.Event()

    def is_now(self, fingerprint: str) -> None:
        """It is told again and again; empty: nothing is known."""
        if fingerprint and fingerprint != self._fingerprint:
            self._fingerprint = fingerprint
            self._changed.set()
            self._changed = asyncio.Event()

    async def another(self, chain: Sequence[str], seen: str) -> str:
        """Return who signs as soon as that is neither `seen` nor anybody in the chain (PEM)."""
        known = {seen, *(fingerprint(one) for part in chain[1:] for one in load_certificates(part.encode()))}
        while not self._fingerprint or self._fingerprint in known:
            await self._changed.wait()
        return self._fingerprint


class IdentityKeeper:
    """Keeps one identity valid for as long as `run` runs."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        settings: ProxySettings,
        on_identity: Callable[[Identity], None],
        clock: Clock,
        log: FilteringBoundLogger,
        impersonated: str = "",
        signer: Signer | None = None,
    ) -> None:
        """The proxy's own identity, or that of a workload on this node, for which it asks in its name (TR11)."""
        self._signer = signer or Signer()
        self._seen_signer = ""
        self._upstream = upstream
        self._impersonated = impersonated
        own = workload_name(settings.trust_domain, settings.namespace, settings.service_account)
        self._name = impersonated or own
        self._ttl = settings.secret_ttl
        self._on_identity = on_identity
        self._clock = clock
        self._log = log
        self.identity: Identity | None = None

    async def run(self) -> None:
        """Request, wait until renewal is due, request again, for ever."""
        failures = 0
        while True:
            try:
                answer = await self._request()
                roots = _roots(self._upstream.root_file)
                identity = self._serve(answer, roots)
            except IsthmusError as error:
                failures += 1
                wait = retry_wait(failures, now=self._clock.now(), identity=self.identity)
                wait *= random.uniform(0.7, 1.0)
                self._log.warning(
                    "certificate not renewed", identity=self._name, reason=str(error), retry_in=round(wait, 1)
                )
                await asyncio.sleep(wait)
                continue
            failures = 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None) as until:
                    # Whoever signs now is asked once, even if the answer is by somebody else after all.
                    told = asyncio.create_task(self._another_signer(answer, until))
                    try:
                        await self._until_renewal(answer, identity, roots)
                    finally:
                        told.cancel()

    async def _another_signer(self, answer: _Answer, until: asyncio.Timeout) -> None:
        self._seen_signer = await self._signer.another(answer.chain, self._seen_signer)
        self._log.info("another authority signs", identity=self._name)
        await asyncio.sleep(random.uniform(0, SPREAD))
        until.reschedule(asyncio.get_running_loop().time())

    async def _request(self) -> _Answer:
        request = make_request(self._name)
        chain = await request_certificate(
            self._upstream, csr=request.csr, ttl=self._ttl, impersonated=self._impersonated
        )
        return _Answer(request, tuple(chain))

    async def _until_renewal(self, answer: _Answer, identity: Identity, roots: bytes) -> None:
        """Wait until renewal is due; a changed bundle of roots is served at once."""
        # Counted from arrival: authorities set the beginning back against clocks that differ.
        begin = self._clock.now()
        wait = renewal_time(begin, identity.end, jitter=random.uniform(-1, 1)) - begin
        self._log.info("certificate", identity=self._name, serial=identity.serial, renew_in=round(wait, 1))
        deadline = self._clock.monotonic() + max(SHORTEST_WAIT, wait)
        while (left := deadline - self._clock.monotonic()) > 0:
            await asyncio.sleep(min(left, ROOTS_EVERY))
            if roots != (roots := _roots(self._upstream.root_file)):
                self._serve_roots(answer, roots)

    def _serve_roots(self, answer: _Answer, roots: bytes) -> None:
        try:
            self._serve(answer, roots)
        except IsthmusError as error:
            self._log.warning("roots not read", reason=str(error))
        else:
            self._log.info("roots changed")

    def _serve(self, answer: _Answer, roots: bytes) -> Identity:
        self.identity = make_identity(answer.request, answer.chain, roots=roots)
        self._on_identity(self.identity)
        return self.identity


def workload_name(trust_domain: str, namespace: str, service_account: str) -> str:
    """The identity that a proxy asks for (TR13)."""
    return spiffe_id(trust_domain, namespace, service_account)


def write_identity(identity: Identity, directory: Path) -> None:
    """Key and certificates as files, for a container that asked with OUTPUT_CERTS; readable by their owner only."""
    for name, content in zip(IDENTITY_FILES, (identity.key, identity.chain, identity.roots), strict=True):
        replace_file(directory / name, content, mode=PRIVATE)


def read_identity(directory: Path) -> Identity | None:
    """What `write_identity` left; None if there is nothing that can be used."""
    try:
        key, chain, roots = ((directory / name).read_bytes() for name in IDENTITY_FILES)
        leaf = load_certificates(chain)[0]
    except (OSError, TrustError, IndexError):
        return None
    return Identity(key, chain, roots, f"{leaf.serial_number:x}", leaf.not_valid_after_utc.timestamp())


def _roots(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
