"""Who calls: a bearer token is shown to the API server of the cluster that the caller claims (AU1, AU2)."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

import structlog

from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError, UnreachableError
from isthmus.trust.assertion import is_assertion
from isthmus.trust.assertion import verify as verify_assertion
from isthmus.trust.caller import Caller
from isthmus.trust.errors import TokenError, TrustError
from isthmus.trust.pem import load_certificates
from isthmus.trust.tokens import AUDIENCE, Claims, read_claims, split_username, verify

log = structlog.get_logger()

POD_NAME = "authentication.kubernetes.io/pod-name"
"""Key of a TokenReview's `extra` with the pod that the token is bound to."""

POD_UID = "authentication.kubernetes.io/pod-uid"
NODE_NAME = "authentication.kubernetes.io/node-name"
"""The pod's node; API servers before 1.30 do not say it."""


class UnauthenticatedError(IsthmusError):
    """The caller proved no identity."""


class Reviewer(Protocol):
    """Asks the API servers of the known clusters. Each call raises IsthmusError when there is no answer."""

    @property
    def config_cluster(self) -> str:
        """The cluster that is meant when a caller claims none."""

    def clusters(self) -> Collection[str]:
        """Ids of all known clusters."""

    async def review(self, cluster: str, token: str, audience: str) -> Mapping[str, Any]:
        """The `status` of a TokenReview."""

    async def signing_keys(self, cluster: str) -> Mapping[str, Any]:
        """The cluster's JSON Web Key Set (`/openid/v1/jwks`)."""


@dataclass(frozen=True, slots=True)
class AuthenticatorSettings:
    """Times in seconds. `keep` is how long an answer is good without asking again."""

    audience: str = AUDIENCE
    keep: float = 60.0
    keep_refusal: float = 2.0
    review_timeout: float = 3.0
    assume_down: float = 5.0
    keys_refresh: float = 300.0
    parallel_reviews: int = 64
    most_kept: int = 20_000


@dataclass(slots=True)
class _Kept:
    caller: Caller | None
    error: str
    until: float


@dataclass(slots=True)
class _ClusterKeys:
    keys: Mapping[str, Any] | None = None
    fetched_at: float = 0.0
    down_until: float = 0.0
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Machines:
    """Whose certificates prove an identity: `roots` of the mesh (PEM), and whether an identity (trust domain,
    namespace, service account) is that of a WorkloadGroup. Pods have tokens: a certificate that was taken from one is
    of no use here, nor is one of another cluster's trust domain.
    """

    roots: Callable[[], bytes]
    known: Callable[[str, str, str], bool]


class Authenticator:
    """Turns tokens into callers.

    The API server decides. While it cannot be reached, a signature by one of its published keys counts, so that
    proxies of a cluster whose API server is down can still reconnect.
    """

    def __init__(
        self,
        reviewer: Reviewer,
        clock: Clock,
        settings: AuthenticatorSettings | None = None,
        *,
        machines: Machines | None = None,
    ) -> None:
        """`machines` None: certificates prove nothing, only tokens do."""
        self._machines = machines
        self._reviewer = reviewer
        self._clock = clock
        self._settings = settings or AuthenticatorSettings()
        self._kept: dict[tuple[str, bytes], _Kept] = {}
        self._keys: dict[str, _ClusterKeys] = {}
        self._slots = asyncio.Semaphore(self._settings.parallel_reviews)

    async def authenticate(self, metadata: Mapping[str, str]) -> Caller:
        """The caller behind a call's gRPC metadata (`authorization`, `clusterid`). Raises UnauthenticatedError."""
        scheme, _, token = metadata.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise UnauthenticatedError(
                "no bearer token was sent", f"Send a token for audience {self._settings.audience}"
            )
        cluster = metadata.get("clusterid", "") or self._reviewer.config_cluster
        if cluster not in self._reviewer.clusters():
            raise UnauthenticatedError(_unknown_cluster(cluster, self._reviewer))
        if is_assertion(token.strip()):
            return self._from_certificate(cluster, token.strip())
        return await self._from_token(cluster, token.strip())

    def _from_certificate(self, cluster: str, token: str) -> Caller:
        """A machine's certificate, good for the cluster where its group is: our own."""
        if self._machines is None or cluster != self._reviewer.config_cluster:
            raise UnauthenticatedError(f"certificates prove nothing for cluster {cluster} here", "Send a token")
        try:
            roots = load_certificates(self._machines.roots())
            found = verify_assertion(token, roots, now=self._clock.now(), audience=self._settings.audience)
        except TrustError as error:
            raise UnauthenticatedError(error.message, error.remedy) from error
        if not self._machines.known(found.trust_domain, found.namespace, found.service_account):
            message = f"{found.trust_domain}/{found.namespace}/{found.service_account} is no WorkloadGroup's here"
            raise UnauthenticatedError(message, "Pods prove themselves by their token")
        return Caller(cluster, found.namespace, found.service_account, "", found.expires)

    async def _from_token(self, cluster: str, token: str) -> Caller:
        key = (cluster, sha256(token.encode()).digest())
        kept = self._kept.get(key)
        now = self._clock.now()
        if kept is None or kept.until <= now:
            kept = await self._ask(cluster, token)
            self._make_room()
            self._kept[key] = kept
        if kept.caller is None:
            raise UnauthenticatedError(kept.error)
        return kept.caller

    def _make_room(self) -> None:
        if len(self._kept) >= self._settings.most_kept:
            now = self._clock.now()
            self._kept = {key: kept for key, kept in self._kept.items() if kept.until > now}
        while len(self._kept) >= self._settings.most_kept:
            del self._kept[next(iter(self._kept))]

    async def _ask(self, cluster: str, token: str) -> _Kept:
        state = self._keys.setdefault(cluster, _ClusterKeys())
        now = self._clock.now()
        try:
            if now < state.down_until:
                raise UnreachableError(f"the API server of cluster {cluster} did not answer a moment ago")
            caller = await self._review(cluster, token)
        except TokenError as error:
            return _Kept(None, str(error), now + self._settings.keep_refusal)
        except IsthmusError as error:
            # No answer, or an answer about ourselves (our credentials, an internal error): nobody judged the token.
            state.down_until = max(state.down_until, now + self._settings.assume_down)
            return await self._fall_back(cluster, token, str(error).rstrip("."))
        return self._accept(caller)

    def _accept(self, caller: Caller) -> _Kept:
        now = self._clock.now()
        until = now + self._settings.keep
        return _Kept(caller, "", min(until, caller.expires) if caller.expires else until)

    async def _review(self, cluster: str, token: str) -> Caller:
        try:
            async with self._slots, asyncio.timeout(self._settings.review_timeout):
                status = await self._reviewer.review(cluster, token, self._settings.audience)
        except TimeoutError:
            raise UnreachableError(f"the API server of cluster {cluster} did not answer in time") from None
        if not status.get("authenticated"):
            reason = status.get("error") or "it is not valid there"
            raise TokenError(f"cluster {cluster} refused the token: {reason}", "Is it a token of that cluster?")
        audiences = status.get("audiences") or []
        if audiences and self._settings.audience not in audiences:
            raise TokenError(
                f"the token is meant for {', '.join(audiences)}", f"Project one for {self._settings.audience}"
            )
        user = status.get("user", {})
        namespace, account = split_username(str(user.get("username", "")))
        pod, uid, node = (_first(user, key) for key in (POD_NAME, POD_UID, NODE_NAME))
        return Caller(cluster, namespace, account, pod, _expiry(token), pod_uid=uid, node=node)

    async def _fall_back(self, cluster: str, token: str, reason: str) -> _Kept:
        now = self._clock.now()
        keys = self._keys[cluster].keys
        if keys is None:
            error = f"{reason}, and its signing keys are not known either"
            return _Kept(None, error, now + self._settings.keep_refusal)
        try:
            claims = verify(token, keys, audience=self._settings.audience, now=now)
        except TokenError as error:
            return _Kept(None, str(error), now + self._settings.keep_refusal)
        log.info("token verified by cached keys", cluster=cluster, caller=claims.service_account, reason=reason)
        return self._accept(_caller(cluster, claims))

    async def refresh_keys(self, cluster: str) -> bool:
        """Read a cluster's signing keys if they are old; False if it could not be asked."""
        state = self._keys.setdefault(cluster, _ClusterKeys())
        async with state.busy:
            now = self._clock.now()
            if state.keys is not None and now - state.fetched_at < self._settings.keys_refresh:
                return True
            try:
                async with asyncio.timeout(self._settings.review_timeout):
                    state.keys = await self._reviewer.signing_keys(cluster)
            except (IsthmusError, TimeoutError):
                return False
            state.fetched_at = now
            return True

    def adopt_keys(self, keys: Mapping[str, Mapping[str, Any]]) -> None:
        """Start with keys that were stored before, by cluster."""
        for cluster, known in keys.items():
            state = self._keys.setdefault(cluster, _ClusterKeys())
            state.keys = state.keys or known

    def known_keys(self) -> dict[str, Mapping[str, Any]]:
        """Signing keys by cluster, to be stored."""
        return {cluster: state.keys for cluster, state in self._keys.items() if state.keys is not None}


def _expiry(token: str) -> float:
    try:
        return read_claims(token).expires
    except TokenError:
        return 0.0


def _caller(cluster: str, claims: Claims) -> Caller:
    return Caller(
        cluster,
        claims.namespace,
        claims.service_account,
        claims.pod,
        claims.expires,
        pod_uid=claims.pod_uid,
        node=claims.node,
    )


def _first(user: Mapping[str, Any], key: str) -> str:
    """The first value of a key of a reviewed user's `extra`."""
    values = (user.get("extra") or {}).get(key) or [""]
    return str(values[0])


def _unknown_cluster(cluster: str, reviewer: Reviewer) -> str:
    others = sorted(set(reviewer.clusters()) - {reviewer.config_cluster})
    return (
        f"client claims to be in cluster {cluster!r}, but we only know about local cluster "
        f"{reviewer.config_cluster!r} and remote clusters {others}"
    )
