"""Service account tokens: JWTs signed by this cluster (RFC 7519, ES256), bound to objects that must still exist."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from isthmus_lab.apiserver.identity import User, service_account
from isthmus_lab.apiserver.objects import JsonObject, decode, encode, section
from isthmus_lab.apiserver.store import Entry, Store

ISSUER = "https://kubernetes.default.svc.cluster.local"
LEGACY_ISSUER = "kubernetes/serviceaccount"
API_AUDIENCES = (ISSUER, "https://kubernetes.default.svc", "kubernetes")
SECRET_TYPE = "kubernetes.io/service-account-token"
ACCOUNT_ANNOTATION = "kubernetes.io/service-account.name"
ACCOUNT_UID_ANNOTATION = "kubernetes.io/service-account.uid"
_COORDINATE = 32  # bytes of a P-256 coordinate
_LEEWAY = 5.0  # seconds between clocks of one machine's processes


class TokenError(Exception):
    """Why a token is not good."""


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Signer:
    """Signs and checks; knows nothing of what the claims mean."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._id = _b64(hashlib.sha256(public).digest())

    def sign(self, claims: JsonObject) -> str:
        head = _b64(encode({"alg": "ES256", "kid": self._id}))
        signed = f"{head}.{_b64(encode(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_b64(r.to_bytes(_COORDINATE, 'big') + s.to_bytes(_COORDINATE, 'big'))}"

    def claims(self, token: str) -> JsonObject:
        """The claims of a token with a good signature; its time is not judged. Raises TokenError."""
        try:
            head, body, signature = token.split(".")
            header, raw = decode(_unb64(head)), _unb64(signature)
            claims = decode(_unb64(body))
        except ValueError:
            raise TokenError("not a token of this cluster") from None
        if not isinstance(header, dict) or header.get("alg") != "ES256" or len(raw) != 2 * _COORDINATE:
            raise TokenError("not a token of this cluster")
        r, s = (int.from_bytes(raw[i : i + _COORDINATE], "big") for i in (0, _COORDINATE))
        try:
            self._key.public_key().verify(
                encode_dss_signature(r, s), f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256())
            )
        except InvalidSignature:
            raise TokenError("the signature is not of this cluster's key") from None
        if not isinstance(claims, dict):
            raise TokenError("not a token of this cluster")
        return claims

    def jwks(self) -> JsonObject:
        """The public key as a JSON web key set (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "use": "sig",
            "kty": "EC",
            "kid": self._id,
            "alg": "ES256",
            "crv": "P-256",
            "x": _b64(numbers.x.to_bytes(_COORDINATE, "big")),
            "y": _b64(numbers.y.to_bytes(_COORDINATE, "big")),
        }
        return {"keys": [key]}


@dataclass(frozen=True, slots=True)
class Verified:
    """A good token: whose, and for which audiences."""

    user: User
    audiences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a new token says. `bound` is the kind (lower case) and the object it dies with."""

    account: Entry
    audiences: tuple[str, ...]
    seconds: int
    bound: tuple[str, Entry] | None = None
    node: Entry | None = None


class TokenAuthority:
    """Issues tokens and says whether one still holds: its account and what it is bound to must exist unchanged."""

    def __init__(self, signer: Signer, store: Store) -> None:
        self.signer = signer
        self._store = store

    def issue(self, grant: Grant, now: float, token_id: str) -> str:
        account = grant.account
        facts: JsonObject = {
            "namespace": account.namespace,
            "serviceaccount": {"name": account.name, "uid": account.uid},
        }
        if grant.bound is not None:
            kind, entry = grant.bound
            facts[kind] = {"name": entry.name, "uid": entry.uid}
        if grant.node is not None:
            facts["node"] = {"name": grant.node.name, "uid": grant.node.uid}
        issued = int(now)
        return self.signer.sign(
            {
                "aud": list(grant.audiences),
                "exp": issued + grant.seconds,
                "iat": issued,
                "iss": ISSUER,
                "jti": token_id,
                "kubernetes.io": facts,
                "nbf": issued,
                "sub": f"system:serviceaccount:{account.namespace}:{account.name}",
            }
        )

    def legacy(self, account: Entry, secret_name: str) -> str:
        """The token of a Secret: without an end, good while the Secret is there."""
        prefix = "kubernetes.io/serviceaccount/"
        return self.signer.sign(
            {
                "iss": LEGACY_ISSUER,
                f"{prefix}namespace": account.namespace,
                f"{prefix}secret.name": secret_name,
                f"{prefix}service-account.name": account.name,
                f"{prefix}service-account.uid": account.uid,
                "sub": f"system:serviceaccount:{account.namespace}:{account.name}",
            }
        )

    def verify(self, token: str, now: float) -> Verified:
        """Raises TokenError. Which audience is wanted is the caller's to check."""
        claims = self.signer.claims(token)
        if claims.get("iss") == LEGACY_ISSUER:
            return self._verify_legacy(claims, token)
        if claims.get("iss") != ISSUER:
            raise TokenError("the issuer is not this cluster")
        if now > float(claims.get("exp") or 0) + _LEEWAY:
            raise TokenError("service account token has expired")
        if now < float(claims.get("nbf") or 0) - _LEEWAY:
            raise TokenError("service account token is not valid yet")
        facts = section(claims, "kubernetes.io")
        namespace = str(facts.get("namespace", ""))
        account = self._alive("serviceaccounts", namespace, section(facts, "serviceaccount"))
        extra: dict[str, tuple[str, ...]] = {
            "authentication.kubernetes.io/credential-id": (f"JTI={claims.get('jti', '')}",)
        }
        for kind, storage in (("pod", "pods"), ("secret", "secrets")):
            if kind in facts:
                self._alive(storage, namespace, facts[kind])
        if "pod" in facts:
            extra["authentication.kubernetes.io/pod-name"] = (str(facts["pod"].get("name")),)
            extra["authentication.kubernetes.io/pod-uid"] = (str(facts["pod"].get("uid")),)
        if "node" in facts:
            extra["authentication.kubernetes.io/node-name"] = (str(facts["node"].get("name")),)
            extra["authentication.kubernetes.io/node-uid"] = (str(facts["node"].get("uid")),)
        user = service_account(namespace, account.name, uid=account.uid, extra=extra)
        return Verified(user, tuple(_strings(claims.get("aud"))))

    def _verify_legacy(self, claims: JsonObject, token: str) -> Verified:
        prefix = "kubernetes.io/serviceaccount/"
        namespace, secret = str(claims.get(f"{prefix}namespace")), str(claims.get(f"{prefix}secret.name"))
        entry = self._store.get("secrets", namespace, secret)
        held = section(entry.obj, "data").get("token") if entry else None
        if not isinstance(held, str) or base64.b64decode(held) != token.encode():
            raise TokenError("service account token has been invalidated: its Secret is gone")
        identity = {
            "name": claims.get(f"{prefix}service-account.name"),
            "uid": claims.get(f"{prefix}service-account.uid"),
        }
        account = self._alive("serviceaccounts", namespace, identity)
        return Verified(service_account(namespace, account.name, uid=account.uid), API_AUDIENCES)

    def _alive(self, storage: str, namespace: str, identity: JsonObject) -> Entry:
        entry = self._store.get(storage, namespace, str(identity.get("name")))
        if entry is None or entry.uid != identity.get("uid"):
            raise TokenError(f"service account token has been invalidated: {storage} {identity.get('name')} is gone")
        return entry


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(item) for item in value] if isinstance(value, list) else []
