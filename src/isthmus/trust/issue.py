"""Certificate templates: root, intermediate, workload and server. Pure: time, serial and keys are arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isthmus.trust.pem import SigningKey, certificate_to_pem, key_to_pem, load_certificates, load_key

BACKDATE = 120
"""Seconds by which a certificate starts early, for clocks that are behind; at most a tenth of its life."""

DAY = 86_400
ROOT_LIFETIME = 10 * 365 * DAY
"""Ten years, as Istio's self-signed root (TR1)."""
INTERMEDIATE_LIFETIME = 2 * 365 * DAY

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class PemPair:
    """A certificate and its private key."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Validity:
    """From when and for how long, in seconds."""

    now: float
    lifetime: float

    @property
    def start(self) -> datetime:
        """Backdated, in UTC."""
        early = min(BACKDATE, self.lifetime / 10)
        return datetime.fromtimestamp(self.now - early, UTC).replace(microsecond=0)

    @property
    def end(self) -> datetime:
        """In UTC."""
        return datetime.fromtimestamp(self.now, UTC).replace(microsecond=0) + timedelta(seconds=self.lifetime)


def serial_from(random_bytes: bytes) -> int:
    """A positive serial number of at most 20 bytes (RFC 5280, 4.1.2.2) from at least 8 random bytes."""
    return (int.from_bytes(random_bytes[:19]) >> 1) + 1


def make_root(
    key: SigningKey, *, now: float, serial: int, organization: str = "Isthmus", lifetime: float = ROOT_LIFETIME
) -> PemPair:
    """A self-signed root for a mesh."""
    name = _name(organization, "Root CA")
    builder = _builder(name, name, key.public_key(), Validity(now, lifetime), serial)
    builder = _as_authority(builder, key.public_key(), path_length=None)
    certificate = builder.sign(key, hashes.SHA256())
    return PemPair(certificate_to_pem(certificate), key_to_pem(key))


def make_intermediate(
    root: PemPair,
    key: SigningKey,
    *,
    now: float,
    serial: int,
    cluster: str,
    lifetime: float = INTERMEDIATE_LIFETIME,
    trust_domains: Sequence[str] = (),
) -> PemPair:
    """An intermediate for one cluster's control plane, signed by the root.

    `trust_domains` adds a critical name constraint: what the intermediate signs for SPIFFE identities of any other
    trust domain is then refused by every verifier (RFC 5280, 4.2.1.10).
    """
    issuer = load_certificates(root.certificate)[0]
    lifetime = min(lifetime, issuer.not_valid_after_utc.timestamp() - now)
    name = _name(issuer_organization(issuer), f"Intermediate CA {cluster}")
    builder = _builder(name, issuer.subject, key.public_key(), Validity(now, lifetime), serial)
    builder = _as_authority(builder, key.public_key(), path_length=0)
    builder = builder.add_extension(_authority_key_id(issuer), critical=False)
    if trust_domains:
        permitted = [x509.UniformResourceIdentifier(domain) for domain in trust_domains]
        builder = builder.add_extension(x509.NameConstraints(permitted, None), critical=True)
    certificate = builder.sign(load_key(root.key), hashes.SHA256())
    return PemPair(certificate_to_pem(certificate), key_to_pem(key))


def sign_leaf(
    issuer: x509.Certificate,
    issuer_key: SigningKey,
    public_key: PublicKey,
    names: Sequence[x509.GeneralName],
    *,
    validity: Validity,
    serial: int,
) -> x509.Certificate:
    """A certificate for a workload or server: empty subject, critical names, client and server use."""
    empty = x509.Name([])
    builder = _builder(empty, issuer.subject, public_key, validity, serial)
    usage = _key_usage(sign=True, encipher=isinstance(public_key, rsa.RSAPublicKey), authority=False)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage(purposes), False),
        (x509.SubjectAlternativeName(names), True),
        (_authority_key_id(issuer), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


def issuer_organization(certificate: x509.Certificate) -> str:
    """The organization in a certificate's subject, or a default."""
    found = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(found[0].value) if found else "Isthmus"


def _name(organization: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: PublicKey, validity: Validity, serial: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(validity.start)
        .not_valid_after(validity.end)
    )


def _as_authority(
    builder: x509.CertificateBuilder, public_key: PublicKey, *, path_length: int | None
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(sign=False, encipher=False, authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _authority_key_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        extension = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        key = issuer.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(extension.value)


def _key_usage(*, sign: bool, encipher: bool, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=encipher,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
