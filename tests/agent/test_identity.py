"""When certificates are asked for again, and the files of those who want them."""

import math
from pathlib import Path

import pytest

from isthmus.agent.identity import retry_wait, workload_name, write_identity
from isthmus.agent.secrets import Identity

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
