"""A claim against a verified identity (AU4 and AU5 done right)."""

import pytest

from isthmus.trust.caller import Caller, Claim, disagreement

CALLER = Caller("east", "sample", "sleep", pod="sleep-1")
OWNER = "the token belongs to sample/sleep of cluster east, but the proxy claims to be "


@pytest.mark.parametrize(
    "claim",
    [
        Claim("east", "sample", "sleep", "sleep-1"),
        Claim("", "sample", "sleep"),
        Claim("east", "sample", ""),
        Claim("east", "sample", "sleep", ""),
    ],
)
def test_what_agrees_or_claims_less_is_allowed(claim: Claim) -> None:
    assert disagreement(CALLER, claim) == ""


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        (
            Claim("west", "sample", "sleep"),
            OWNER + "sample/sleep of cluster west",
        ),
        (
            Claim("east", "other", "sleep"),
            OWNER + "other/sleep of cluster east",
        ),
        (
            Claim("east", "sample", "admin"),
            OWNER + "sample/admin of cluster east",
        ),
        (
            Claim("", "", ""),
            OWNER + "/*",
        ),
        (
            Claim("east", "sample", "sleep", "sleep-2"),
            "the token belongs to pod sample/sleep-1, but the proxy claims to be sleep-2",
        ),
    ],
)
def test_what_disagrees_is_named_on_both_sides(claim: Claim, text: str) -> None:
    assert disagreement(CALLER, claim) == text


def test_a_token_without_a_pod_speaks_for_its_account() -> None:
    assert disagreement(Caller("east", "sample", "sleep"), Claim("east", "sample", "sleep", "any")) == ""


def test_the_identity_is_in_the_meshs_trust_domain() -> None:
    assert CALLER.identity("cluster.local") == "spiffe://cluster.local/ns/sample/sa/sleep"


def test_a_pod_has_one_voice_whatever_it_calls_itself() -> None:
    assert CALLER.voter == "east/sample/sleep/sleep-1"
    assert Caller("east", "sample", "sleep").voter != CALLER.voter
