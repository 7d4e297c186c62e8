"""Probes of gateways, against servers on loopback that behave as gateways, dead ones and strangers do."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest
import uvloop
from cryptography import x509

from isthmus.edge.gateway_probe import GatewayProber, Probe
from isthmus.trust.issue import DAY, PemPair, Validity, make_root, sign_leaf
from isthmus.trust.pem import certificate_to_pem, key_to_pem, load_certificates, load_key, new_key

NAME = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/istio-system/sa/gateway")


@pytest.fixture(scope="module")
def root() -> PemPair:
    return make_root(new_key(), now=time.time(), serial=1)


def identity(root: PemPair, directory: Path) -> ssl.SSLContext:
    """A server with a workload's certificate of that root."""
    key = new_key()
    (issuer,) = load_certificates(root.certificate)
    leaf = sign_leaf(
        issuer, load_key(root.key), key.public_key(), [NAME], validity=Validity(time.time(), DAY), serial=2
    )
    file = directory / "identity.pem"
    file.write_bytes(key_to_pem(key) + certificate_to_pem(leaf))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@contextmanager
def serving(context: ssl.SSLContext | None, *, silent: bool = False) -> Iterator[int]:
    """The port of a server that closes what comes, after the handshake if it has one; `silent`: says nothing."""
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                connection.settimeout(5)
                with connection, context.wrap_socket(connection, server_side=True) if context else nullcontext():
                    over.wait(60 if silent else 0)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


async def probe(port: int, root: PemPair, *, within: float = 5.0) -> Probe:
    return await GatewayProber().probe("127.0.0.1", port, roots=root.certificate, within=within)


def test_a_gateway_that_shakes_hands_serves(root: PemPair, tmp_path: Path) -> None:
    async def scenario() -> Probe:
        with serving(identity(root, tmp_path)) as port:
            return await probe(port, root)

    found = uvloop.run(scenario())
    assert (found.good, found.answered) == (True, True)
    assert found.text.startswith("serves, ")


def test_one_of_another_root_is_told(root: PemPair, tmp_path: Path) -> None:
    async def scenario() -> Probe:
        stranger = make_root(new_key(), now=time.time(), serial=9)
        with serving(identity(stranger, tmp_path)) as port:
            return await probe(port, root)

    found = uvloop.run(scenario())
    assert not found.good
    assert found.text.startswith("its certificate is not trusted: ")


def test_an_open_port_without_answer_is_less_than_a_gateway(root: PemPair) -> None:
    async def scenario() -> Probe:
        with serving(None) as port:
            return await probe(port, root)

    assert uvloop.run(scenario()) == Probe(True, False, "takes connections, answers no probe")


def test_one_that_hangs_is_not_waited_for(root: PemPair) -> None:
    async def scenario() -> Probe:
        with serving(None, silent=True) as port:
            return await probe(port, root, within=0.2)

    assert uvloop.run(scenario()) == Probe(False, False, "no answer within 0.2 s")


def test_nobody_there(root: PemPair) -> None:
    async def scenario() -> Probe:
        with serving(None) as port:
            pass
        return await probe(port, root)

    assert uvloop.run(scenario()) == Probe(False, False, "connection refused")


def test_roots_may_change_between_probes(root: PemPair, tmp_path: Path) -> None:
    async def scenario() -> list[bool]:
        prober, stranger = GatewayProber(), make_root(new_key(), now=time.time(), serial=9)
        with serving(identity(root, tmp_path)) as port:
            both = stranger.certificate + root.certificate
            found = [
                await prober.probe("127.0.0.1", port, roots=roots, within=5)
                for roots in (stranger.certificate, both, root.certificate)
            ]
        return [one.good for one in found]

    assert uvloop.run(scenario()) == [False, True, True]
