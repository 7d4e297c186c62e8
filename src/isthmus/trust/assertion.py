"""A certificate of the mesh as proof of identity: a short-lived JSON Web Token signed with its key (RFC 7515 `x5c`).

For machines outside of Kubernetes, to which no kubelet brings fresh tokens: the first certificate is given for a token,
every further one for the certificate before it.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from isthmus.trust.constraints import permits
from isthmus.trust.errors import TokenError, TrustError
from isthmus.trust.pem import issued_by, load_certificates, load_key
from isthmus.trust.tokens import AUDIENCE, LEEWAY

LIFETIME = 60.0
"""Seconds that an assertion is good for: it is made for each call."""

LONGEST_CHAIN = 8
_CURVE_BYTES = 32
_REMEDY = "Configure the machine again: isthmus workload entry configure"


@dataclass(frozen=True, slots=True)
class Asserted:
    """Whom a certificate proves. `expires`: the end of the certificate, seconds since the epoch."""

    trust_domain: str
    namespace: str
    service_account: str
    expires: float


def make(key_pem: bytes, chain_pem: bytes, *, now: float, audience: str = AUDIENCE) -> str:
    """An assertion of a workload's certificate (leaf first). Raises TrustError for a key that is not ECDSA P-256."""
    key = load_key(key_pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.key_size != 8 * _CURVE_BYTES:
        raise TrustError("the key is not ECDSA P-256", "Let the agent make it")
    chain = load_certificates(chain_pem)
    header = {"alg": "ES256", "typ": "JWT", "x5c": [base64.b64encode(_der(one)).decode() for one in chain]}
    claims = {"aud": [audience], "iat": int(now), "exp": int(now + LIFETIME)}
    signed = ".".join(_encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_encode(r.to_bytes(_CURVE_BYTES) + s.to_bytes(_CURVE_BYTES))}"


def is_assertion(token: str) -> bool:
    """True if a bearer token carries certificates. It is not verified."""
    try:
        return "x5c" in _json(token.split(".", 1)[0])
    except TokenError:
        return False


def verify(token: str, roots: Sequence[x509.Certificate], *, now: float, audience: str = AUDIENCE) -> Asserted:
    """Whom an assertion proves under these roots. Raises TokenError."""
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenError("the assertion is no JSON Web Token", _REMEDY)
    header, claims = _json(parts[0]), _json(parts[1])
    chain = _chain(header)
    leaf = chain[0]
    if header.get("alg") != "ES256" or not _signed(leaf, f"{parts[0]}.{parts[1]}".encode(), _decode(parts[2])):
        raise TokenError("the assertion was not signed by its certificate's key", _REMEDY)
    _check_times(claims, now)
    if audience not in (claims.get("aud") or ()):
        raise TokenError("the assertion is meant for somebody else", _REMEDY)
    return holder(chain, roots, now=now)


def holder(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], *, now: float) -> Asserted:
    """Whose certificate this is, leaf first, if it is good under these roots. Raises TokenError."""
    if not chain:
        raise TokenError("there is no certificate", _REMEDY)
    found = _identity(chain[0])
    _check_chain(chain, roots, now=now, trust_domain=found.trust_domain)
    return found


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    issued, expires = _time(claims.get("iat")), _time(claims.get("exp"))
    if expires - issued > LIFETIME + LEEWAY:
        raise TokenError("the assertion is made for too long a time", _REMEDY)
    if not issued - LEEWAY <= now <= expires + LEEWAY:
        raise TokenError("the assertion is not of this time", "Compare the clocks")


def _time(value: Any) -> int:
    if isinstance(value, int) and 0 <= value < 2**53:
        return value
    raise TokenError("the assertion does not say how long it is good for", _REMEDY)


def _chain(header: Mapping[str, Any]) -> list[x509.Certificate]:
    given = header.get("x5c")
    if not isinstance(given, list) or not 1 <= len(given) <= LONGEST_CHAIN:
        raise TokenError("the assertion carries no chain of certificates", _REMEDY)
    try:
        return [x509.load_der_x509_certificate(base64.b64decode(one, validate=True)) for one in given]
    except (ValueError, TypeError) as error:
        raise TokenError("a certificate of the assertion cannot be read", _REMEDY) from error


def _check_chain(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], *, now: float, trust_domain: str
) -> None:
    """From the leaf over authorities to a root, all valid now, all allowed to sign for the trust domain."""
    for certificate in chain:
        if (
            not certificate.not_valid_before_utc.timestamp() - LEEWAY
            <= now
            < certificate.not_valid_after_utc.timestamp()
        ):
            raise TokenError("the certificate is not valid any more, or not yet", _REMEDY)
    for lower, upper in pairwise(chain):
        if not _is_authority(upper) or not issued_by(lower, upper):
            raise TokenError("the assertion's certificates are no chain", _REMEDY)
    root = next((one for one in roots if chain[-1] == one or issued_by(chain[-1], one)), None)
    if root is None or root.not_valid_after_utc.timestamp() <= now:
        raise TokenError("the certificate is not under a root of the mesh", _REMEDY)
    if not permits([*chain[1:], root], trust_domain):
        raise TokenError(f"its issuer may not sign for trust domain {trust_domain}", _REMEDY)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _identity(leaf: x509.Certificate) -> Asserted:
    """The one SPIFFE identity of a workload's certificate; an authority's own is none."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    parts = uris[0].removeprefix("spiffe://").split("/") if len(uris) == 1 and uris[0].startswith("spiffe://") else []
    match parts:
        case [domain, "ns", namespace, "sa", account] if all(parts) and not _is_authority(leaf):
            return Asserted(domain, namespace, account, leaf.not_valid_after_utc.timestamp())
    raise TokenError("the certificate is not a workload's", _REMEDY)


def _signed(leaf: x509.Certificate, data: bytes, signature: bytes) -> bool:
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or len(signature) != 2 * _CURVE_BYTES:
        return False
    r, s = (int.from_bytes(part) for part in (signature[:_CURVE_BYTES], signature[_CURVE_BYTES:]))
    try:
        key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise TokenError("the assertion cannot be read", _REMEDY) from error


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(_decode(text))
    except (ValueError, RecursionError) as error:
        raise TokenError("the assertion cannot be read", _REMEDY) from error
    if not isinstance(found, dict):
        raise TokenError("the assertion cannot be read", _REMEDY)
    return found
