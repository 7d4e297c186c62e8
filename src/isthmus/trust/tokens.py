"""ServiceAccount tokens: their claims, and their signature against a cluster's published keys.

The API server's TokenReview is asked first; this is what is left when it cannot be reached.
https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#serviceaccount-token-volume-projection
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from isthmus.trust.errors import TokenError

AUDIENCE = "istio-ca"
"""Audience of the token that proves a workload's identity to the control plane (AU1)."""

LEEWAY = 30.0
"""Seconds by which clocks may differ."""

HASHES: Mapping[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. `expires` and `not_before` are seconds since the epoch."""

    issuer: str
    audiences: tuple[str, ...]
    namespace: str
    service_account: str
    pod: str = ""
    pod_uid: str = ""
    node: str = ""
    expires: float = 0.0
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class _Parts:
    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def read_claims(token: str) -> Claims:
    """The claims without any check of the signature: good only to know how long an answer may be kept."""
    return _claims(_split(token).claims)


def verify(token: str, keys: Mapping[str, Any], *, audience: str, now: float) -> Claims:
    """The claims of a token signed by one of a cluster's keys (a JSON Web Key Set) and valid now. Raises TokenError."""
    parts = _split(token)
    algorithm, key_id = str(parts.header.get("alg", "")), parts.header.get("kid")
    candidates = [key for key in keys.get("keys", ()) if key_id is None or key.get("kid") in (None, key_id)]
    if not any(_signed_with(key, algorithm, parts) for key in candidates):
        raise TokenError("the token was not signed by the cluster", "Use a token of the cluster that is claimed")
    claims = _claims(parts.claims)
    if claims.expires + LEEWAY < now:
        raise TokenError("the token has expired", "Read the projected token file again")
    if claims.not_before - LEEWAY > now:
        raise TokenError("the token is not valid yet", "Compare the clocks")
    if audience not in claims.audiences:
        raise TokenError(
            f"the token is meant for {', '.join(claims.audiences) or 'nobody'}", f"Project one for audience {audience}"
        )
    return claims


def split_username(username: str) -> tuple[str, str]:
    """Namespace and name out of `system:serviceaccount:<namespace>:<name>`. Raises TokenError."""
    match username.split(":"):
        case ["system", "serviceaccount", namespace, name] if namespace and name:
            return namespace, name
    raise TokenError(f"{username!r} is no service account", "Use a pod's projected token")


def _split(token: str) -> _Parts:
    try:
        head, body, tail = token.split(".")
        header, claims = (msgspec.json.decode(_unbase64(part)) for part in (head, body))
        if not (isinstance(header, dict) and isinstance(claims, dict)):
            raise TypeError("not an object")
        return _Parts(header, claims, f"{head}.{body}".encode(), _unbase64(tail))
    except (ValueError, TypeError) as error:
        raise TokenError("the token is no JSON Web Token", "Use the projected ServiceAccount token") from error


def _claims(data: Mapping[str, Any]) -> Claims:
    audience = data.get("aud", ())
    namespace, account = split_username(str(data.get("sub", "")))
    bound = data.get("kubernetes.io", {})
    return Claims(
        issuer=str(data.get("iss", "")),
        audiences=(audience,) if isinstance(audience, str) else tuple(map(str, audience)),
        namespace=namespace,
        service_account=account,
        pod=_bound(bound, "pod", "name"),
        pod_uid=_bound(bound, "pod", "uid"),
        node=_bound(bound, "node", "name"),
        expires=_seconds(data.get("exp", 0)),
        not_before=_seconds(data.get("nbf", 0)),
    )


def _bound(claim: object, kind: str, field: str) -> str:
    """A field of an object that the token is bound to, empty if it is not bound to one of that kind."""
    found = claim.get(kind) if isinstance(claim, dict) else None
    return str(found.get(field, "")) if isinstance(found, dict) else ""


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise TokenError("the token's dates are no numbers", "Use the projected ServiceAccount token")


def _signed_with(key: Mapping[str, Any], algorithm: str, parts: _Parts) -> bool:
    """True if this key made the signature with the algorithm; unknown algorithms, `none` too, never match."""
    digest = HASHES.get(algorithm[2:])
    try:
        if digest and algorithm.startswith("RS") and key.get("kty") == "RSA":
            _rsa_key(key).verify(parts.signature, parts.signed, padding.PKCS1v15(), digest)
            return True
        if digest and algorithm.startswith("ES") and key.get("kty") == "EC":
            half = len(parts.signature) // 2
            r, s = (int.from_bytes(part) for part in (parts.signature[:half], parts.signature[half:]))
            _ec_key(key).verify(utils.encode_dss_signature(r, s), parts.signed, ec.ECDSA(digest))
            return True
    except (InvalidSignature, ValueError, KeyError):
        return False
    return False


def _rsa_key(key: Mapping[str, Any]) -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(e=_number(key["e"]), n=_number(key["n"])).public_key()


def _ec_key(key: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
    curves: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    return ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), curves[key["crv"]]).public_key()


def _number(text: str) -> int:
    return int.from_bytes(_unbase64(text))


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
