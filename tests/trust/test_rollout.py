"""How one authority takes the place of another: what is told when, what signs, and which old roots stay."""

import pytest

from isthmus.trust.authority import Authority, from_pem
from isthmus.trust.errors import TrustError
from isthmus.trust.issue import PemPair, make_intermediate, make_root
from isthmus.trust.pem import fingerprint, load_certificates, new_key
from isthmus.trust.rollout import (
    Signed,
    anchors,
    check_succession,
    needed_roots,
    successor,
    to_be_believed,
    with_roots_of,
)

NOW = 1_800_000_000.0
OLD, NEW = (make_root(new_key(), now=NOW, serial=serial, organization=str(serial)) for serial in (1, 2))
RENEWED = make_root(new_key(), now=NOW, serial=3, organization="3")


def under(root: PemPair, *others: PemPair, serial: int = 9) -> Authority:
    """An intermediate of a root, with the roots of others beside it."""
    pair = make_intermediate(root, new_key(), now=NOW, serial=serial, cluster="east")
    return from_pem(pair.key, pair.certificate, b"".join(one.certificate for one in (root, *others)), now=NOW)


def mark(root: PemPair) -> str:
    return fingerprint(load_certificates(root.certificate)[0])


def marks(authority: Authority) -> list[str]:
    return [fingerprint(root) for root in authority.roots]


def test_a_root_that_signs_itself_is_its_own_anchor() -> None:
    authority = from_pem(OLD.key, OLD.certificate, OLD.certificate + NEW.certificate, now=NOW)
    assert anchors(authority) == {mark(OLD)}


def test_an_intermediate_is_believed_by_the_root_that_signed_it_alone() -> None:
    assert anchors(under(OLD, NEW)) == {mark(OLD)}


@pytest.mark.parametrize(
    ("current", "found", "wanted"),
    [
        (under(OLD), under(OLD, serial=10), set()),  # another intermediate of the same root
        (under(OLD), under(OLD, NEW), set()),  # a root more, the same signer's root
        (under(OLD), under(NEW, OLD), {mark(NEW)}),
        (under(OLD, NEW), under(NEW), {mark(NEW)}),  # told of before, and still to be confirmed
    ],
)
def test_who_is_under_another_root_must_be_believed_first(
    current: Authority, found: Authority, wanted: set[str]
) -> None:
    assert to_be_believed(current, found) == wanted


def test_a_new_root_is_told_before_anything_is_signed_under_it() -> None:
    current, found = under(OLD), under(NEW, OLD)
    told = with_roots_of(current, found)
    assert told.certificate == current.certificate
    assert marks(told) == [mark(OLD), mark(NEW)]


def test_replicas_tell_the_same_roots_in_the_same_order_in_the_end() -> None:
    found = under(NEW, OLD)
    assert successor(with_roots_of(under(OLD), found), found, ()).root_bundle == found.root_bundle


def test_an_old_root_stays_while_it_is_needed_and_then_goes() -> None:
    current, found = under(OLD, NEW), under(NEW)
    assert marks(successor(current, found, {mark(OLD)})) == [mark(NEW), mark(OLD)]
    assert marks(successor(current, found, ())) == [mark(NEW)]


@pytest.mark.parametrize(
    ("signed", "needed"),
    [
        ({}, set()),
        ({"a": Signed(frozenset({"old"}), NOW + 1)}, {"old"}),
        ({"a": Signed(frozenset({"old"}), NOW)}, set()),  # it has ended
        ({"a": Signed(frozenset({"old", "new"}), NOW + 1)}, set()),  # by either of them
        ({"a": Signed(frozenset({"new"}), NOW + 1), "b": Signed(frozenset({"old"}), NOW + 1)}, {"old"}),
    ],
)
def test_what_is_needed_is_what_somebody_has_a_living_certificate_under(
    signed: dict[str, Signed], needed: set[str]
) -> None:
    assert needed_roots(signed, frozenset({"new"}), NOW) == needed


def test_an_authority_that_nobody_could_learn_of_is_ignored() -> None:
    """TR2"""
    with pytest.raises(TrustError, match="shares no root"):
        check_succession(under(OLD), under(RENEWED))
    check_succession(under(OLD), under(NEW, OLD))
    check_succession(under(OLD, NEW), under(NEW))
