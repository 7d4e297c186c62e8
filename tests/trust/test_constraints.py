"""For which trust domains an authority may sign, and what is told of it."""

import pytest
from cryptography import x509

from isthmus.trust.authority import Authority, from_secret, secret_data
from isthmus.trust.constraints import bound, bounded, described, permits, permitted_domains, problems, signers
from isthmus.trust.issue import PemPair, make_intermediate, make_root
from isthmus.trust.pem import load_certificates, new_key, public_bytes

NOW = 1_800_000_000.0
ROOT = make_root(new_key(), now=NOW, serial=1)


def authority(*domains: str) -> Authority:
    """An intermediate for these trust domains; without any it is unconstrained."""
    pair = make_intermediate(ROOT, new_key(), now=NOW, serial=2, cluster="west", trust_domains=domains)
    return from_secret(secret_data(pair, b"", ROOT.certificate), now=NOW)


@pytest.mark.parametrize(
    ("domains", "asked", "yes"),
    [
        ((), "west.example", True),
        (("west.example",), "west.example", True),
        (("west.example",), "West.Example", True),
        (("west.example",), "east.example", False),
        (("west.example",), "sub.west.example", False),
        ((".west.example",), "sub.west.example", True),
        ((".west.example",), "west.example", False),
        (("east.example", "west.example"), "west.example", True),
    ],
)
def test_permitted(domains: tuple[str, ...], asked: str, yes: bool) -> None:
    """RFC 5280, 4.2.1.10."""
    assert permits(signers(authority(*domains)), asked) is yes


def test_every_certificate_of_the_chain_must_permit() -> None:
    one, other = authority("west.example"), authority("east.example")
    assert not permits((*signers(one), *signers(other)), "west.example")


def test_a_root_that_signs_itself_is_unbound() -> None:
    alone = from_secret(secret_data(PemPair(ROOT.certificate, ROOT.key), b"", ROOT.certificate), now=NOW)
    assert (bound(alone), bound(authority("west.example"))) == (False, True)


def test_what_is_told() -> None:
    told = described(authority("west.example"), {"west": "west.example", "east": "east.example"}, own="west")
    assert (told["cluster"], told["trustDomain"]) == ("west", "west.example")
    assert told["constrained"]
    assert [one["trustDomains"] for one in told["chain"]] == [("west.example",)]
    assert told["clusters"] == [
        {"cluster": "east", "trustDomain": "east.example", "signs": False},
        {"cluster": "west", "trustDomain": "west.example", "signs": True},
    ]
    (root,) = told["roots"]
    assert (root["selfSigned"], root["trustDomains"], len(root["fingerprint"])) == (True, None, 64)


@pytest.mark.parametrize(
    ("domains", "clusters", "found"),
    [
        ((), {"west": "cluster.local", "east": "cluster.local"}, 0),
        ((), {"west": "west.example", "east": "east.example"}, 1),
        (("west.example",), {"west": "west.example", "east": "east.example"}, 0),
    ],
)
def test_an_unbound_authority_among_several_trust_domains_is_a_problem(
    domains: tuple[str, ...], clusters: dict[str, str], found: int
) -> None:
    told = problems(authority(*domains), clusters, own="west", namespace="istio-system")
    assert [problem.remedy.endswith("--trust-domain west.example") for problem in told] == [True] * found


def certificate(*domains: str) -> x509.Certificate:
    """A root without constraints, or an authority for these trust domains."""
    pair = make_intermediate(ROOT, new_key(), now=NOW, serial=2, cluster="west", trust_domains=domains)
    return load_certificates(pair.certificate if domains else ROOT.certificate)[0]


@pytest.mark.parametrize("domains", [(), ("west.example",), ("east.example", "west.example")])
def test_an_anchor_speaks_for_one_trust_domain(domains: tuple[str, ...]) -> None:
    before = certificate(*domains)
    after = bounded(before, "west.example")
    assert permitted_domains(after) == ("west.example",)
    assert (after.subject, after.issuer, after.serial_number) == (before.subject, before.issuer, before.serial_number)
    assert public_bytes(after.public_key()) == public_bytes(before.public_key())
    kept = {one.oid: one for one in before.extensions}
    constraints = after.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert {one.oid: one for one in after.extensions} == {**kept, constraints.oid: constraints}
    assert bounded(before, "west.example") == after


def test_an_anchor_is_never_widened() -> None:
    east = certificate("east.example")
    assert bounded(east, "west.example") == east


def test_other_constraints_of_an_anchor_stay() -> None:
    root = make_root(new_key(), now=NOW, serial=1)
    first = bounded(load_certificates(root.certificate)[0], "west.example")
    names = first.extensions.get_extension_for_class(x509.NameConstraints).value
    assert names.excluded_subtrees is None
    assert bounded(first, "west.example") == first


@pytest.mark.parametrize(("domains", "found"), [((), 0), (("west.example",), 1)])
def test_ztunnels_under_a_bound_authority_are_a_problem(domains: tuple[str, ...], found: int) -> None:
    """Their TLS refuses every URI below a constraint of URIs, even one that permits it."""
    clusters = {"west": "west.example"}
    told = problems(
        authority(*domains), clusters, own="west", namespace="istio-system", ztunnels=["ztunnel-b", "ztunnel-a"]
    )
    assert [("2 ztunnels" in problem.message, "ztunnel-a" in problem.message) for problem in told] == [
        (True, True)
    ] * found
