"""Readiness probes of machines: how they are written, and what their results amount to."""

from typing import Any

import pytest

from isthmus.base.errors import UsageError
from isthmus.base.probe import Exec, HttpGet, Probe, TcpSocket, Verdict, read_probe


@pytest.mark.parametrize(
    ("document", "probe"),
    [
        (None, None),
        ({}, None),
        ({"tcpSocket": {"port": 5432}}, Probe(action=TcpSocket(5432))),
        ({"exec": {"command": ["test", "-f", "/x"]}}, Probe(action=Exec(("test", "-f", "/x")))),
        (
            {
                "httpGet": {
                    "port": "8080",
                    "path": "/r",
                    "host": "10.0.0.1",
                    "scheme": "https",
                    "httpHeaders": [{"name": "a", "value": "b"}],
                },
                "initialDelaySeconds": 1,
                "periodSeconds": 5,
                "timeoutSeconds": 2,
                "successThreshold": 2,
                "failureThreshold": 4,
            },
            Probe(
                action=HttpGet(8080, "/r", "10.0.0.1", "HTTPS", (("a", "b"),)),
                initial_delay=1,
                period=5,
                timeout=2,
                successes=2,
                failures=4,
            ),
        ),
    ],
)
def test_as_in_a_pod(document: Any, probe: Probe | None) -> None:
    assert read_probe(document) == probe


@pytest.mark.parametrize(
    "document",
    [
        [],
        "x",
        {"grpc": {"port": 1}},
        {"httpGet": {"port": "http"}},
        {"tcpSocket": {"port": 0}},
        {"exec": {}},
        {"tcpSocket": {"port": 1}, "periodSeconds": "5"},
        {"tcpSocket": {"port": 1}, "timeoutSeconds": -1},
    ],
)
def test_what_cannot_be_done(document: Any) -> None:
    if document == []:
        assert read_probe(document) is None
        return
    with pytest.raises(UsageError):
        read_probe(document)


def verdicts(results: str, **fields: Any) -> list[str | None]:
    """The verdict after each result: `+` is a success, `-` a failure."""
    verdict = Verdict(Probe(action=TcpSocket(1), **fields))
    found = []
    for result in results:
        verdict.note("" if result == "+" else "down")
        found.append(verdict.message)
    return found


def test_verdicts_turn_at_thresholds() -> None:
    assert verdicts("+---+") == ["", "", "", "down", ""]
    assert verdicts("--+", failures=3) == [None, None, ""]
    assert verdicts("---", failures=3) == [None, None, "down"]
    assert verdicts("-+-++", failures=1, successes=2) == ["down", "down", "down", "down", ""]
