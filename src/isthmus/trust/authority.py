"""A certificate authority as a value: key, certificate, chain and roots, checked once when it is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from isthmus.trust.errors import TrustError
from isthmus.trust.issue import PemPair, Validity, issuer_organization, make_root, sign_leaf
from isthmus.trust.pem import (
    SigningKey,
    certificate_to_pem,
    certificates_to_pem,
    fingerprint,
    issued_by,
    load_certificates,
    load_key,
    public_bytes,
    self_signed,
)

PLUG_IN_SECRET = "cacerts"
"""Secret in the system namespace with the operator's authority (TR1)."""
SELF_SIGNED_SECRET = "istio-ca-secret"
"""Secret that keeps a self-signed authority when there is no other (TR1)."""

MAX_LIFETIME = 90 * 86_400
DEFAULT_LIFETIME = 86_400
MIN_LIFETIME = 10
"""Seconds of life of a workload's certificate: longest, unasked, shortest (TR10)."""

ROOT_RENEWAL_SHARE = 0.2
"""A self-signed root is renewed when this share of its life remains (TR1)."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A signed certificate with what its holder must present. PEM."""

    leaf: bytes
    intermediates: tuple[bytes, ...]
    roots: bytes
    not_before: float
    not_after: float

    @property
    def response_chain(self) -> list[str]:
        """As CreateCertificate answers (TR10): leaf, one intermediate each, and the roots in the last element."""
        return [part.decode() for part in (self.leaf, *self.intermediates, self.roots)]

    @property
    def presented(self) -> bytes:
        """Leaf and intermediates: what a TLS server or client sends."""
        return b"".join((self.leaf, *self.intermediates))


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs for one control plane. `chain` starts with `certificate` and leads to, but excludes, a root."""

    key: SigningKey
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]

    def issue(
        self,
        public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        names: Sequence[x509.GeneralName],
        *,
        validity: Validity,
        serial: int,
    ) -> Issued:
        """Sign a leaf; it never outlives the authority. Raises TrustError when the authority has expired."""
        end = min(cert.not_valid_after_utc.timestamp() for cert in (self.certificate, *self.chain))
        if end <= validity.now:
            raise TrustError(
                f"the certificate authority expired at {self.certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%SZ}",
                f"Replace the secret {PLUG_IN_SECRET} in the system namespace",
            )
        bounded = replace(validity, lifetime=min(validity.lifetime, end - validity.now))
        leaf = sign_leaf(self.certificate, self.key, public_key, names, validity=bounded, serial=serial)
        return Issued(
            leaf=certificate_to_pem(leaf),
            intermediates=tuple(map(certificate_to_pem, self.chain)),
            roots=self.root_bundle,
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=leaf.not_valid_after_utc.timestamp(),
        )

    @property
    def root_bundle(self) -> bytes:
        """What clients must trust."""
        return certificates_to_pem(self.roots)

    @property
    def not_after(self) -> float:
        """When the authority's own certificate ends."""
        return self.certificate.not_valid_after_utc.timestamp()


def bounded_lifetime(requested: float, *, default: float = DEFAULT_LIFETIME, longest: float = MAX_LIFETIME) -> float:
    """Seconds a certificate will live: what was asked, within bounds; nothing asked gives the default (TR10)."""
    if requested <= 0:
        return min(default, longest)
    return max(MIN_LIFETIME, min(requested, longest))


def workload_names(spiffe_id: str) -> list[x509.GeneralName]:
    """The only name of a workload's certificate: its SPIFFE ID (TR13)."""
    return [x509.UniformResourceIdentifier(spiffe_id)]


def server_names(names: Sequence[str]) -> list[x509.GeneralName]:
    """The names of a control plane's server certificate: host names and IP addresses."""
    return [_server_name(name) for name in names]


def _server_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def from_secret(data: Mapping[str, bytes], *, now: float) -> Authority:
    """The authority in a secret's decoded data, under either set of key names (TR1). Raises TrustError.

    Istio's names: ca-cert.pem, ca-key.pem, cert-chain.pem, root-cert.pem; cert-manager's: tls.crt, tls.key, ca.crt.
    """
    modern = "tls.crt" in data
    certificate, key, root = (
        ("tls.crt", "tls.key", "ca.crt") if modern else ("ca-cert.pem", "ca-key.pem", "root-cert.pem")
    )
    missing = [name for name in (certificate, key) if not data.get(name)]
    if missing:
        raise TrustError(f"the secret lacks {' and '.join(missing)}", "See the section on certificates for its keys")
    bundle = data[certificate] + data.get("cert-chain.pem", b"")
    return from_pem(data[key], bundle, data.get(root, b""), now=now)


def from_pem(key_pem: bytes, chain_pem: bytes, root_pem: bytes, *, now: float) -> Authority:
    """An authority from its key, its certificate followed by the rest of the chain, and the roots.

    Without roots the certificate must be self-signed. Raises TrustError for what would make peers refuse us later.
    """
    key = load_key(key_pem)
    given = load_certificates(chain_pem)
    if not given:
        raise TrustError("there is no CA certificate", "Put the certificate of the key into ca-cert.pem")
    certificate = given[0]
    roots = load_certificates(root_pem) or tuple(cert for cert in given if self_signed(cert))
    _check_signer(certificate, key, now)
    chain = _chain(certificate, given[1:], roots)
    return Authority(key, certificate, chain, _unique(roots))


def self_signed_authority(
    key: SigningKey, *, now: float, serial: int, organization: str = "Isthmus"
) -> tuple[Authority, dict[str, bytes]]:
    """A new authority that is its own root, and the data of the secret that keeps it."""
    pair = make_root(key, now=now, serial=serial, organization=organization)
    return from_pem(pair.key, pair.certificate, b"", now=now), secret_data(pair, b"", pair.certificate)


def secret_data(pair: PemPair, chain: bytes, root: bytes) -> dict[str, bytes]:
    """The data of a `cacerts` or `istio-ca-secret` secret."""
    return {
        "ca-cert.pem": pair.certificate,
        "ca-key.pem": pair.key,
        "cert-chain.pem": chain or pair.certificate,
        "root-cert.pem": root,
    }


def root_needs_renewal(authority: Authority, now: float) -> bool:
    """True when a self-signed root has less than a fifth of its life left (TR1)."""
    start = authority.certificate.not_valid_before_utc.timestamp()
    remaining = authority.not_after - now
    return self_signed(authority.certificate) and remaining < ROOT_RENEWAL_SHARE * (authority.not_after - start)


def renewed_root(authority: Authority, *, now: float, serial: int) -> PemPair:
    """The same self-signed authority with a new certificate: same key and name, so what it signed stays valid."""
    organization = issuer_organization(authority.certificate)
    return make_root(authority.key, now=now, serial=serial, organization=organization)


def _check_signer(certificate: x509.Certificate, key: SigningKey, now: float) -> None:
    if public_bytes(certificate.public_key()) != public_bytes(key.public_key()):
        raise TrustError("the CA certificate does not belong to the CA key", "Replace both together")
    if certificate.not_valid_after_utc.timestamp() <= now:
        raise TrustError(
            f"the CA certificate expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%SZ}", "Renew it"
        )
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = x509.BasicConstraints(ca=False, path_length=None)
    if not constraints.ca:
        raise TrustError("the CA certificate may not sign others (no CA:TRUE)", "Issue it as an intermediate CA")


def _chain(
    certificate: x509.Certificate, candidates: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """From the signer up to below a root. A root that signs itself needs no chain."""
    if any(certificate == root for root in roots):
        return ()
    path = [certificate]
    while not any(issued_by(path[-1], root) for root in roots):
        above = [cert for cert in candidates if cert not in path and issued_by(path[-1], cert)]
        if not above:
            name = path[-1].subject.rfc4514_string()
            raise TrustError(
                f"no chain leads from the CA certificate to a root: who issued {name!r} is not there",
                "Put the intermediates into cert-chain.pem and the root into root-cert.pem",
            )
        path.append(above[0])
    return tuple(path)


def _unique(certificates: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    return tuple({fingerprint(cert): cert for cert in certificates}.values())
