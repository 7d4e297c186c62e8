"""Answers as bytes: what a resolver gets for each kind of query (DN7, DN8)."""

import pytest
from dnslib import AAAA, CNAME, EDNS0, OPCODE, QTYPE, RCODE, RR, A, DNSQuestion, DNSRecord

from isthmus.dns.answer import EDNS_LIMIT, TTL, Forward, QueryError, Reply, answer, failure, same_question
from isthmus.dns.names import NameTable, View, make_host

VIEW = View("sample", "svc.cluster.local")
TABLE = NameTable(
    [
        make_host(
            "hello.sample.svc.cluster.local",
            ["10.1.0.1", "10.1.0.2", "10.1.0.3"],
            registry="Kubernetes",
            shortname="hello",
            namespace="sample",
        ),
        make_host("six.example.com", ["2001:db8::1"]),
        make_host("many.example.com", [f"10.9.{number // 250}.{number % 250}" for number in range(300)]),
    ]
)


def ask(name: str, kind: str = "A", *, turn: int = 0, udp: bool = True, edns: int = 0) -> DNSRecord:
    """The parsed reply of the mesh's own."""
    query = DNSRecord.question(name, kind)
    if edns:
        query.add_ar(EDNS0(udp_len=edns))
    made = answer(bytes(query.pack()), TABLE, VIEW, turn=turn, udp=udp)
    assert isinstance(made, Reply), name
    reply = DNSRecord.parse(made.data)
    assert reply.header.id == query.header.id
    assert str(reply.q.qname) == f"{name}."
    return reply


def records(reply: DNSRecord) -> list[tuple[str, str, str, int]]:
    """(owner, type, data, ttl) of the answer section."""
    return [(str(rr.rname), QTYPE[rr.rtype], str(rr.rdata), rr.ttl) for rr in reply.rr]


def test_addresses_are_authoritative_and_short_lived() -> None:
    reply = ask("hello.sample.svc.cluster.local")
    assert records(reply)[0] == ("hello.sample.svc.cluster.local.", "A", "10.1.0.1", TTL)
    assert (reply.header.rcode, reply.header.aa, reply.header.ra) == (RCODE.NOERROR, 1, 1)


@pytest.mark.parametrize(("turn", "first"), [(0, "10.1.0.1"), (1, "10.1.0.2"), (2, "10.1.0.3"), (3, "10.1.0.1")])
def test_addresses_rotate(turn: int, first: str) -> None:
    found = [data for _, _, data, _ in records(ask("hello", turn=turn))]
    assert found[0] == first
    assert sorted(found) == ["10.1.0.1", "10.1.0.2", "10.1.0.3"]


def test_search_domain_gets_cname_and_address_in_one_answer() -> None:
    found = records(ask("hello.sample.sample.svc.cluster.local"))
    assert found[0] == ("hello.sample.sample.svc.cluster.local.", "CNAME", "hello.sample.", TTL)
    assert found[1][:2] == ("hello.sample.", "A")
    assert len(found) == 4


def test_case_of_the_question_is_kept() -> None:
    """Resolvers that mix cases compare (draft-vixie-dnsext-dns0x20)."""
    assert records(ask("HELLO.sample"))[0][0] == "HELLO.sample."


@pytest.mark.parametrize(("name", "kind"), [("hello", "AAAA"), ("six.example.com", "A")])
def test_missing_family_is_no_error(name: str, kind: str) -> None:
    reply = ask(name, kind)
    assert (reply.header.rcode, records(reply)) == (RCODE.NOERROR, [])


def test_ipv6() -> None:
    assert records(ask("six.example.com", "AAAA")) == [("six.example.com.", "AAAA", "2001:db8::1", TTL)]


@pytest.mark.parametrize(
    ("name", "kind"), [("example.org", "A"), ("hello", "TXT"), ("hello", "SRV"), ("hello", "HTTPS"), ("hello", "ANY")]
)
def test_everything_else_is_forwarded(name: str, kind: str) -> None:
    assert answer(bytes(DNSRecord.question(name, kind).pack()), TABLE, VIEW, turn=0, udp=True) == Forward()


def test_other_operations_are_forwarded() -> None:
    query = DNSRecord.question("hello")
    query.header.opcode = OPCODE.NOTIFY
    assert answer(bytes(query.pack()), TABLE, VIEW, turn=0, udp=True) == Forward()
    twice = DNSRecord.question("hello")
    twice.add_question(DNSQuestion("web"))
    assert answer(bytes(twice.pack()), TABLE, VIEW, turn=0, udp=True) == Forward()


def test_before_the_first_table_everything_fails() -> None:
    query = bytes(DNSRecord.question("example.org").pack())
    made = answer(query, None, VIEW, turn=0, udp=True)
    assert isinstance(made, Reply)
    assert DNSRecord.parse(made.data).header.rcode == RCODE.SERVFAIL


@pytest.mark.parametrize(
    ("udp", "edns", "truncated"),
    [(True, 0, True), (True, 1232, True), (True, 65535, True), (False, 0, False)],
)
def test_long_answers_are_truncated_over_udp(udp: bool, edns: int, truncated: bool) -> None:
    reply = ask("many.example.com", udp=udp, edns=edns)
    assert bool(reply.header.tc) is truncated
    assert len(reply.rr) == (0 if truncated else 300)


def test_edns_allows_longer_answers() -> None:
    table = NameTable([make_host("some.example.com", [f"10.9.0.{number}" for number in range(60)])])
    query = DNSRecord.question("some.example.com")
    query.add_ar(EDNS0(udp_len=EDNS_LIMIT))
    made = answer(bytes(query.pack()), table, VIEW, turn=0, udp=True)
    assert isinstance(made, Reply)
    reply = DNSRecord.parse(made.data)
    assert (reply.header.tc, len(reply.rr), reply.ar[0].rtype) == (0, 60, QTYPE.OPT)


@pytest.mark.parametrize("junk", [b"", b"\x00", b"\x01" * 11, b"\xff" * 40, bytes(12)])
def test_junk_is_no_query(junk: bytes) -> None:
    with pytest.raises(QueryError):
        answer(junk, TABLE, VIEW, turn=0, udp=True)


def test_responses_are_no_queries() -> None:
    reply = DNSRecord.question("hello").reply()
    with pytest.raises(QueryError):
        answer(bytes(reply.pack()), TABLE, VIEW, turn=0, udp=True)


def test_failure_answers_the_question() -> None:
    query = DNSRecord.question("hello")
    reply = DNSRecord.parse(failure(bytes(query.pack())))
    assert (reply.header.id, reply.header.rcode) == (query.header.id, RCODE.SERVFAIL)


def test_same_question() -> None:
    """What a stranger sends does not pass for the answer."""
    query = DNSRecord.question("a.example.com")
    asked = bytes(query.pack())
    good = query.reply()
    good.add_answer(RR("a.example.com", QTYPE.A, rdata=A("10.0.0.1")))
    other = DNSRecord.question("b.example.com")
    other.header.id = query.header.id
    stranger = query.reply()
    stranger.header.id = query.header.id ^ 1
    assert same_question(asked, bytes(good.pack()))
    assert not same_question(asked, bytes(other.reply().pack()))
    assert not same_question(asked, bytes(stranger.pack()))
    assert not same_question(asked, asked)
    assert not same_question(asked, b"junk")


def test_records_that_dnslib_knows_are_what_we_send() -> None:
    assert [type(rr.rdata) for rr in ask("hello.sample.sample.svc.cluster.local").rr[:2]] == [CNAME, A]
    assert [type(rr.rdata) for rr in ask("six.example.com", "AAAA").rr] == [AAAA]
