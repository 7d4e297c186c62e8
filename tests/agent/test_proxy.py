"""A real Envoy and its agent: configured, certified, renewed, drained."""

import asyncio
import socket

import httpx
import pytest
from dnslib import RCODE, DNSRecord

from isthmus.trust.authority import Authority
from isthmus.trust.pem import certificates_to_pem
from isthmus.xds.resource import CDS, NDS, XdsResource
from tests.agent.envoy_config import through_itself
from tests.agent.fakes import IDENTITY, eventually, make_authority, until
from tests.agent.test_name_stream import table_body
from tests.agent.world import World, run, world


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority()


async def load(here: World, *, every: float, until: asyncio.Event) -> list[str]:
    """Requests at a steady pace; what came back, an error's name instead of an answer."""
    results = []
    while not until.is_set():
        try:
            results.append(await here.call())
        except httpx.TransportError as error:
            results.append(repr(error))
        await asyncio.sleep(every)
    return results


def test_ready_means_certificate_clusters_and_listeners(authority: Authority) -> None:
    async def scenario() -> None:
        async with world(authority) as here:
            here.plane.refuse_certificates = True
            await here.start()
            await eventually(lambda: here.plane.csrs)
            assert not await here.ready()
            assert here.plane.streams == []
            here.plane.refuse_certificates = False
            await here.until_ready()
            assert await here.call() == "hello"
            (names,) = {certificate["subject_alt_names"][0]["uri"] for certificate in await here.certificates()}
            assert names == IDENTITY
            status = await here.op("status")
            assert (status["running"], status["ready"], status["exitCode"]) == (True, True, None)
            metrics = await here.client.get(f"http://127.0.0.1:{here.ports.prometheus}/stats/prometheus")
            assert "envoy_server_live" in metrics.text
            assert (await here.client.get(f"http://127.0.0.1:{here.ports.stats}/config_dump")).status_code == 404
            assert here.plane.csrs[-1]["authorization"] == "Bearer token-1"
            assert not list(here.directory.rglob("*key*"))

    run(scenario())


def test_not_ready_without_listeners(authority: Authority) -> None:
    """Certificates alone are not enough: Envoy waits for its configuration for as long as it takes."""

    async def scenario() -> None:
        async with world(authority) as here:
            here.plane.config.held.clear()
            here.plane.silent = True
            await here.start()
            await eventually(lambda: here.plane.streams and here.plane.streams[0].requests)
            assert not await here.ready()
            here.plane.silent = False
            here.plane.config.put(*through_itself(here.way))
            await here.until_ready()

    run(scenario())


def test_rotation_loses_no_request(authority: Authority) -> None:
    """Certificates live for four seconds; each request shakes hands anew."""

    async def scenario() -> None:
        async with world(authority) as here:
            here.plane.lifetime = 4
            await here.start()
            await here.until_ready()
            end = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                loading = group.create_task(load(here, every=0.02, until=end))
                serials: set[str] = set()

                async def thrice() -> bool:
                    serials.update(await here.serials())
                    return len(serials) >= 3

                await until(thrice)
                end.set()
            assert set(loading.result()) == {"hello"}
            assert len(loading.result()) > 50

    run(scenario())


def test_a_new_root_is_trusted_when_it_is_mounted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.agent.identity.ROOTS_EVERY", 0.05)

    async def scenario() -> None:
        async with world(authority) as here:
            await here.start()
            await here.until_ready()
            roots = (*authority.roots, *make_authority().roots)
            (here.directory / "istio" / "root-cert.pem").write_bytes(certificates_to_pem(roots))

            async def both() -> bool:
                answer = await here.client.get(f"http://127.0.0.1:{here.ports.admin}/certs")
                return all(len(entry["ca_cert"]) == 2 for entry in answer.json()["certificates"])

            await until(both)
            assert await here.call() == "hello"

    run(scenario())


def test_without_its_control_plane_envoy_stays_as_it_is(authority: Authority) -> None:
    async def scenario() -> None:
        async with world(authority) as here:
            await here.start()
            await here.until_ready()
            end = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                loading = group.create_task(load(here, every=0.02, until=end))
                await here.plane.kill()
                await eventually(lambda: "control plane lost" in here.log())
                served = here.app.served
                await eventually(lambda: here.app.served > served + 20)
                assert await here.ready()
                before = len(here.plane.streams)
                await here.plane.start()
                await eventually(lambda: len(here.plane.streams) > before)
                end.set()
            assert set(loading.result()) == {"hello"}
            await eventually(lambda: here.plane.streams[-1].requests)
            held = here.plane.config.held[CDS]
            first = here.plane.streams[-1].requests[0]
            assert dict(first.initial_resource_versions) == {name: resource.version for name, resource in held.items()}

    run(scenario())


def test_names_of_the_mesh_are_answered_and_survive_the_agent(authority: Authority) -> None:
    async def scenario() -> None:
        async with world(authority) as here:
            await here.start()
            assert await resolve(here, "hello.sample") == RCODE.SERVFAIL
            here.plane.config.put(XdsResource(NDS, "", table_body("10.1.0.7")))
            await here.until_ready()
            await until(lambda: resolves(here))
            await here.node.leave_all()
            await here.plane.kill()
            await here.next_agent()
            assert await resolve(here, "hello.sample") == "10.1.0.7"

    run(scenario())


async def resolves(here: World) -> bool:
    """True once the table is there."""
    return await resolve(here, "hello.sample") == "10.1.0.7"


async def resolve(here: World, name: str) -> str | int:
    """The first address of a name as an application of the pod would get it, or the code of a failure."""
    query = bytes(DNSRecord.question(name).pack())
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        await loop.sock_connect(made, ("127.0.0.1", here.ports.dns))
        await loop.sock_sendall(made, query)
        reply = DNSRecord.parse(await asyncio.wait_for(loop.sock_recv(made, 4096), 5))
    return str(reply.rr[0].rdata) if reply.rr else int(reply.header.rcode)


async def unready(here: World) -> bool:
    """True once the readiness probe fails."""
    return not await here.ready()


def test_drain_lets_requests_finish(authority: Authority) -> None:
    async def scenario() -> None:
        async with world(authority) as here:
            await here.start()
            await here.until_ready()
            here.app.go.clear()
            async with asyncio.TaskGroup() as group:
                calling = group.create_task(here.call())
                await eventually(lambda: here.app.waiting)
                stopping = group.create_task(here.op("stop", graceSeconds=30))
                await until(lambda: unready(here))
                assert not stopping.done()
                assert (await here.op("status"))["running"]
                here.app.go.set()
            assert calling.result() == "hello"
            assert stopping.result() == {"ok": True, "exitCode": 0}
            assert (await here.op("status"))["running"] is False
            assert "drained" in here.log()

    run(scenario())


def test_drain_ends_when_its_time_is_over(authority: Authority) -> None:
    async def scenario() -> None:
        async with world(authority, TERMINATION_DRAIN_DURATION_SECONDS="0.5") as here:
            await here.start()
            await here.until_ready()
            here.app.go.clear()
            async with asyncio.TaskGroup() as group:
                calling = group.create_task(load(here, every=0, until=here.app.go))
                await eventually(lambda: here.app.waiting)
                await here.op("stop", graceSeconds=30)
                here.app.go.set()
            assert "hello" not in calling.result()

    run(scenario())
