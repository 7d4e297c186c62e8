"""Addresses, tokens and back-off on the way to a control plane."""

import asyncio
from pathlib import Path

import pytest

from isthmus.base.errors import UnreachableError
from isthmus.edge.control_plane import Backoff, Upstream

NAMES = {"istiod": ["10.0.0.1", "10.0.0.2"], "six": ["2001:db8::1"], "none": []}


def upstream(directory: Path, *hosts: str) -> Upstream:
    """A way to hosts that resolve as in NAMES."""

    async def resolve(name: str) -> list[str]:
        return NAMES[name]

    return Upstream(
        addresses=[(host, 15012) for host in hosts],
        server_name="istiod.istio-system.svc",
        root_file=directory / "root-cert.pem",
        token_file=directory / "token",
        cluster="east",
        resolve=resolve,
    )


def test_targets_in_order_of_preference(tmp_path: Path) -> None:
    targets = asyncio.run(upstream(tmp_path, "none", "six", "istiod").targets())
    assert [(target.rank, target.address) for target in targets] == [
        (1, "ipv6:[2001:db8::1]:15012"),
        (2, "ipv4:10.0.0.1:15012"),
        (2, "ipv4:10.0.0.2:15012"),
    ]


def test_no_address_at_all(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="no address for none"):
        asyncio.run(upstream(tmp_path, "none").targets())


def test_token_is_read_each_time(tmp_path: Path) -> None:
    way = upstream(tmp_path)
    with pytest.raises(UnreachableError, match="service account token"):
        way.metadata()
    for token in ("a", "b"):
        (tmp_path / "token").write_text(f" {token}\n")
        assert dict(way.metadata()) == {"authorization": f"Bearer {token}", "clusterid": "east"}


def test_missing_root_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with upstream(tmp_path).channel("ipv4:127.0.0.1:1"):
            pass

    with pytest.raises(UnreachableError, match=r"root certificate .*root-cert\.pem"):
        asyncio.run(scenario())


def test_backoff_doubles_up_to_its_limit_and_begins_again() -> None:
    backoff = Backoff(1.0, 5.0)
    delays = [backoff.delay() for _ in range(6)]
    for delay, longest in zip(delays, [1, 2, 4, 5, 5, 5], strict=True):
        assert longest / 2 <= delay <= longest
    backoff.reset()
    assert backoff.delay() <= 1
