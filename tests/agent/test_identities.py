"""Certificates of a node's workloads: one for each identity, for as long as a pod has it, and for nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from isthmus.agent.identities import Identities
from isthmus.agent.log import AgentLog
from isthmus.agent.proxy import Proxy
from isthmus.agent.settings import Mounts, parse_settings
from isthmus.edge.clock import SystemClock
from isthmus.edge.netns import NetworkNamespace
from isthmus.xds.resource import SDS
from tests.agent.fakes import FakeControlPlane, control_plane, eventually, make_authority, write_mounts
from tests.agent.world import run

WEB, DB = "spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/sa/db"


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[tuple[Identities, Proxy, FakeControlPlane]]:
    """Identities beside a proxy that is not started: its store and its way to the authority count."""
    async with control_plane(make_authority()) as plane:
        env = {"POD_NAME": "n", "POD_NAMESPACE": "istio-system", "INSTANCE_IP": "127.0.0.1"}
        env |= {"PILOT_ADDRESS": f"127.0.0.1:{plane.port}", "ISTIO_META_CLUSTER_ID": "east"}
        mounts = Mounts(write_mounts(directory, plane.authority))
        settings = parse_settings(["proxy", "node"], env, mounts=mounts, read=lambda _: None)
        log = AgentLog().events
        proxy = Proxy(settings, namespace=NetworkNamespace(), log_file=None, clock=SystemClock(), log=log)
        made = Identities(proxy.authorities(), proxy.secrets, settings=settings, clock=SystemClock(), log=log)
        try:
            yield made, proxy, plane
        finally:
            await made.close()


def identity_in(proxy: Proxy, name: str) -> str:
    """Whose certificate the secret of that name holds; empty if there is none."""
    found = proxy.secrets.resource(SDS, name)
    if found is None:
        return ""
    secret = secret_pb2.Secret.FromString(found.body)
    leaf = x509.load_pem_x509_certificate(secret.tls_certificate.certificate_chain.inline_bytes)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return str(names.get_values_for_type(x509.UniformResourceIdentifier)[0])


def test_pods_of_one_identity_share_a_certificate(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as (identities, proxy, plane):
            await asyncio.gather(identities.ensure("a", WEB), identities.ensure("b", WEB), identities.ensure("c", DB))
            assert sorted(plane.identities) == [DB, WEB]
            assert {call["clusterid"] for call in plane.csrs} == {"east"}
            assert [identity_in(proxy, name) for name in (WEB, DB)] == [WEB, DB]
            await identities.release("a")
            assert (identities.known(), identity_in(proxy, WEB)) == ([DB, WEB], WEB)
            await identities.release("b")
            assert (identities.known(), identity_in(proxy, WEB)) == ([DB], "")
            await identities.ensure("c", WEB)  # its service account is another one now
            assert (identities.known(), identity_in(proxy, DB)) == ([WEB], "")

    run(scenario())


def test_a_certificate_is_renewed_while_a_pod_has_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as (identities, proxy, plane):
            plane.lifetime = 3.0
            await identities.ensure("a", WEB)
            first = proxy.secrets.resource(SDS, WEB)
            await eventually(lambda: proxy.secrets.resource(SDS, WEB) != first)
            assert identity_in(proxy, WEB) == WEB

    run(scenario())


def test_without_an_authority_a_pod_waits(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as (identities, proxy, plane):
            plane.refuse_certificates = True
            waiting = asyncio.create_task(identities.ensure("a", WEB))
            await eventually(lambda: len(plane.csrs) > 1)
            assert not waiting.done()
            assert identity_in(proxy, WEB) == ""
            plane.refuse_certificates = False
            await waiting
            assert identity_in(proxy, WEB) == WEB

    run(scenario())


@pytest.mark.parametrize("uid", ["unknown", ""])
def test_letting_go_of_an_unknown_pod_is_fine(tmp_path: Path, uid: str) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as (identities, _, _):
            await identities.release(uid)

    run(scenario())
