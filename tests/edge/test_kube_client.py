"""The client against a server in this process: answers, refusals, and what an unreachable server looks like."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from isthmus.base.errors import ExitCode, IsthmusError, UnreachableError
from isthmus.edge.kube_client import ClientOptions, KubeClient, KubeError
from isthmus.kube.kubeconfig import Access
from isthmus.kube.requests import NAMESPACES, PODS, SECRETS, Scope
from tests.fake_kube import FakeKube

Scenario = Callable[[FakeKube, KubeClient], Awaitable[None]]


def play(scenario: Scenario, **access: Any) -> None:
    """Run a scenario with a server and a client."""

    async def run() -> None:
        async with FakeKube(page=2) as server:
            fields = {"server": server.url, "token": "good"} | access
            async with await KubeClient.connect(Access(**fields), ClientOptions(1.0, 0.3)) as client:
                await scenario(server, client)

    asyncio.run(run())


def test_objects_come_and_go() -> None:
    async def scenario(server: FakeKube, client: KubeClient) -> None:
        await client.create(PODS, {"metadata": {"name": "p", "namespace": "a"}}, namespace="a")
        assert (await client.get(PODS, "a", "p"))["metadata"]["resourceVersion"] == "1"
        await client.delete(PODS, "a", "p")
        await client.delete(PODS, "a", "p")
        assert await client.find(PODS, "a", "p") is None

    play(scenario)


def test_lists_are_read_page_by_page() -> None:
    async def scenario(server: FakeKube, client: KubeClient) -> None:
        for i in range(5):
            await server.put("pods", {"metadata": {"name": f"p{i}", "namespace": "a", "labels": {"app": "x"}}})
        assert [p["metadata"]["name"] for p in await client.list(PODS)] == [f"p{i}" for i in range(5)]
        assert len(server.requests) == 3
        assert await client.list(PODS, Scope("b")) == []
        assert len(await client.list(PODS, Scope("a", label_selector="app=x"))) == 5

    play(scenario)


@pytest.mark.parametrize(
    ("status", "reason", "code", "remedy"),
    [
        (403, "Forbidden", ExitCode.UNREACHABLE, "missing right"),
        (404, "NotFound", ExitCode.PROBLEMS, "Check the name"),
        (409, "Conflict", ExitCode.PROBLEMS, "repeat"),
        (503, "ServiceUnavailable", ExitCode.UNREACHABLE, ""),
    ],
)
def test_refusals_say_what_to_do(status: int, reason: str, code: int, remedy: str) -> None:
    async def scenario(server: FakeKube, client: KubeClient) -> None:
        server.refusals["secrets"] = (status, reason)
        with pytest.raises(KubeError) as error:
            await client.list(SECRETS)
        assert (error.value.status, error.value.reason, error.value.exit_code) == (status, reason, code)
        assert f"told: {reason}" in str(error.value)
        assert remedy in error.value.remedy

    play(scenario)


def test_wrong_token_is_a_401() -> None:
    async def scenario(server: FakeKube, client: KubeClient) -> None:
        with pytest.raises(KubeError, match="told: Unauthorized"):
            await client.probe(within=1.0)

    play(scenario, token="bad")


def test_a_token_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("good\n")

    async def scenario(server: FakeKube, client: KubeClient) -> None:
        await client.probe(within=1.0)
        server.tokens = {"rotated"}
        await asyncio.to_thread(file.write_text, "rotated")
        await client.probe(within=1.0)
        assert len(server.requests) == 3

    play(scenario, token="", token_file=str(file))


def test_a_stream_gives_pieces_as_they_come_and_may_be_silent_for_long() -> None:
    async def scenario(server: FakeKube, client: KubeClient) -> None:
        from isthmus.kube.requests import watch_request

        request = watch_request(NAMESPACES, Scope(), version="0", timeout_seconds=60)
        async with client.stream(request) as pieces:
            await asyncio.sleep(0.4)
            await server.put("namespaces", {"metadata": {"name": "n"}})
            assert b'"ADDED"' in await anext(pieces)
            await server.drop_watches()
            with pytest.raises(UnreachableError, match="the connection broke"):
                await anext(pieces)

    play(scenario)


def test_silence_is_noticed() -> None:
    async def scenario(server: FakeKube, client: KubeClient) -> None:
        server.hanging = True
        with pytest.raises(UnreachableError, match="no answer in time"):
            await client.list(PODS)
        with pytest.raises(UnreachableError, match="does not answer"):
            await client.probe(within=0.05)
        server.hanging = False

    play(scenario)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (f"http://127.0.0.1:{free_port()}", "connection refused"),
        ("http://no-such-host.invalid", "no-such-host.invalid"),
    ],
)
def test_unreachable_servers_say_why(server: str, words: str) -> None:
    async def scenario(_: FakeKube, client: KubeClient) -> None:
        with pytest.raises(UnreachableError, match=words) as error:
            await client.list(PODS)
        assert error.value.exit_code == ExitCode.UNREACHABLE
        assert server in error.value.remedy

    play(scenario, server=server)


def test_an_untrusted_certificate_is_named(tmp_path: Path) -> None:
    from tests.embedded import EmbeddedCluster

    async def scenario() -> None:
        cluster = EmbeddedCluster("west", tmp_path)
        await cluster.start()
        try:
            access = await asyncio.to_thread(lambda: cluster.access)
            async with await KubeClient.connect(Access(server=access.server, token=access.token)) as client:
                with pytest.raises(UnreachableError, match="certificate is not trusted"):
                    await client.list(PODS)
            async with await KubeClient.connect(access) as client:
                await client.probe(within=5.0)
            named = Access(
                server=access.server, token=access.token, ca=access.ca, tls_server_name="kubernetes.default.svc"
            )
            async with await KubeClient.connect(named) as client:
                await client.probe(within=5.0)
            other = Access(server=access.server, token=access.token, ca=access.ca, tls_server_name="other.example")
            async with await KubeClient.connect(other) as client:
                with pytest.raises(UnreachableError, match="certificate is not trusted"):
                    await client.probe(within=5.0)
        finally:
            await cluster.kill()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "access", [{"ca": b"nonsense"}, {"ca_file": "/no/such/file"}, {"client_cert": b"x", "client_key": b"y"}]
)
def test_unusable_certificates_are_told(access: dict[str, Any]) -> None:
    async def run() -> None:
        with pytest.raises(IsthmusError, match="not usable"):
            await KubeClient.connect(Access(server="https://127.0.0.1:1", **access))

    asyncio.run(run())


def test_token_review() -> None:
    async def scenario(server: FakeKube, client: KubeClient) -> None:
        assert await client.review_token("good", "istio-ca") == {"authenticated": True}
        assert await client.review_token("other", "istio-ca") == {"authenticated": False}

    play(scenario)
