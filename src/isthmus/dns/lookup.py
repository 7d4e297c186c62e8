"""What name servers say of a host name, and how long it may be kept (SH26)."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from dnslib import QTYPE, RCODE, DNSError, DNSRecord

MIN_TTL, MAX_TTL = 30.0, 3600.0
"""Bounds of the time, in seconds, after which a name is asked for again."""

RETRY = 5.0
"""Seconds until the next attempt where nobody answered and nothing is known yet."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """An answer: addresses in the order of their text, for answers rotate, and seconds that it may be kept.

    Without addresses the name does not exist, or has none.
    """

    addresses: tuple[str, ...] = ()
    ttl: float = MIN_TTL


def parse(response: bytes | None) -> Lookup | None:
    """The addresses in one response; None if it is no answer (nobody answered, SERVFAIL, garbage)."""
    if response is None:
        return None
    try:
        found = DNSRecord.parse(response)
    except (DNSError, ValueError, struct.error, IndexError):
        return None
    if found.header.rcode not in (RCODE.NOERROR, RCODE.NXDOMAIN):
        return None
    records = [record for record in found.rr if record.rtype in (QTYPE.A, QTYPE.AAAA)]
    ttl = min((float(record.ttl) for record in records), default=MIN_TTL)
    return Lookup(tuple(sorted({str(record.rdata) for record in records})), ttl)


def combined(answers: Iterable[Lookup | None]) -> Lookup | None:
    """One answer of those for both address families.

    None if all failed, and also if the rest has no addresses: that does not say that the name has none.
    """
    known = list(answers)
    found = [answer for answer in known if answer is not None]
    addresses = tuple(sorted({address for answer in found for address in answer.addresses}))
    if not addresses and len(found) < len(known):
        return None
    ttl = min((answer.ttl for answer in found if answer.addresses), default=MIN_TTL)
    return Lookup(addresses, min(max(ttl, MIN_TTL), MAX_TTL))


def pause(answer: Lookup | None, *, known: bool) -> float:
    """Seconds until the name is asked for again; `known`: it was answered before."""
    if answer is not None:
        return answer.ttl
    return MIN_TTL if known else RETRY
