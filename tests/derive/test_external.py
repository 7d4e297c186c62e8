"""Addresses that the mesh gives hosts (DN9-DN11)."""

from typing import Any

from isthmus.derive.external import POOL, allocate, unwritten
from isthmus.model.external import Resolution, ServiceEntry


def entry(name: str, *hosts: str, **fields: Any) -> ServiceEntry:
    values: dict[str, Any] = {"resolution": Resolution.STATIC, "hosts": hosts} | fields
    return ServiceEntry(cluster="east", namespace="a", name=name, **values)


def test_every_host_has_its_own_address() -> None:
    hosts = [f"h{i}.example.com" for i in range(2000)]
    found = allocate([entry("x", *hosts)])
    assert {key[2] for key, _ in found} == set(hosts)
    assert len({address for _, address in found}) == len(hosts)


def test_clusters_agree_and_age_and_neighbours_do_not_matter() -> None:
    (one,) = allocate([entry("x", "h.example.com")])
    many = dict(allocate([entry("b", "i.example.com"), entry("x", "h.example.com", created="2026")]))
    assert many[one[0]] == one[1]


def test_who_is_not_eligible_gets_none() -> None:
    rows = [
        entry("none", "a.example.com", resolution=Resolution.NONE),
        entry("own", "b.example.com", addresses=("10.0.0.1",)),
        entry("unwilling", "c.example.com", allocates=False),
        entry("wild", "*.example.com"),
    ]
    assert allocate(rows) == ()


def test_a_written_address_wins_and_among_allocated_the_older_keeps_it() -> None:
    mine = str(POOL[5])
    rows = [
        entry("old", "old.example.com", allocated=(("old.example.com", mine),), created="2025"),
        entry("new", "new.example.com", allocated=(("new.example.com", mine),), created="2026"),
    ]
    found = {key[1]: address for key, address in allocate(rows)}
    assert found["old"] == mine != found["new"]
    found = {key[1]: address for key, address in allocate([*rows, entry("user", "u.example.com", addresses=(mine,))])}
    assert mine not in found.values()
    assert set(found) == {"old", "new"}


def test_an_address_out_of_the_pool_is_not_kept() -> None:
    ((_, address),) = allocate([entry("x", "h.example.com", allocated=(("h.example.com", "10.0.0.1"),))])
    assert address.startswith("240.240.")


def test_what_the_status_does_not_say_yet() -> None:
    ((key, address),) = allocate([entry("x", "h.example.com")])
    assert unwritten([entry("x", "h.example.com")])[0][1] == (("h.example.com", address),)
    told = entry("x", "h.example.com", allocated=((key[2], address),))
    assert unwritten([told]) == []
    unwilling = entry("x", "h.example.com", allocated=((key[2], address),), allocates=False)
    assert unwritten([unwilling]) == [(unwilling, ())]
