"""What peers tell: what is told comes back the same, and what is claimed of others does not count."""

import os
import time

import pytest

from isthmus.ingest.peer_wire import (
    Claim,
    Hello,
    entered_at,
    read_bundle,
    read_hello,
    read_service,
    write_bundle,
    write_hello,
    write_service,
)
from isthmus.model.peering import PeerEndpoints, PeerService, ServiceScope
from isthmus.model.rows import Locality, Protocol, ServicePort
from isthmus.proto import peering_pb2
from isthmus.trust.authority import Authority, from_pem, self_signed_authority
from isthmus.trust.issue import make_intermediate, make_root, serial_from
from isthmus.trust.pem import certificate_to_pem, key_to_pem, new_key

WEST = Claim("west", "west-net", "west.test")
PLACE = PeerEndpoints("west-net", Locality("eu", "eu-1"), 2, 3)
ALICE = "spiffe://west.test/ns/app/sa/alice"


def row(**changes: object) -> PeerService:
    fields: dict[str, object] = {
        "cluster": "west",
        "namespace": "app",
        "name": "hello",
        "scope": ServiceScope.GLOBAL,
        "ports": (ServicePort("http", 80, Protocol.HTTP),),
        "identities": (ALICE,),
        "endpoints": (PLACE,),
        "traffic_distribution": "PreferNetwork",
    }
    return PeerService(**(fields | changes))  # type: ignore[arg-type]


def service(**changes: object) -> tuple[PeerService | None, list[str]]:
    """What is read of what a peer writes, and what is told about it."""
    found, problems = read_service(WEST, "app/hello", write_service(row(**changes)))
    return found, [problem.message for problem in problems]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scope": ServiceScope.GLOBAL_ONLY},
        {"identities": (), "endpoints": ()},
        {"ports": (ServicePort("a", 1), ServicePort("b", 65535, Protocol.GRPC))},
        {"traffic_distribution": ""},
    ],
)
def test_what_is_told_comes_back_the_same(changes: dict[str, object]) -> None:
    assert service(**changes) == (row(**changes), [])


def test_equal_rows_make_equal_bytes_whatever_their_order() -> None:
    other = PeerEndpoints("west-net", Locality("eu", "eu-0"), 1, 1)
    one = row(identities=(ALICE, "spiffe://west.test/ns/app/sa/bob"), endpoints=(PLACE, other))
    two = row(identities=("spiffe://west.test/ns/app/sa/bob", ALICE), endpoints=(other, PLACE))
    assert write_service(one) == write_service(two)


def test_identities_of_another_trust_domain_are_refused_and_the_rest_counts() -> None:
    found, told = service(identities=(ALICE, "spiffe://east.test/ns/app/sa/admin", "admin"))
    assert found is not None
    assert found.identities == (ALICE,)
    assert [
        "spiffe://east.test/ns/app/sa/admin is not of the trust domain west.test" in text or "'admin'" in text
        for text in told
    ] == [True, True]


def test_a_service_of_foreign_identities_alone_does_not_count_at_all() -> None:
    """With no identity left to compare with, whoever answers would be believed."""
    found, told = service(identities=("spiffe://east.test/ns/app/sa/admin",))
    assert found is None
    assert len(told) == 1


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (PeerEndpoints("east-net", Locality(), 1, 1), "west speaks for network west-net alone"),
        (PeerEndpoints("west-net", Locality(), 2, 1), "2 of 1 endpoints healthy cannot be"),
        (PeerEndpoints("west-net", Locality(), 0, 4_000_000_000), "cannot be"),
    ],
)
def test_places_that_are_not_the_peers_are_left_out(place: PeerEndpoints, said: str) -> None:
    found, told = service(endpoints=(place, PLACE))
    assert found is not None
    assert found.endpoints == (PLACE,)
    assert said in told[0]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("app/other", write_service(row())),
        ("app/hello", b"\xff\xff"),
        ("a b/hello", write_service(row(namespace="a b"))),
        ("app/hello", peering_pb2.Service(namespace="app", name="hello", scope="galaxy").SerializeToString()),
    ],
)
def test_what_is_misnamed_or_unreadable_does_not_count(name: str, body: bytes) -> None:
    found, problems = read_service(WEST, name, body)
    assert found is None
    assert len(problems) == 1


def authority() -> Authority:
    return self_signed_authority(new_key(), now=time.time(), serial=serial_from(os.urandom(19)))[0]


def test_roots_count_for_the_peers_own_trust_domain_only() -> None:
    pem = authority().root_bundle.decode()
    assert read_bundle(WEST, "west.test", write_bundle("west.test", pem)) == (pem, [])
    found, problems = read_bundle(WEST, "east.test", write_bundle("east.test", pem))
    assert (found, len(problems)) == ("", 1)


def test_an_intermediate_is_no_root() -> None:
    now, key = time.time(), new_key()
    root = make_root(new_key(), now=now, serial=1)
    signer = make_intermediate(root, key, now=now, serial=2, cluster="west")
    chain = from_pem(key_to_pem(key), signer.certificate, root.certificate, now=now)
    middle = certificate_to_pem(chain.certificate).decode()
    pem = chain.root_bundle.decode()
    found, problems = read_bundle(WEST, "west.test", write_bundle("west.test", middle + pem))
    assert (found, len(problems)) == (pem, 1)
    assert read_bundle(WEST, "west.test", write_bundle("west.test", middle))[0] == ""


@pytest.mark.parametrize("body", [b"\xff", write_bundle("west.test", ""), write_bundle("west.test", "junk")])
def test_no_roots_are_told(body: bytes) -> None:
    found, problems = read_bundle(WEST, "west.test", body)
    assert found == ""
    assert problems


def test_who_answers_must_be_whom_the_link_declares() -> None:
    good = Hello("west", "west-net", "west.test", "mesh1", "1")
    assert read_hello(WEST, write_hello(good)) == (good, [])
    found, problems = read_hello(WEST, write_hello(Hello("north", "west-net", "east.test")))
    assert found is None
    assert [problem.field for problem in problems] == ["cluster", "trust domain"]
    assert read_hello(WEST, b"\xff")[0] is None


@pytest.mark.parametrize(
    ("linked", "before", "told", "found"),
    [
        (["a"], [], [], []),
        (["a"], [], ["a"], ["a"]),
        (["a"], [], ["a", "b"], ["a", "b"]),
        (["a"], ["a", "b"], ["b"], ["b"]),
        (["a"], ["b"], ["c"], ["c"]),
        (["a"], ["b"], [], ["b"]),
        (["lb.example.com"], [], ["a"], []),
        (["a"], [], ["b"], []),
    ],
)
def test_where_a_peer_is_entered(linked: list[str], before: list[str], told: list[str], found: list[str]) -> None:
    assert entered_at(linked, before, told) == tuple(found)


def test_entrances_are_addresses_each_once() -> None:
    told = Hello("west", "west-net", "west.test", entrances=("198.18.0.1", "x.example", "198.18.0.1", "fd00::1"))
    hello, problems = read_hello(WEST, write_hello(told))
    assert hello is not None
    assert hello.entrances == ("198.18.0.1", "fd00::1")
    assert not problems
