"""When certificates are asked for again, and the files of those who want them."""

import asyncio
import math
from pathlib import Path

import pytest

from isthmus.agent.identity import Signer, retry_wait, workload_name, write_identity
from isthmus.agent.secrets import Identity
from isthmus.trust.issue import PemPair, make_intermediate, make_root
from isthmus.trust.pem import fingerprint, load_certificates, new_key

ROOT = make_root(new_key(), now=0.0, serial=1)
LIFE = Identity(key=b"key", chain=b"chain", roots=b"roots", serial="1", end=1000.0)


@pytest.mark.parametrize(
    ("failures", "now", "identity", "seconds"),
    [
        (1, 0, None, 0.5),
        (2, 0, None, 1),
        (20, 0, None, 5),  # a pod waits for its first one
        (1, 0, LIFE, 0.5),
        (20, 0, LIFE, 30),
        (20, 960, LIFE, 10),  # a quarter of what is left
        (20, 999.9, LIFE, 0.1),
        (20, 1001, LIFE, 30),  # too late for hurry
    ],
)
def test_retry(failures: int, now: float, identity: Identity | None, seconds: float) -> None:
    assert math.isclose(retry_wait(failures, now=now, identity=identity), seconds)


def test_name() -> None:
    assert workload_name("cluster.local", "sample", "sleep") == "spiffe://cluster.local/ns/sample/sa/sleep"


def test_files_are_for_their_owner(tmp_path: Path) -> None:
    directory = tmp_path / "certs"
    write_identity(LIFE, directory)
    write_identity(LIFE, directory)
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == {
        "key.pem": b"key",
        "cert-chain.pem": b"chain",
        "root-cert.pem": b"roots",
    }
    assert {file.stat().st_mode & 0o777 for file in directory.iterdir()} == {0o600}


def chain(signer: PemPair) -> list[str]:
    """What an authority answers, whose own certificate is under a root."""
    return ["leaf", signer.certificate.decode(), ROOT.certificate.decode()]


def test_another_signer_is_a_reason_to_ask_anew_once() -> None:
    old, new = (make_intermediate(ROOT, new_key(), now=0.0, serial=i, cluster="east") for i in (2, 3))

    async def scenario() -> None:
        signer = Signer()
        waiting = asyncio.create_task(signer.another(chain(old), ""))
        signer.is_now("")
        signer.is_now(mark(old))
        await asyncio.sleep(0)
        assert not waiting.done()
        signer.is_now(mark(new))
        assert await waiting == mark(new)
        # The answer is by the old one after all, as of another replica: it is not asked again and again.
        again = asyncio.create_task(signer.another(chain(old), mark(new)))
        await asyncio.sleep(0)
        assert not again.done()
        again.cancel()

    asyncio.run(scenario())


def mark(pair: PemPair) -> str:
    return fingerprint(load_certificates(pair.certificate)[0])
