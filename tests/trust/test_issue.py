"""Certificate templates, read back and judged by the library's path validation."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from isthmus.trust.issue import BACKDATE, DAY, PemPair, Validity, make_intermediate, make_root, serial_from, sign_leaf
from isthmus.trust.pem import issued_by, load_certificates, load_key, new_key, self_signed

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def root() -> PemPair:
    return make_root(new_key(), now=NOW, serial=1, organization="Example")


def parsed(pair: PemPair) -> x509.Certificate:
    return load_certificates(pair.certificate)[0]


def leaf(signer: PemPair, name: x509.GeneralName, *, lifetime: float = DAY) -> x509.Certificate:
    return sign_leaf(
        parsed(signer), load_key(signer.key), new_key().public_key(), [name], validity=Validity(NOW, lifetime), serial=9
    )


def verify(root: PemPair, intermediate: PemPair, certificate: x509.Certificate) -> list[x509.Certificate]:
    builder = PolicyBuilder().store(Store([parsed(root)])).time(datetime.fromtimestamp(NOW + 1, UTC))
    verified = builder.build_client_verifier().verify(certificate, [parsed(intermediate)])
    return verified.chain


def test_a_root_signs_itself_for_ten_years(root: PemPair) -> None:
    certificate = parsed(root)
    assert self_signed(certificate)
    assert certificate.not_valid_after_utc.timestamp() == NOW + 3650 * DAY
    assert certificate.subject.rfc4514_string() == "CN=Root CA,O=Example"
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_an_intermediate_is_named_after_its_cluster_and_may_sign_no_other_authority(root: PemPair) -> None:
    made = parsed(make_intermediate(root, new_key(), now=NOW, serial=2, cluster="east"))
    constraints = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.value.path_length, constraints.critical) == (True, 0, True)
    assert made.subject.rfc4514_string() == "CN=Intermediate CA east,O=Example"
    assert issued_by(made, parsed(root))
    assert not self_signed(made)
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.NameConstraints)


def test_an_intermediate_does_not_outlive_its_root() -> None:
    short = make_root(new_key(), now=NOW, serial=1, lifetime=DAY)
    made = parsed(make_intermediate(short, new_key(), now=NOW, serial=2, cluster="east"))
    assert made.not_valid_after_utc == parsed(short).not_valid_after_utc


def test_a_workload_chain_verifies(root: PemPair) -> None:
    intermediate = make_intermediate(root, new_key(), now=NOW, serial=2, cluster="east")
    certificate = leaf(intermediate, x509.UniformResourceIdentifier("spiffe://cluster.local/ns/a/sa/b"))
    assert verify(root, intermediate, certificate) == [certificate, parsed(intermediate), parsed(root)]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical, "the subject is empty (RFC 5280, 4.2.1.6)"
    assert certificate.subject == x509.Name([])


@pytest.mark.parametrize(("domain", "accepted"), [("cluster.local", True), ("other.example", False)])
def test_a_constrained_intermediate_signs_only_for_its_trust_domain(root: PemPair, domain: str, accepted: bool) -> None:
    intermediate = make_intermediate(
        root, new_key(), now=NOW, serial=2, cluster="east", trust_domains=("cluster.local",)
    )
    constraint = parsed(intermediate).extensions.get_extension_for_class(x509.NameConstraints)
    assert constraint.critical
    assert constraint.value.permitted_subtrees == [x509.UniformResourceIdentifier("cluster.local")]
    # The library refuses every chain with a URI constraint, for it does not judge URIs; what it may accept is
    # compared by hand, as Envoy does (RFC 5280, 4.2.1.10: the host part of the URI).
    certificate = leaf(intermediate, x509.UniformResourceIdentifier(f"spiffe://{domain}/ns/a/sa/b"))
    with pytest.raises(VerificationError):
        verify(root, intermediate, certificate)
    [name] = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    permitted = [subtree.value for subtree in constraint.value.permitted_subtrees or ()]
    assert (str(name.value).split("/")[2] in permitted) is accepted


@pytest.mark.parametrize(("lifetime", "early"), [(DAY, BACKDATE), (20, 2), (60, 6)])
def test_a_certificate_starts_early_but_not_by_more_than_a_tenth_of_its_life(lifetime: float, early: float) -> None:
    validity = Validity(NOW, lifetime)
    assert (validity.start.timestamp(), validity.end.timestamp()) == (NOW - early, NOW + lifetime)


@pytest.mark.parametrize("data", [b"\xff" * 19, b"\0" * 19, bytes(range(1, 20)), b"\xff" * 40])
def test_serials_are_positive_and_fit(data: bytes) -> None:
    serial = serial_from(data)
    assert 0 < serial < 2**159
