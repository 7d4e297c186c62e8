"""The node's agent as the kubelet sees it: start, stop, status, death and return of Envoy and of the agent itself."""

import os
import signal
from pathlib import Path

import pytest

from isthmus.edge import envoy_process
from isthmus.trust.authority import Authority
from isthmus.xds.resource import NDS, XdsResource
from tests.agent.fakes import eventually, make_authority, until
from tests.agent.test_name_stream import table_body
from tests.agent.world import PROXY, run, world


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority()


def alive(pid: int) -> bool:
    """True while the process runs."""
    return Path(f"/proc/{pid}").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text()


def test_start_is_idempotent_and_stop_is_too(authority: Authority) -> None:
    async def scenario() -> None:
        async with world(authority) as here:
            pid = await here.start()
            assert await here.start() == pid
            await here.until_ready()
            listed = await here.op("list")
            assert [(proxy["id"], proxy["pod"], proxy["pid"]) for proxy in listed["proxies"]] == [
                (PROXY, "sleep-1", pid)
            ]
            assert (await here.op("stop", graceSeconds=0))["ok"]
            assert not alive(pid)
            assert await here.op("stop") == {"ok": True, "exitCode": 0}
            assert (await here.op("list"))["proxies"] == []
            assert not (Path(here.mounts["/var/run/isthmus"]) / envoy_process.PID_FILE).exists()

    run(scenario())


def test_killed_envoy_stays_down_until_it_is_started_again(authority: Authority) -> None:
    """The kubelet counts restarts and backs off; the agent only tells."""

    async def scenario() -> None:
        async with world(authority) as here:
            pid = await here.start()
            await here.until_ready()
            certificates = len(here.plane.csrs)
            os.kill(pid, signal.SIGKILL)
            status = await here.until_down()
            assert (status["ready"], status["pid"], status["exitCode"]) == (False, 0, -signal.SIGKILL)
            again = await here.start(log=str(here.directory / "1.log"))
            assert again != pid
            await here.until_ready()
            assert await here.call() == "hello"
            assert len(here.plane.csrs) == certificates
            assert f"pid={again}" in here.log(1)

    run(scenario())


def test_new_agent_takes_up_the_running_envoy(authority: Authority) -> None:
    """Readiness never fails, no request is lost, and the new agent's control plane is heard."""

    async def scenario() -> None:
        async with world(authority) as here:
            pid = await here.start()
            await here.until_ready()
            before, serials = len(here.plane.streams), await here.serials()
            await here.node.leave_all()
            assert alive(pid)
            assert await here.ready()
            assert await here.call() == "hello"
            await here.next_agent()
            assert (await here.op("status"))["pid"] == pid
            assert await here.start() == pid
            await eventually(lambda: len(here.plane.streams) > before)
            # gRPC's back-off of Envoy, after which it has the new agent's certificate.
            await eventually(lambda: len(here.plane.csrs) == 2)

            async def replaced() -> bool:
                return not serials & await here.serials()

            await until(replaced)
            assert await here.call() == "hello"

    run(scenario())


def test_new_agent_forgets_proxies_whose_envoy_is_gone(authority: Authority) -> None:
    async def scenario() -> None:
        async with world(authority) as here:
            pid = await here.start()
            await here.node.leave_all()
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: not alive(pid))
            await here.next_agent()
            status = await here.op("status")
            assert (status["ok"], status["remedy"]) == (False, "Start it first")
            assert await here.start() != pid

    run(scenario())


def test_changed_container_is_another_proxy(authority: Authority) -> None:
    async def scenario() -> None:
        async with world(authority) as here:
            pid = await here.start()
            again = await here.start(env={**here.env, "CONCURRENCY": "2"})
            assert again != pid
            assert not alive(pid)

    run(scenario())


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"{", "not understood"),
        (b'{"op":"start","id":"a","args":["proxy","sidecar"],"env":{},"mounts":{}}', "POD_NAMESPACE"),
        (b'{"op":"status","id":"nobody"}', "no proxy nobody"),
    ],
)
def test_refusals_name_the_remedy(authority: Authority, line: bytes, error: str) -> None:
    async def scenario() -> None:
        async with world(authority) as here:
            answer = (await here.node.handle(line)).decode()
            assert '"ok":false' in answer
            assert error in answer
            assert '"remedy":""' not in answer

    run(scenario())


def test_missing_namespace_leaves_nothing_behind(authority: Authority) -> None:
    async def scenario() -> None:
        async with world(authority) as here:
            here.plane.config.put(XdsResource(NDS, "", table_body("10.1.0.7")))
            with pytest.raises(AssertionError, match="network namespace /run/netns/none"):
                await here.start(netns="/run/netns/none")
            assert (await here.op("list"))["proxies"] == []
            await here.start()
            await here.until_ready()

    run(scenario())


def test_shutdown_ends_all(authority: Authority) -> None:
    async def scenario() -> None:
        async with world(authority) as here:
            pid = await here.start()
            assert await here.op("shutdown", graceSeconds=1) == {"ok": True}
            assert not alive(pid)

    run(scenario())
