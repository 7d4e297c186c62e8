"""Certificates as proof of identity: what is believed, and every way in which it is not."""

import base64
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from isthmus.trust.assertion import Asserted, is_assertion, make, verify
from isthmus.trust.authority import Authority, from_secret, secret_data, server_names, workload_names
from isthmus.trust.errors import TokenError
from isthmus.trust.issue import DAY, PemPair, Validity, make_intermediate, make_root
from isthmus.trust.pem import key_to_pem, load_certificates, load_key, new_key

NOW = 1_800_000_000.0
ROOT = make_root(new_key(), now=NOW, serial=1)
OTHER_ROOT = make_root(new_key(), now=NOW, serial=2)
SPIFFE = "spiffe://cluster.local/ns/shop/sa/db"


def authority(root: PemPair = ROOT) -> Authority:
    intermediate = make_intermediate(root, new_key(), now=NOW, serial=3, cluster="east")
    return from_secret(secret_data(intermediate, intermediate.certificate, root.certificate), now=NOW)


def holder(signer: Authority, name: str = SPIFFE) -> tuple[bytes, bytes]:
    """Key and presented chain of a workload."""
    key = new_key()
    names = workload_names(name) if "://" in name else server_names([name])
    issued = signer.issue(key.public_key(), names, validity=Validity(NOW, DAY), serial=7)
    return key_to_pem(key), issued.presented


ROOTS = load_certificates(ROOT.certificate)
EAST = authority()
KEY, CHAIN = holder(EAST)
LEAF = CHAIN.partition(b"-----END CERTIFICATE-----")[0] + b"-----END CERTIFICATE-----\n"


def test_a_certificate_proves_its_identity() -> None:
    token = make(KEY, CHAIN, now=NOW)
    assert is_assertion(token)
    found = verify(token, ROOTS, now=NOW)
    assert (found.trust_domain, found.namespace, found.service_account) == ("cluster.local", "shop", "db")
    assert isinstance(found, Asserted)
    assert found.expires == pytest.approx(NOW + DAY, abs=120)


NESTED = base64.urlsafe_b64encode(b"[" * 9000).decode()


@pytest.mark.parametrize("text", ["", "a.b.c", "eyJhbGciOiJFUzI1NiJ9.e30.", "é", f"{NESTED}.b.c"])
def test_other_tokens_are_none(text: str) -> None:
    assert not is_assertion(text)
    with pytest.raises(TokenError):
        verify(text, ROOTS, now=NOW)


def part(token: str, index: int, change: Callable[[dict[str, object]], None]) -> str:
    """The token with one part changed."""
    parts = token.split(".")
    found = json.loads(base64.urlsafe_b64decode(parts[index] + "=="))
    change(found)
    parts[index] = base64.urlsafe_b64encode(json.dumps(found).encode()).rstrip(b"=").decode()
    return ".".join(parts)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (part(make(KEY, CHAIN, now=NOW), 1, lambda c: c.update(exp=int(NOW) + 61)), "not signed by"),
        (part(make(KEY, CHAIN, now=NOW), 0, lambda h: h.update(alg="none")), "not signed by"),
        (part(make(KEY, CHAIN, now=NOW), 0, lambda h: h.update(x5c=[])), "no chain"),
        (part(make(KEY, CHAIN, now=NOW), 0, lambda h: h.update(x5c=["?"])), "cannot be read"),
        (make(holder(EAST)[0], CHAIN, now=NOW), "not signed by"),
        (make(KEY, CHAIN, now=NOW - 3600), "not of this time"),
        (make(KEY, CHAIN, now=NOW + 3600), "not of this time"),
        (make(KEY, CHAIN, now=NOW, audience="other"), "somebody else"),
        (make(*holder(authority(OTHER_ROOT)), now=NOW), "not under a root"),
        (make(*holder(EAST, "istiod.istio-system.svc"), now=NOW), "not a workload's"),
        (make(*holder(EAST, "spiffe://cluster.local/ns/shop"), now=NOW), "not a workload's"),
        (make(KEY, LEAF, now=NOW), "under a root"),
        (make(KEY, CHAIN + ROOT.certificate + OTHER_ROOT.certificate, now=NOW), "no chain"),
    ],
)  # fmt: skip
def test_what_proves_nothing(token: str, message: str) -> None:
    with pytest.raises(TokenError, match=message):
        verify(token, ROOTS, now=NOW)


def test_an_expired_certificate_proves_nothing() -> None:
    with pytest.raises(TokenError, match="not valid any more"):
        verify(make(KEY, CHAIN, now=NOW + 2 * DAY), ROOTS, now=NOW + 2 * DAY)


def test_an_issuer_that_is_bound_to_another_trust_domain_cannot_vouch() -> None:
    bound = make_intermediate(ROOT, new_key(), now=NOW, serial=9, cluster="west", trust_domains=["west.example"])
    west = from_secret(secret_data(bound, bound.certificate, ROOT.certificate), now=NOW)
    with pytest.raises(TokenError, match="may not sign for trust domain"):
        verify(make(*holder(west), now=NOW), ROOTS, now=NOW)


@pytest.mark.parametrize("time", [-1, 10**400, "1", None])
def test_times_that_are_none(time: object) -> None:
    """Whoever calls may sign any claims with a key of his own."""
    key = load_key(KEY)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    made = part(make(KEY, CHAIN, now=NOW), 1, lambda claims: claims.update(iat=time, exp=time))
    signed = made.rpartition(".")[0]
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    tail = base64.urlsafe_b64encode(r.to_bytes(32) + s.to_bytes(32)).rstrip(b"=").decode()
    with pytest.raises(TokenError, match="how long"):
        verify(f"{signed}.{tail}", ROOTS, now=NOW)
