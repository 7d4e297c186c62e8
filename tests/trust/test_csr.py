"""What a signing request must prove."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from isthmus.trust.csr import public_key_of
from isthmus.trust.errors import CsrError
from isthmus.trust.pem import new_key, public_bytes


def request(key: CertificateIssuerPrivateKeyTypes, *, digest: hashes.SHA256 | None = None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://evil/ns/a/sa/admin")])
    return builder.add_extension(names, critical=True).sign(key, digest).public_bytes(serialization.Encoding.DER)


def pem(der: bytes) -> str:
    return x509.load_der_x509_csr(der).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    "key", [new_key(), ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)]
)
def test_a_proven_key_is_accepted(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    found = public_key_of(pem(request(key, digest=hashes.SHA256())))
    assert public_bytes(found) == public_bytes(key.public_key())


def forged() -> str:
    data = bytearray(request(new_key(), digest=hashes.SHA256()))
    at = data.index(b"spiffe://evil")
    data[at + 9 : at + 13] = b"good"
    return pem(bytes(data))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "cannot be read"),
        ("x" * 20_000, "20000 bytes long"),
        (forged(), "signature is wrong"),
        (pem(request(rsa.generate_private_key(65537, 1024), digest=hashes.SHA256())), "1024 bits is too short"),
        (pem(request(ec.generate_private_key(ec.SECP256K1()), digest=hashes.SHA256())), "secp256k1 is not accepted"),
        (pem(request(ed25519.Ed25519PrivateKey.generate())), "kind of key is not accepted"),
    ],
)
def test_what_is_refused_says_why(text: str, message: str) -> None:
    with pytest.raises(CsrError, match=message) as raised:
        public_key_of(text)
    assert raised.value.remedy
