"""How names are looked up for a proxy (DN6–DN8)."""

import pytest

from isthmus.dns.names import Host, NameTable, View, make_host

HELLO = make_host(
    "helloworld.sample.svc.cluster.local",
    ["10.1.0.7"],
    registry="Kubernetes",
    shortname="helloworld",
    namespace="sample",
)
POD = make_host(
    "db-0.db.sample.svc.cluster.local", ["10.0.0.9"], registry="Kubernetes", shortname="db-0.db", namespace="sample"
)
OTHER = make_host("web.shop.svc.cluster.local", ["10.1.0.8"], registry="Kubernetes", shortname="web", namespace="shop")
FOREIGN_DOMAIN = make_host(
    "old.sample.svc.east.example", ["10.1.0.9"], registry="Kubernetes", shortname="old", namespace="sample"
)
MCS = make_host("helloworld.sample.svc.clusterset.local", ["10.1.0.10"], registry="Kubernetes")
EXTERNAL = make_host("API.Example.com.", ["240.240.0.1", "2001:2::1", "240.240.0.1"], registry="External")
WILD = make_host("*.example.com", ["240.240.0.2"], registry="External")
DEEP_WILD = make_host("*.deep.example.com", ["240.240.0.3"], registry="External")
TABLE = NameTable([HELLO, POD, OTHER, FOREIGN_DOMAIN, MCS, EXTERNAL, WILD, DEEP_WILD])
VIEW = View("sample", "svc.cluster.local")


@pytest.mark.parametrize(
    ("asked", "host", "name"),
    [
        ("helloworld.sample.svc.cluster.local", HELLO, "helloworld.sample.svc.cluster.local"),
        ("helloworld.sample.svc", HELLO, "helloworld.sample.svc"),
        ("helloworld.sample", HELLO, "helloworld.sample"),
        ("helloworld", HELLO, "helloworld"),
        ("web.shop", OTHER, "web.shop"),
        ("web.shop.svc", OTHER, "web.shop.svc"),
        ("db-0.db", POD, "db-0.db"),
        ("db-0.db.sample", POD, "db-0.db.sample"),
        ("api.example.com", EXTERNAL, "api.example.com"),
        ("a.example.com", WILD, "a.example.com"),
        ("a.b.example.com", WILD, "a.b.example.com"),
        ("a.deep.example.com", DEEP_WILD, "a.deep.example.com"),
        ("a.deep.example.com.sample.svc.cluster.local", DEEP_WILD, "a.deep.example.com"),
        ("helloworld.sample.svc.clusterset.local", MCS, "helloworld.sample.svc.clusterset.local"),
        # First search domain: the answer for the name as the application wrote it (DN8).
        ("web.shop.sample.svc.cluster.local", OTHER, "web.shop"),
        ("web.shop.svc.cluster.local.sample.svc.cluster.local", OTHER, "web.shop.svc.cluster.local"),
        ("api.example.com.sample.svc.cluster.local", EXTERNAL, "api.example.com"),
    ],
)
def test_known_names(asked: str, host: Host, name: str) -> None:
    found = VIEW.lookup(TABLE, asked)
    assert found is not None
    assert (found.host, found.name) == (host, name)


@pytest.mark.parametrize(
    "asked",
    [
        "web",  # another namespace's service has no bare name here (DN7)
        "web.sample",
        "old.sample",  # another domain (DN7)
        "old.sample.svc",
        "helloworld.sample.svc.clusterset",
        "example.com",  # a wildcard does not cover its own suffix
        "cluster.local",
        "svc.cluster.local",
        "",
        # Only the first search domain is answered behind a CNAME.
        "web.shop.svc.cluster.local.svc.cluster.local",
    ],
)
def test_unknown_names(asked: str) -> None:
    assert VIEW.lookup(TABLE, asked) is None


def test_bare_name_belongs_to_the_own_namespace() -> None:
    assert View("shop", "svc.cluster.local").lookup(TABLE, "helloworld") is None
    found = View("shop", "svc.cluster.local").lookup(TABLE, "web")
    assert found is not None
    assert found.host is OTHER


def test_an_exact_name_beats_a_search_domain() -> None:
    """`x.sample.svc.cluster.local` may itself be a service's name."""
    ns = make_host("a.sample.svc.cluster.local", ["10.0.0.1"], registry="Kubernetes", shortname="a", namespace="sample")
    found = VIEW.lookup(NameTable([ns, make_host("a", ["240.0.0.1"])]), "a.sample.svc.cluster.local")
    assert found is not None
    assert found.host is ns


def test_addresses_are_sorted_into_families_once() -> None:
    assert (EXTERNAL.name, EXTERNAL.v4, EXTERNAL.v6) == ("api.example.com", ("240.240.0.1",), ("2001:2::1",))
