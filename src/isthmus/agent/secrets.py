"""A proxy's key and certificates: made here, and shaped as the secrets that Envoy asks its agent for (TR9)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.config.core.v3 import extension_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_spiffe_validator_config_pb2

from isthmus.agent.trust_stream import Bundles
from isthmus.base.errors import IsthmusError
from isthmus.trust.constraints import bounded
from isthmus.trust.pem import (
    certificate_to_pem,
    certificates_to_pem,
    key_to_pem,
    load_certificates,
    new_key,
    public_bytes,
)
from isthmus.xds.resource import SDS, XdsResource

CERTIFICATE = "default"
ROOTS = "ROOTCA"

NO_BUNDLES: Bundles = {}


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A new private key and the PEM request that proves it. The key stays in this process."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    csr: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What a proxy presents and whom it trusts, all PEM. `end` in seconds since the epoch."""

    key: bytes = field(repr=False)
    chain: bytes = field(repr=False)
    roots: bytes = field(repr=False)
    serial: str
    end: float


def make_request(spiffe: str) -> SigningRequest:
    """A fresh ECDSA P-256 key and its request; the identity is in it for people, authorities take it from the token."""
    key = new_key()
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=True)
    request = builder.sign(key, hashes.SHA256())
    return SigningRequest(key, request.public_bytes(serialization.Encoding.PEM).decode())


def make_identity(request: SigningRequest, answer: Sequence[str], *, roots: bytes) -> Identity:
    """An identity from an authority's answer: leaf, intermediates, root(s) last (TR10).

    `roots` is the mesh's bundle as mounted; it is trusted besides the answer's roots, so that a new root is known
    before the first certificate under it arrives. Raises IsthmusError if the certificate is for another key.
    """
    parts = [load_certificates(part.encode()) for part in answer]
    if len(parts) < 2 or not all(parts):
        raise IsthmusError("the authority answered no chain of certificates", "See the control plane's log")
    leaf = parts[0][0]
    if public_bytes(leaf.public_key()) != public_bytes(request.key.public_key()):
        raise IsthmusError("the authority answered a certificate for another key", "Check who answers at CA_ADDR")
    presented = [certificate for part in parts[:-1] for certificate in part]
    trusted = dict.fromkeys((*parts[-1], *load_certificates(roots)))
    return Identity(
        key=key_to_pem(request.key),
        chain=certificates_to_pem(presented),
        roots=certificates_to_pem(trusted),
        serial=f"{leaf.serial_number:x}",
        end=leaf.not_valid_after_utc.timestamp(),
    )


def build_secrets(identity: Identity, bundles: Bundles = NO_BUNDLES) -> dict[str, XdsResource]:
    """The secrets `default` and `ROOTCA` of Envoy, by name.

    With bundles each trust domain is believed by its own roots alone, so that nobody can make identities of another;
    one that is not named is not believed. The roots are bound to their trust domain: Envoy chooses them by the first
    name of a certificate, which may have more. Envoy compares identities with what listeners and clusters demand all
    the same, and with names that come with a connection (see `agent.bootstrap`).
    """
    roots = secret_pb2.Secret(name=ROOTS)
    if bundles:
        roots.validation_context.custom_validator_config.CopyFrom(_validator(identity, bundles))
    else:
        roots.validation_context.trusted_ca.inline_bytes = identity.roots
    return {CERTIFICATE: build_certificate(identity, CERTIFICATE), ROOTS: _resource(roots)}


def build_certificate(identity: Identity, name: str) -> XdsResource:
    """Key and certificate as one secret; that of another workload has its SPIFFE ID as name."""
    certificate = secret_pb2.Secret(name=name)
    certificate.tls_certificate.certificate_chain.inline_bytes = identity.chain
    certificate.tls_certificate.private_key.inline_bytes = identity.key
    return _resource(certificate)


def _validator(identity: Identity, bundles: Bundles) -> extension_pb2.TypedExtensionConfig:
    config = tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig()
    for domain, bundle in sorted(bundles.items()):
        roots = load_certificates(bundle.roots + (identity.roots if bundle.own else b""))
        anchors = b"".join(_anchor(one, domain) for one in dict.fromkeys(roots))
        if anchors:  # without any Envoy would refuse the whole secret
            config.trust_domains.add(name=domain).trust_bundle.inline_bytes = anchors
    made = extension_pb2.TypedExtensionConfig(name="envoy.tls.cert_validator.spiffe")
    made.typed_config.Pack(config, deterministic=True)
    return made


def _anchor(root: x509.Certificate, domain: str) -> bytes:
    """The root, bound to the trust domain; nothing if that cannot be: then it is not believed."""
    try:
        return certificate_to_pem(bounded(root, domain))
    except (TypeError, ValueError):
        return b""


def _resource(secret: secret_pb2.Secret) -> XdsResource:
    return XdsResource(SDS, secret.name, secret.SerializeToString(deterministic=True))
