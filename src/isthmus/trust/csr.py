"""Checks of a signing request. Only its public key is used: who may have which name is decided elsewhere (TR10)."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from isthmus.trust.errors import CsrError

MAX_CSR_BYTES = 16_384
MIN_RSA_BITS = 2048
CURVES = ("secp256r1", "secp384r1", "secp521r1")


def public_key_of(pem: str) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """The public key of a PEM request whose signature proves possession of the private key. Raises CsrError."""
    if len(pem) > MAX_CSR_BYTES:
        raise CsrError(f"the request is {len(pem)} bytes long", f"At most {MAX_CSR_BYTES} bytes are read")
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        proven = request.is_signature_valid
        key = request.public_key()
    except Exception as error:  # a parser of untrusted input: whatever it raises means that it cannot be read
        raise CsrError(f"the request cannot be read ({error})", "Send one PEM certificate request") from error
    if not proven:
        raise CsrError("the request's signature is wrong", "Sign it with the key that it holds")
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in CURVES:
            raise CsrError(f"the curve {key.curve.name} is not accepted", "Use P-256")
        return key
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise CsrError(f"an RSA key of {key.key_size} bits is too short", f"Use P-256 or {MIN_RSA_BITS} bits")
        return key
    raise CsrError("the kind of key is not accepted", "Use ECDSA P-256")
