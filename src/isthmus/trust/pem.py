"""PEM in and out: certificates and EC keys."""

from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from isthmus.trust.errors import TrustError

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: SigningKey) -> bytes:
    """PKCS#8, unencrypted: what Envoy and Kubernetes secrets hold."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(pem: bytes) -> SigningKey:
    """A private key, EC or RSA. Raises TrustError."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise TrustError(f"the private key cannot be read ({error})", "Give an unencrypted PEM key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TrustError("the private key is neither EC nor RSA", "Make one with ECDSA P-256")
    return key


def load_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """All certificates of a bundle, in order; an empty bundle gives none. Raises TrustError."""
    if b"-----BEGIN" not in pem:
        return ()
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise TrustError(f"a certificate cannot be read ({error})", "Give PEM certificates") from error


def certificate_to_pem(certificate: x509.Certificate) -> bytes:
    """One certificate."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def certificates_to_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """A bundle."""
    return b"".join(map(certificate_to_pem, certificates))


def public_bytes(key: object) -> bytes:
    """A public key in a form that can be compared."""
    if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    raise TrustError("unknown kind of public key", "Use EC or RSA")


def self_signed(certificate: x509.Certificate) -> bool:
    """True for a root: issued by itself, with its own key."""
    if certificate.issuer != certificate.subject:
        return False
    return issued_by(certificate, certificate)


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """True if the issuer's key signed the certificate and the names agree."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # the library raises ValueError, TypeError or InvalidSignature: each means no
        return False
    return True


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()
