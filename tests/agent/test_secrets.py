"""Keys, requests and the secrets that Envoy is given."""

import os
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from isthmus.agent.secrets import SigningRequest, build_secrets, make_identity, make_request
from isthmus.base.errors import IsthmusError
from isthmus.trust.authority import Authority, workload_names
from isthmus.trust.csr import public_key_of
from isthmus.trust.issue import Validity, serial_from
from isthmus.trust.pem import certificates_to_pem, load_certificates, load_key, public_bytes
from tests.agent.fakes import IDENTITY, make_authority


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority()


def sign(authority: Authority, request: SigningRequest) -> list[str]:
    """What the certificate authority answers to a request."""
    validity = Validity(time.time(), 3600)
    names = workload_names(IDENTITY)
    serial = serial_from(os.urandom(19))
    return authority.issue(public_key_of(request.csr), names, validity=validity, serial=serial).response_chain


def test_request_is_p256_with_the_identity_and_a_new_key_each_time() -> None:
    first, second = make_request(IDENTITY), make_request(IDENTITY)
    csr = x509.load_pem_x509_csr(first.csr.encode())
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [IDENTITY]
    key = csr.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert (key.curve.name, csr.is_signature_valid) == ("secp256r1", True)
    assert public_bytes(first.key.public_key()) != public_bytes(second.key.public_key())


def test_identity_presents_leaf_and_intermediate_and_trusts_the_root(authority: Authority) -> None:
    request = make_request(IDENTITY)
    identity = make_identity(request, sign(authority, request), roots=b"")
    presented = load_certificates(identity.chain)
    assert [certificate.issuer for certificate in presented] == [
        authority.certificate.subject,
        authority.roots[0].subject,
    ]
    assert load_certificates(identity.roots) == authority.roots
    assert public_bytes(load_key(identity.key).public_key()) == public_bytes(presented[0].public_key())
    assert identity.serial == f"{presented[0].serial_number:x}"
    assert identity.end == presented[0].not_valid_after_utc.timestamp()


def test_mounted_roots_are_trusted_too_and_once(authority: Authority) -> None:
    other = make_authority()
    request = make_request(IDENTITY)
    mounted = certificates_to_pem((*authority.roots, *other.roots))
    identity = make_identity(request, sign(authority, request), roots=mounted)
    assert load_certificates(identity.roots) == (*authority.roots, *other.roots)


def test_certificate_for_another_key_is_refused(authority: Authority) -> None:
    with pytest.raises(IsthmusError, match="another key"):
        make_identity(make_request(IDENTITY), sign(authority, make_request(IDENTITY)), roots=b"")


@pytest.mark.parametrize("answer", [[], ["x"], ["", ""], ["junk", "junk"]])
def test_junk_is_refused(answer: list[str]) -> None:
    with pytest.raises(IsthmusError):
        make_identity(make_request(IDENTITY), answer, roots=b"")


def test_keys_are_not_shown(authority: Authority) -> None:
    request = make_request(IDENTITY)
    identity = make_identity(request, sign(authority, request), roots=b"")
    assert "PRIVATE" not in repr(identity) + repr(request)


def test_secrets_change_version_with_their_content(authority: Authority) -> None:
    first, second = (
        build_secrets(make_identity(request, sign(authority, request), roots=b""))
        for request in (make_request(IDENTITY), make_request(IDENTITY))
    )
    assert first["default"].version != second["default"].version
    assert first["ROOTCA"].version == second["ROOTCA"].version
    certificate = secret_pb2.Secret.FromString(first["default"].body)
    assert certificate.name == "default"
    assert b"PRIVATE KEY" in certificate.tls_certificate.private_key.inline_bytes
    roots = secret_pb2.Secret.FromString(first["ROOTCA"].body)
    assert b"BEGIN CERTIFICATE" in roots.validation_context.trusted_ca.inline_bytes
