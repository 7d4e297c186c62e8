"""uvicorn inside our own tasks: TLS that is replaced in place, and an orderly end."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import httpx
import pytest
from cryptography import x509
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from isthmus.edge.grpc_server import BindError
from isthmus.edge.http_server import HttpServer, load_identity, server_context
from isthmus.trust.authority import from_pem, server_names
from isthmus.trust.issue import DAY, Validity, make_root
from isthmus.trust.pem import key_to_pem, new_key

ROOT = make_root(new_key(), now=0.0, serial=1, lifetime=1000 * 365 * DAY)
SIGNER = from_pem(ROOT.key, ROOT.certificate, b"", now=0.0)


async def hello(request: Request) -> PlainTextResponse:
    if "slow" in request.query_params:
        started: asyncio.Event = request.app.state.started
        started.set()
        await asyncio.sleep(0.1)
    return PlainTextResponse("hello")


def app() -> Starlette:
    return Starlette(routes=[Route("/", hello)])


def identity(serial: int) -> tuple[bytes, bytes]:
    key = new_key()
    validity = Validity(0.0, 900 * 365 * DAY)
    issued = SIGNER.issue(key.public_key(), server_names(["istiod"]), validity=validity, serial=serial)
    return key_to_pem(key), issued.presented


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(bounded())


async def shown(port: int) -> int:
    context = ssl.create_default_context(cadata=SIGNER.root_bundle.decode())
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="istiod")
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(der).serial_number


def test_the_certificate_is_replaced_without_a_restart() -> None:
    async def scenario() -> None:
        context = server_context()
        load_identity(context, *identity(100))
        server = HttpServer(app(), "127.0.0.1", 0, context)
        task = asyncio.create_task(server.run())
        assert await shown(server.port) == 100
        load_identity(context, *identity(200))
        assert await shown(server.port) == 200
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario)


def test_a_request_under_way_is_answered_before_the_end_and_the_port_is_free_after() -> None:
    async def scenario() -> None:
        application = app()
        application.state.started = asyncio.Event()
        server = HttpServer(application, "127.0.0.1", 0)
        port = server.port
        task = asyncio.create_task(server.run())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = asyncio.create_task(client.get("/?slow"))
            await application.state.started.wait()
            task.cancel()
            assert (await answer).text == "hello"
        await asyncio.wait({task})
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    run(scenario)


def test_a_taken_port_is_an_error_that_says_so() -> None:
    async def scenario() -> None:
        first = HttpServer(app(), "127.0.0.1", 0)
        task = asyncio.create_task(first.run())
        await asyncio.sleep(0)
        with pytest.raises(BindError, match=f"cannot listen on 127.0.0.1:{first.port}"):
            HttpServer(app(), "127.0.0.1", first.port)
        task.cancel()
        await asyncio.wait({task})

    run(scenario)
