"""Tokens shown to the cluster that is claimed, kept for a while, and judged by cached keys when it is silent."""

import asyncio
import base64
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from isthmus.base.errors import UnreachableError
from isthmus.edge.authenticate import (
    NODE_NAME,
    POD_NAME,
    POD_UID,
    Authenticator,
    AuthenticatorSettings,
    Machines,
    UnauthenticatedError,
)
from isthmus.trust.assertion import make as make_assertion
from isthmus.trust.authority import from_pem, workload_names
from isthmus.trust.caller import Caller
from isthmus.trust.issue import Validity, make_root
from isthmus.trust.pem import key_to_pem, new_key

T = TypeVar("T")
KEY = ec.generate_private_key(ec.SECP256R1())


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key_set() -> dict[str, Any]:
    numbers = KEY.public_key().public_numbers()
    return {
        "keys": [
            {"kty": "EC", "crv": "P-256", "x": encode(numbers.x.to_bytes(32)), "y": encode(numbers.y.to_bytes(32))}
        ]
    }


def token(account: str = "sleep", expires: float = 5000.0) -> str:
    claims = {"sub": f"system:serviceaccount:sample:{account}", "aud": ["istio-ca"], "exp": expires}
    signed = f"{encode(msgspec.json.encode({'alg': 'ES256'}))}.{encode(msgspec.json.encode(claims))}"
    r, s = utils.decode_dss_signature(KEY.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{encode(r.to_bytes(32) + s.to_bytes(32))}"


@dataclass
class Clock:
    time: float = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@dataclass
class Clusters:
    """API servers that accept every token whose text they are told, unless they are down."""

    config_cluster: str = "east"
    known: tuple[str, ...] = ("east", "west")
    accounts: dict[tuple[str, str], str] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    audiences: list[str] = field(default_factory=lambda: ["istio-ca"])
    bound: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def clusters(self) -> tuple[str, ...]:
        return self.known

    async def review(self, cluster: str, token: str, audience: str) -> Mapping[str, Any]:
        self.asked.append(cluster)
        if cluster in self.down:
            raise UnreachableError(f"cluster {cluster} is down")
        if cluster in self.slow:
            await asyncio.Event().wait()
        account = self.accounts.get((cluster, token))
        if account is None:
            return {"authenticated": False, "error": "unknown key"}
        extra = {POD_NAME: [f"{account}-1"]} | self.bound
        user = {"username": f"system:serviceaccount:sample:{account}", "extra": extra}
        return {"authenticated": True, "audiences": self.audiences, "user": user}

    async def signing_keys(self, cluster: str) -> Mapping[str, Any]:
        if cluster in self.down:
            raise UnreachableError(f"cluster {cluster} is down")
        return key_set()


@dataclass
class Bench:
    clock: Clock = field(default_factory=Clock)
    clusters: Clusters = field(default_factory=Clusters)
    settings: AuthenticatorSettings = field(default_factory=AuthenticatorSettings)

    def __post_init__(self) -> None:
        self.authenticator = Authenticator(self.clusters, self.clock, self.settings)

    def call(self, text: str, cluster: str | None = "east") -> Caller:
        metadata = {"authorization": f"Bearer {text}"} | ({"clusterid": cluster} if cluster else {})
        return run(self.authenticator.authenticate(metadata))


def run(work: Awaitable[T]) -> T:
    async def wait() -> T:
        async with asyncio.timeout(5):
            return await work

    return asyncio.run(wait())


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.clusters.accounts = {("east", "t"): "sleep", ("west", "w"): "other"}
    return made


def test_the_claimed_cluster_is_asked_and_vouches(bench: Bench) -> None:
    """AU2"""
    assert bench.call("w", "west") == Caller("west", "sample", "other", "other-1", 0.0)
    assert bench.clusters.asked == ["west"]


def test_what_a_token_is_bound_to_is_told(bench: Bench) -> None:
    """TR11 needs all three; an API server before 1.30 does not name the node."""
    bench.clusters.bound = {POD_UID: ["u1"], NODE_NAME: ["n1"]}
    caller = bench.call("t")
    assert (caller.pod, caller.pod_uid, caller.node) == ("sleep-1", "u1", "n1")


def test_no_claim_means_the_config_cluster(bench: Bench) -> None:
    """AU2"""
    assert bench.call("t", None).cluster == "east"
    assert bench.call("t", "").cluster == "east"


def test_an_unknown_cluster_is_named_with_the_known_ones(bench: Bench) -> None:
    """AU2"""
    text = "in cluster 'north', but we only know about local cluster 'east' and remote clusters .'west'."
    with pytest.raises(UnauthenticatedError, match=text):
        bench.call("t", "north")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer  ", "Basic dDp0", "t"])
def test_without_a_bearer_token_nobody_is_asked(bench: Bench, header: str) -> None:
    with pytest.raises(UnauthenticatedError, match="no bearer token"):
        run(bench.authenticator.authenticate({"authorization": header}))
    assert bench.clusters.asked == []


def test_a_token_of_another_cluster_is_refused(bench: Bench) -> None:
    """AU5: what is claimed is what vouches, so nobody speaks for a cluster that does not know him."""
    with pytest.raises(UnauthenticatedError, match="cluster west refused the token: unknown key"):
        bench.call("t", "west")


def test_another_audience_is_refused(bench: Bench) -> None:
    bench.clusters.audiences = ["vault"]
    with pytest.raises(UnauthenticatedError, match="meant for vault"):
        bench.call("t")


def test_answers_are_kept_for_a_while(bench: Bench) -> None:
    for _ in range(3):
        bench.call("t")
    assert bench.clusters.asked == ["east"]
    bench.clock.time += bench.settings.keep + 1
    bench.call("t")
    assert bench.clusters.asked == ["east", "east"]


def test_an_answer_is_not_kept_longer_than_the_token_lives(bench: Bench) -> None:
    text = token(expires=1010.0)
    bench.clusters.accounts[("east", text)] = "sleep"
    bench.call(text)
    bench.clock.time = 1011.0
    del bench.clusters.accounts[("east", text)]
    with pytest.raises(UnauthenticatedError):
        bench.call(text)


def test_a_refusal_is_kept_shortly(bench: Bench) -> None:
    for _ in range(3):
        with pytest.raises(UnauthenticatedError):
            bench.call("nobody's")
    assert bench.clusters.asked == ["east"]
    bench.clusters.accounts[("east", "nobody's")] = "late"
    bench.clock.time += bench.settings.keep_refusal + 1
    assert bench.call("nobody's").service_account == "late"


def test_what_is_kept_is_bounded() -> None:
    bench = Bench(settings=AuthenticatorSettings(most_kept=5))
    bench.clusters.accounts = {("east", str(n)): "a" for n in range(20)}
    for n in range(20):
        bench.call(str(n))
    assert len(bench.authenticator._kept) == 5


class TestSilentCluster:
    def test_a_signature_by_a_known_key_counts(self, bench: Bench) -> None:
        assert run(bench.authenticator.refresh_keys("east"))
        bench.clusters.down.add("east")
        assert bench.call(token()) == Caller("east", "sample", "sleep", "", 5000.0)

    def test_without_known_keys_it_fails_and_says_both_reasons(self, bench: Bench) -> None:
        bench.clusters.down.add("east")
        with pytest.raises(UnauthenticatedError, match="east is down, and its signing keys are not known either"):
            bench.call(token())

    def test_it_is_not_asked_again_at_once(self, bench: Bench) -> None:
        run(bench.authenticator.refresh_keys("east"))
        bench.clusters.down.add("east")
        for account in ("a", "b", "c"):
            bench.call(token(account))
        assert bench.clusters.asked == ["east"]
        bench.clock.time += bench.settings.assume_down + 1
        bench.call(token("d"))
        assert bench.clusters.asked == ["east", "east"]

    def test_one_that_does_not_answer_in_time_is_silent(self, bench: Bench) -> None:
        quick = Bench(settings=AuthenticatorSettings(review_timeout=0.01), clusters=bench.clusters)
        run(quick.authenticator.refresh_keys("east"))
        quick.clusters.slow.add("east")
        assert quick.call(token()).service_account == "sleep"

    def test_a_wrong_signature_or_an_old_token_is_refused(self, bench: Bench) -> None:
        run(bench.authenticator.refresh_keys("east"))
        bench.clusters.down.add("east")
        with pytest.raises(UnauthenticatedError, match="was not signed by the cluster"):
            bench.call(token()[:-4] + "AAAA")
        with pytest.raises(UnauthenticatedError, match="has expired"):
            bench.call(token(expires=900.0))

    def test_keys_survive_in_a_store(self, bench: Bench) -> None:
        run(bench.authenticator.refresh_keys("east"))
        reborn = Bench()
        reborn.authenticator.adopt_keys(bench.authenticator.known_keys())
        reborn.clusters.down.add("east")
        assert reborn.call(token()).service_account == "sleep"


def test_keys_are_read_again_when_they_are_old(bench: Bench) -> None:
    assert run(bench.authenticator.refresh_keys("east"))
    bench.clusters.down.add("east")
    assert run(bench.authenticator.refresh_keys("east")), "young keys are good enough"
    bench.clock.time += bench.settings.keys_refresh + 1
    assert not run(bench.authenticator.refresh_keys("east"))
    assert bench.authenticator.known_keys() == {"east": key_set()}, "and kept when nobody answers"


def test_a_machines_certificate_proves_its_identity_in_our_own_cluster(bench: Bench) -> None:
    root = make_root(new_key(), now=bench.clock.now() - 60, serial=1)
    authority = from_pem(root.key, root.certificate, b"", now=bench.clock.now())
    machines = Machines(lambda: root.certificate, lambda *identity: identity == ("cluster.local", "shop", "db"))
    bench.authenticator = Authenticator(bench.clusters, bench.clock, bench.settings, machines=machines)

    def proof(name: str) -> str:
        key = new_key()
        validity = Validity(bench.clock.now(), 3600)
        issued = authority.issue(key.public_key(), workload_names(name), validity=validity, serial=2)
        return make_assertion(key_to_pem(key), issued.presented, now=bench.clock.now())

    caller = bench.call(proof("spiffe://cluster.local/ns/shop/sa/db"))
    assert (caller.cluster, caller.namespace, caller.service_account, caller.pod) == ("east", "shop", "db", "")
    assert bench.clusters.asked == []
    for name in ("spiffe://cluster.local/ns/shop/sa/web", "spiffe://other/ns/shop/sa/db"):
        with pytest.raises(UnauthenticatedError, match="no WorkloadGroup's here"):
            bench.call(proof(name))
    with pytest.raises(UnauthenticatedError, match="prove nothing for cluster west"):
        bench.call(proof("spiffe://cluster.local/ns/shop/sa/db"), "west")
    bench.authenticator = Authenticator(bench.clusters, bench.clock, bench.settings)
    with pytest.raises(UnauthenticatedError, match="prove nothing"):
        bench.call(proof("spiffe://cluster.local/ns/shop/sa/db"))
