"""Tokens: claims, signatures, and every way in which they do not prove what they should."""

import base64
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from isthmus.trust.errors import TokenError
from isthmus.trust.tokens import AUDIENCE, Claims, read_claims, split_username, verify

NOW = 1_800_000_000.0
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
CLAIMS = {
    "iss": "https://kubernetes.default.svc",
    "aud": [AUDIENCE],
    "sub": "system:serviceaccount:sample:sleep",
    "exp": NOW + 600,
    "nbf": NOW - 60,
    "kubernetes.io": {"namespace": "sample", "pod": {"name": "sleep-1", "uid": "u1"}, "node": {"name": "n1"}},
}


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8))


def keys() -> dict[str, Any]:
    rsa_numbers, ec_numbers = RSA.public_key().public_numbers(), EC.public_key().public_numbers()
    return {
        "keys": [
            {"kty": "RSA", "kid": "r", "n": number(rsa_numbers.n), "e": number(rsa_numbers.e)},
            {"kty": "EC", "kid": "e", "crv": "P-256", "x": number(ec_numbers.x), "y": number(ec_numbers.y)},
        ]
    }


def token(
    algorithm: str = "RS256",
    key_id: str | None = "r",
    *,
    signer: Any = None,
    without_pod: bool = False,
    **changes: Any,
) -> str:
    header: dict[str, Any] = {"alg": algorithm} | ({"kid": key_id} if key_id else {})
    if without_pod:
        changes["kubernetes.io"] = None
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    signed = f"{encode(msgspec.json.encode(header))}.{encode(msgspec.json.encode(claims))}"
    key = signer or (EC if algorithm == "ES256" else RSA)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32) + s.to_bytes(32)
    else:
        signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{encode(signature)}"


@pytest.mark.parametrize(("algorithm", "key_id"), [("RS256", "r"), ("ES256", "e"), ("RS256", None)])
def test_a_good_token_tells_who_it_is(algorithm: str, key_id: str | None) -> None:
    claims = verify(token(algorithm, key_id), keys(), audience=AUDIENCE, now=NOW)
    assert claims == Claims(
        issuer="https://kubernetes.default.svc",
        audiences=(AUDIENCE,),
        namespace="sample",
        service_account="sleep",
        pod="sleep-1",
        pod_uid="u1",
        node="n1",
        expires=NOW + 600,
        not_before=NOW - 60,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (token(exp=NOW - 60), "has expired"),
        (token(nbf=NOW + 60), "not valid yet"),
        (token(aud=["api"]), "meant for api"),
        (token(aud=None), "meant for nobody"),
        (token(sub="admin"), "no service account"),
        (token(exp="soon"), "dates are no numbers"),
        (token(signer=rsa.generate_private_key(65537, 2048)), "was not signed by the cluster"),
        (token("RS256", "e"), "was not signed by the cluster"),
        (token("none"), "was not signed by the cluster"),
        (token("HS256"), "was not signed by the cluster"),
        (token("ES256", "r"), "was not signed by the cluster"),
        (token().rpartition(".")[0] + ".", "was not signed by the cluster"),
        ("not a token", "no JSON Web Token"),
        ("a.b.c", "no JSON Web Token"),
        ("ä.b.c", "no JSON Web Token"),
        (f"{encode(b'[]')}.{encode(b'{}')}.x", "no JSON Web Token"),
    ],
)
def test_a_bad_token_says_why(text: str, message: str) -> None:
    with pytest.raises(TokenError, match=message) as raised:
        verify(text, keys(), audience=AUDIENCE, now=NOW)
    assert raised.value.remedy


def test_clocks_may_differ_a_little() -> None:
    verify(token(exp=NOW - 20, nbf=NOW + 20), keys(), audience=AUDIENCE, now=NOW)


@pytest.mark.parametrize(
    "broken", [{}, {"keys": []}, {"keys": [{"kty": "RSA", "kid": "r"}]}, {"keys": [{"kty": "oct"}]}]
)
def test_odd_key_sets_match_nothing(broken: dict[str, Any]) -> None:
    with pytest.raises(TokenError, match="was not signed"):
        verify(token(), broken, audience=AUDIENCE, now=NOW)


def test_an_audience_may_be_one_string_and_a_token_need_not_have_a_pod() -> None:
    claims = read_claims(token(aud=AUDIENCE, without_pod=True))
    assert (claims.audiences, claims.pod) == ((AUDIENCE,), "")


@pytest.mark.parametrize(
    "name", ["", "system:serviceaccount:a", "system:serviceaccount:a:", "system:node:a:b", "a:b:c:d"]
)
def test_only_service_accounts_have_an_identity(name: str) -> None:
    with pytest.raises(TokenError):
        split_username(name)
