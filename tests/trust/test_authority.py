"""Authorities from secrets: both layouts, every way to get them wrong, and what they sign."""

import pytest
from cryptography import x509

from isthmus.trust.authority import (
    DEFAULT_LIFETIME,
    MAX_LIFETIME,
    MIN_LIFETIME,
    Authority,
    bounded_lifetime,
    from_secret,
    root_needs_renewal,
    secret_data,
    self_signed_authority,
    server_names,
    workload_names,
)
from isthmus.trust.errors import TrustError
from isthmus.trust.issue import DAY, PemPair, Validity, make_intermediate, make_root
from isthmus.trust.pem import certificate_to_pem, key_to_pem, load_certificates, load_key, new_key

NOW = 1_800_000_000.0
ROOT = make_root(new_key(), now=NOW, serial=1)
EAST = make_intermediate(ROOT, new_key(), now=NOW, serial=2, cluster="east")


def loaded(**changes: bytes) -> Authority:
    data = secret_data(EAST, EAST.certificate + ROOT.certificate, ROOT.certificate)
    return from_secret(data | {name.replace("_", "-") + ".pem": value for name, value in changes.items()}, now=NOW)


def issue(authority: Authority, lifetime: float = DAY, now: float = NOW) -> list[str]:
    names = workload_names("spiffe://cluster.local/ns/a/sa/b")
    key = new_key().public_key()
    return authority.issue(key, names, validity=Validity(now, lifetime), serial=7).response_chain


def subjects(chain: list[str]) -> list[list[str]]:
    return [[cert.subject.rfc4514_string() for cert in load_certificates(pem.encode())] for pem in chain]


def test_the_chain_is_leaf_intermediates_root() -> None:
    """TR10"""
    assert subjects(issue(loaded())) == [
        [""],
        ["CN=Intermediate CA east,O=Isthmus"],
        ["CN=Root CA,O=Isthmus"],
    ]


@pytest.mark.parametrize("chain", [b"", EAST.certificate, ROOT.certificate, EAST.certificate + ROOT.certificate])
def test_the_chain_file_may_hold_more_or_less(chain: bytes) -> None:
    authority = loaded(cert_chain=chain)
    assert [cert.subject.rfc4514_string() for cert in authority.chain] == ["CN=Intermediate CA east,O=Isthmus"]


def test_cert_manager_names_work_too() -> None:
    data = {"tls.crt": EAST.certificate, "tls.key": EAST.key, "ca.crt": ROOT.certificate}
    assert from_secret(data, now=NOW).root_bundle == ROOT.certificate


def test_several_roots_are_all_trusted() -> None:
    other = make_root(new_key(), now=NOW, serial=3, organization="Other")
    bundle = ROOT.certificate + other.certificate + ROOT.certificate
    authority = loaded(root_cert=bundle)
    assert authority.root_bundle == ROOT.certificate + other.certificate
    assert subjects(issue(authority))[-1] == ["CN=Root CA,O=Isthmus", "CN=Root CA,O=Other"]


def test_a_self_signed_authority_keeps_itself_in_a_secret() -> None:
    authority, data = self_signed_authority(new_key(), now=NOW, serial=5)
    again = from_secret(data, now=NOW)
    assert again.root_bundle == authority.root_bundle
    assert subjects(issue(again)) == [[""], ["CN=Root CA,O=Isthmus"]]


STRANGER = make_root(new_key(), now=NOW, serial=4, organization="Stranger")
LEAF = loaded().issue(load_key(EAST.key).public_key(), server_names(["x"]), validity=Validity(NOW, DAY), serial=1).leaf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ca_cert": b""}, "lacks ca-cert.pem"),
        ({"ca_key": b"", "ca_cert": b""}, "lacks ca-cert.pem and ca-key.pem"),
        ({"ca_key": b"nonsense"}, "the private key cannot be read"),
        ({"ca_key": key_to_pem(new_key())}, "does not belong to the CA key"),
        ({"ca_cert": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "cannot be read"),
        ({"ca_cert": LEAF}, "may not sign others"),
        ({"root_cert": STRANGER.certificate, "cert_chain": b""}, "no chain leads"),
        ({"root_cert": b"", "cert_chain": b""}, "no chain leads"),
    ],
)
def test_an_unusable_secret_says_why(changes: dict[str, bytes], message: str) -> None:
    with pytest.raises(TrustError, match=message) as raised:
        loaded(**changes)
    assert raised.value.remedy


def test_an_expired_authority_is_refused_and_signs_nothing() -> None:
    late = NOW + 3 * 365 * DAY
    with pytest.raises(TrustError, match="expired at"):
        from_secret(secret_data(EAST, b"", ROOT.certificate), now=late)
    with pytest.raises(TrustError, match="expired at"):
        issue(loaded(), now=late)


def test_a_leaf_does_not_outlive_the_authority() -> None:
    short = make_intermediate(ROOT, new_key(), now=NOW, serial=2, cluster="east", lifetime=3600)
    authority = from_secret(secret_data(short, b"", ROOT.certificate), now=NOW)
    issued = authority.issue(new_key().public_key(), server_names(["x"]), validity=Validity(NOW, DAY), serial=7)
    assert issued.not_after == NOW + 3600 == authority.not_after


@pytest.mark.parametrize(
    ("requested", "lifetime"),
    [(0, DEFAULT_LIFETIME), (-5, DEFAULT_LIFETIME), (20, 20), (1, MIN_LIFETIME), (10**9, MAX_LIFETIME)],
)
def test_the_lifetime_is_what_was_asked_within_bounds(requested: float, lifetime: float) -> None:
    assert bounded_lifetime(requested) == lifetime


def test_a_shorter_limit_bounds_the_default_too() -> None:
    assert (bounded_lifetime(0, longest=60), bounded_lifetime(90, longest=60)) == (60, 60)


@pytest.mark.parametrize(("years", "due"), [(0, False), (7.9, False), (8.1, True)])
def test_a_self_signed_root_is_due_in_its_last_fifth(years: float, due: bool) -> None:
    """TR1"""
    authority, _ = self_signed_authority(new_key(), now=NOW, serial=5)
    assert root_needs_renewal(authority, NOW + years * 365 * DAY) is due


def test_an_operators_intermediate_is_not_ours_to_renew() -> None:
    assert not root_needs_renewal(loaded(), NOW + 700 * DAY)


def test_names_of_workloads_and_servers() -> None:
    assert workload_names("spiffe://t/ns/a/sa/b") == [x509.UniformResourceIdentifier("spiffe://t/ns/a/sa/b")]
    assert server_names(["istiod.istio-system.svc"]) == [x509.DNSName("istiod.istio-system.svc")]


def test_pem_of_the_presented_chain_has_no_root() -> None:
    issued = loaded().issue(new_key().public_key(), server_names(["x"]), validity=Validity(NOW, DAY), serial=7)
    assert len(load_certificates(issued.presented)) == 2
    assert certificate_to_pem(load_certificates(issued.presented)[0]) == issued.leaf
    assert isinstance(EAST, PemPair)
