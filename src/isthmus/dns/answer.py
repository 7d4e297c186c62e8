"""Answers to DNS queries as bytes: from the name table, or the decision to ask somebody else (DN7, DN8)."""

import struct
from dataclasses import dataclass

from dnslib import AAAA, CLASS, CNAME, EDNS0, OPCODE, QTYPE, RCODE, RR, A, DNSError, DNSRecord

from isthmus.dns.names import Found, NameTable, View

TTL = 30
"""Seconds that an answer may be kept (DN7)."""

UDP_LIMIT = 512
EDNS_LIMIT = 4096
"""Bytes of an answer over UDP without and, at most, with EDNS (RFC 1035 §4.2.1, RFC 6891 §6.2.3)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Send these bytes back."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Forward:
    """Not the mesh's name, or not a question it answers: ask the pod's resolvers."""


class QueryError(ValueError):
    """Bytes that are no query; there is nobody to answer."""


def answer(query: bytes, table: NameTable | None, view: View, *, turn: int, udp: bool) -> Reply | Forward:
    """What to do with a query. `turn` counts queries, so that addresses are answered in rotation.

    Before the first table every query fails (SERVFAIL): a wrong address for a mesh name would be kept by clients.
    Raises QueryError for what is no query.
    """
    request = _parse(query)
    if table is None:
        return Reply(_fail(request, RCODE.SERVFAIL))
    question = request.q
    if request.header.opcode != OPCODE.QUERY or len(request.questions) != 1 or question.qclass != CLASS.IN:
        return Forward()
    if question.qtype not in (QTYPE.A, QTYPE.AAAA):
        return Forward()
    found = view.lookup(table, str(question.qname).rstrip(".").lower())
    if found is None:
        return Forward()
    return Reply(_positive(request, found, turn, udp=udp))


def failure(query: bytes) -> bytes:
    """SERVFAIL: nobody who was asked answered. Raises QueryError for what is no query."""
    return _fail(_parse(query), RCODE.SERVFAIL)


def same_question(query: bytes, response: bytes) -> bool:
    """True if a response of somebody else belongs to the query: same id, marked as a response, same question."""
    try:
        asked, got = DNSRecord.parse(query), DNSRecord.parse(response)
    except (DNSError, ValueError, struct.error, IndexError):
        return False
    if got.header.id != asked.header.id or not got.header.qr:
        return False
    return not got.questions or (_key(got) == _key(asked))


def _key(record: DNSRecord) -> tuple[str, int, int]:
    return str(record.q.qname).lower(), record.q.qtype, record.q.qclass


def _parse(query: bytes) -> DNSRecord:
    try:
        request = DNSRecord.parse(query)
    except (DNSError, ValueError, struct.error, IndexError) as error:
        raise QueryError(str(error)) from error
    if request.header.qr or not request.questions:
        raise QueryError("not a query")
    return request


def _fail(request: DNSRecord, code: int) -> bytes:
    reply = request.reply(ra=1, aa=0)
    reply.header.rcode = code
    return bytes(reply.pack())


def _positive(request: DNSRecord, found: Found, turn: int, *, udp: bool) -> bytes:
    """Addresses of the asked family; none of them is an answer, too: the name exists (NOERROR)."""
    question = request.q
    reply = request.reply(ra=1, aa=1)
    addresses = found.host.v4 if question.qtype == QTYPE.A else found.host.v6
    owner = question.qname
    if addresses and found.name != str(owner).rstrip(".").lower():
        owner = f"{found.name}."
        reply.add_answer(RR(question.qname, QTYPE.CNAME, rdata=CNAME(owner), ttl=TTL))
    for address in _rotated(addresses, turn):
        data = A(address) if question.qtype == QTYPE.A else AAAA(address)
        reply.add_answer(RR(owner, question.qtype, rdata=data, ttl=TTL))
    size = _offered_size(request)
    if size:
        reply.add_ar(EDNS0(udp_len=EDNS_LIMIT))
    packed = bytes(reply.pack())
    if not udp or len(packed) <= max(UDP_LIMIT, min(size, EDNS_LIMIT)):
        return packed
    return _truncated(request)


def _truncated(request: DNSRecord) -> bytes:
    """No records and the TC bit: ask again over TCP."""
    reply = request.reply(ra=1, aa=1)
    reply.header.tc = 1
    return bytes(reply.pack())


def _offered_size(request: DNSRecord) -> int:
    """The client's UDP buffer by EDNS, 0 without EDNS."""
    return next((int(record.rclass) for record in request.ar if record.rtype == QTYPE.OPT), 0)


def _rotated(addresses: tuple[str, ...], turn: int) -> tuple[str, ...]:
    if not addresses:
        return ()
    first = turn % len(addresses)
    return addresses[first:] + addresses[:first]
