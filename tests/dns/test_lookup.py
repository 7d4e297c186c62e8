"""What answers say of a name, and when it is asked for again: SH26."""

import pytest
from dnslib import AAAA, CNAME, QTYPE, RCODE, RR, A, DNSRecord

from isthmus.dns.lookup import Lookup, combined, parse, pause


def reply(*records: RR, code: int = RCODE.NOERROR) -> bytes:
    answer = DNSRecord.question("gw.example").reply()
    answer.header.rcode = code
    for record in records:
        answer.add_answer(record)
    return bytes(answer.pack())


def a(address: str, ttl: int = 60) -> RR:
    return RR("gw.example", QTYPE.A, rdata=A(address), ttl=ttl)


ALIAS = RR("gw.example", QTYPE.CNAME, rdata=CNAME("lb.example"), ttl=5)


@pytest.mark.parametrize(
    ("response", "found"),
    [
        (reply(a("2.2.2.2"), a("1.1.1.1", 45)), Lookup(("1.1.1.1", "2.2.2.2"), 45)),
        (reply(ALIAS, a("1.1.1.1")), Lookup(("1.1.1.1",), 60)),
        (reply(RR("gw.example", QTYPE.AAAA, rdata=AAAA("fd00::1"), ttl=7)), Lookup(("fd00::1",), 7)),
        (reply(), Lookup()),
        (reply(code=RCODE.NXDOMAIN), Lookup()),
        (reply(code=RCODE.SERVFAIL), None),
        (reply(code=RCODE.REFUSED), None),
        (b"nonsense", None),
        (None, None),
    ],
)
def test_one_response(response: bytes | None, found: Lookup | None) -> None:
    assert parse(response) == found


V4, V6, NONE = Lookup(("1.1.1.1",), 45), Lookup(("fd00::1",), 7200), Lookup()


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ((V4, NONE), Lookup(("1.1.1.1",), 45)),
        ((V4, V6), Lookup(("1.1.1.1", "fd00::1"), 45)),
        ((NONE, V6), Lookup(("fd00::1",), 3600)),
        ((Lookup(("1.1.1.1",), 1), NONE), Lookup(("1.1.1.1",), 30)),
        ((V4, None), Lookup(("1.1.1.1",), 45)),
        ((NONE, NONE), Lookup()),
        ((NONE, None), None),
        ((None, None), None),
    ],
)
def test_both_families_together(answers: tuple[Lookup | None, ...], found: Lookup | None) -> None:
    assert combined(answers) == found


@pytest.mark.parametrize(
    ("answer", "known", "seconds"), [(V4, True, 45), (None, True, 30), (None, False, 5), (NONE, False, 30)]
)
def test_when_it_is_asked_for_again(answer: Lookup | None, known: bool, seconds: float) -> None:
    assert pause(answer, known=known) == seconds
