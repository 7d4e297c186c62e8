"""Certificates from an authority over TLS, and what is said when there are none."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from isthmus.agent.secrets import make_request
from isthmus.base.errors import UnreachableError
from isthmus.edge.agent_ca_client import request_certificate
from isthmus.trust.authority import Authority
from isthmus.trust.pem import load_certificates
from tests.agent.fakes import IDENTITY, control_plane, make_authority, write_mounts
from tests.edge.test_agent_relay import upstream


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority()


def test_chain_from_the_first_authority_that_answers(tmp_path: Path, authority: Authority) -> None:
    async def scenario() -> None:
        write_mounts(tmp_path, authority)
        async with control_plane(authority) as first, control_plane(authority) as second:
            first.refuse_certificates = True
            way = upstream(tmp_path, first, second)
            chain = await request_certificate(way, csr=make_request(IDENTITY).csr, ttl=600)
        assert len(chain) == 3
        (leaf,) = load_certificates(chain[0].encode())
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        assert life.total_seconds() == pytest.approx(600, rel=0.2)
        assert load_certificates(chain[2].encode()) == authority.roots
        asked = [(call["authorization"], call["clusterid"]) for call in first.csrs + second.csrs]
        assert asked == [("Bearer token-1", "east")] * 2

    asyncio.run(scenario())


def test_all_refusals_are_told(tmp_path: Path, authority: Authority) -> None:
    async def scenario() -> None:
        write_mounts(tmp_path, authority)
        async with contextlib.AsyncExitStack() as stack:
            refusing = await stack.enter_async_context(control_plane(authority))
            stranger = await stack.enter_async_context(control_plane(make_authority()))
            dead = await stack.enter_async_context(control_plane(authority))
            await dead.kill()
            refusing.refuse_certificates = True
            way = upstream(tmp_path, refusing, stranger, dead)
            with pytest.raises(UnreachableError) as raised:
                await request_certificate(way, csr="x", ttl=600)
            assert stranger.csrs == []
        text = str(raised.value)
        assert "the authority is away" in text
        assert "CERTIFICATE_VERIFY_FAILED" in text
        assert text.count("ipv4:127.0.0.1") >= 3

    asyncio.run(scenario())
