"""resolv.conf as libc reads it."""

import pytest

from isthmus.dns.resolv import ResolvConf, parse_resolv_conf

POD = """# made by the kubelet
nameserver 10.0.0.10
nameserver 10.0.0.11
search sample.svc.cluster.local svc.cluster.local. cluster.local
options ndots:5 timeout:1
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            POD,
            ResolvConf(
                ("10.0.0.10", "10.0.0.11"), ("sample.svc.cluster.local", "svc.cluster.local", "cluster.local"), 5
            ),
        ),
        ("", ResolvConf()),
        ("nameserver\nsearch\noptions\n;x\n", ResolvConf()),
        ("nameserver a\n" * 4, ResolvConf(("a", "a", "a"))),
        ("search a b\nsearch c\n", ResolvConf(search=("c",))),
        ("options ndots:x ndots:2\n", ResolvConf(ndots=2)),
    ],
)
def test_parse(text: str, expected: ResolvConf) -> None:
    assert parse_resolv_conf(text) == expected


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        (
            "istiod.istio-system.svc",
            ("istiod.istio-system.svc.a", "istiod.istio-system.svc.b", "istiod.istio-system.svc"),
        ),
        ("a.b.c.d.e.f", ("a.b.c.d.e.f", "a.b.c.d.e.f.a", "a.b.c.d.e.f.b")),
        ("istiod.", ("istiod",)),
    ],
)
def test_candidates(name: str, candidates: tuple[str, ...]) -> None:
    assert ResolvConf(search=("a", "b"), ndots=5).candidates(name) == candidates
