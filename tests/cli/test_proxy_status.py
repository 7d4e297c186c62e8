"""proxy-status out of what control planes answer."""

import json
from typing import Any

import pytest

from isthmus.base.errors import ExitCode, UnreachableError
from isthmus.cli import main as cli
from isthmus.cli import proxy_status
from isthmus.cli.reach import Answer


def status(kind: str, state: str = "SYNCED", age: float | None = 3.0, error: str = "") -> dict[str, Any]:
    return {"type": kind, "state": state, "age": age, "error": error, "held": 1}


def proxy(name: str, *types: dict[str, Any], cluster: str = "east", version: str = "0.1.0") -> dict[str, Any]:
    return {"proxy": name, "cluster": cluster, "version": version, "types": list(types)}


def answer(istiod: str, *proxies: dict[str, Any]) -> Answer:
    return Answer(istiod, {"istiod": istiod, "proxies": list(proxies)})


FOUR = [status(kind) for kind in ("CDS", "EDS", "LDS", "RDS")]


def run(monkeypatch: pytest.MonkeyPatch, answers: list[Answer], *arguments: str) -> int:
    async def ask(*_: str) -> list[Answer]:
        return answers

    monkeypatch.setattr(proxy_status, "_ask", ask)
    with pytest.raises(SystemExit) as left:
        cli.main(["proxy-status", *arguments])
    code = left.value.code
    assert isinstance(code, int)
    return code


def test_the_table_has_istioctls_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [answer("istiod-1", proxy("sleep-1.sample", *FOUR)), answer("istiod-2", proxy("a.b", FOUR[0]))]
    assert run(monkeypatch, answers) == ExitCode.GOOD
    lines = [line.split(maxsplit=4) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES"],
        ["a.b", "east", "istiod-2", "0.1.0", "1 (CDS)"],
        ["sleep-1.sample", "east", "istiod-1", "0.1.0", "4 (CDS,LDS,EDS,RDS)"],
    ]


def test_an_envoy_and_its_agent_are_one_proxy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two = answer("istiod", proxy("a.b", *FOUR), proxy("a.b", status("NDS"), version=""))
    assert run(monkeypatch, [two]) == ExitCode.GOOD
    assert "5 (CDS,LDS,EDS,RDS,NDS)" in capsys.readouterr().out


def test_verbose_has_a_column_for_each_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    types = [status("CDS"), status("EDS", "STALE", 75.0), status("LDS", "NOT SENT", None), status("NDS")]
    assert run(monkeypatch, [answer("istiod", proxy("a.b", *types))], "-v", "1") == ExitCode.GOOD
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "NDS", "ISTIOD", "VERSION"]
    for words in ("SYNCED (3s)", "STALE (75s)", "NOT SENT", "IGNORED"):
        assert words in line


def test_a_rejection_is_told_and_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = proxy("a.b", status("CDS"), status("LDS", "ERROR", 1.0, "no such filter"))
    assert run(monkeypatch, [answer("istiod", bad)], "-v", "1") == ExitCode.PROBLEMS
    printed = capsys.readouterr()
    assert "ERROR (1s)" in printed.out
    assert printed.err == "Warning: a.b rejected LDS: no such filter\n"


def test_json_is_for_scripts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, [answer("istiod", proxy("a.b", FOUR[0]), proxy("c.d"))], "-o", "json", "-n", "b") == 0
    [entry] = json.loads(capsys.readouterr().out)
    assert (entry["proxy"], entry["cluster_id"], entry["istiod"]) == ("a.b", "east", "istiod")
    assert entry["types"] == [FOUR[0]]


def test_nobody_connected_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, [answer("istiod")]) == ExitCode.GOOD
    assert "no proxy is connected" in capsys.readouterr().err


def test_one_silent_control_plane_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = Answer("istiod-2", error=UnreachableError("istiod-2 did not answer"))
    assert run(monkeypatch, [answer("istiod-1", proxy("a.b", FOUR[0])), silent]) == ExitCode.GOOD
    printed = capsys.readouterr()
    assert "a.b" in printed.out
    assert "istiod-2 did not answer" in printed.err
    assert run(monkeypatch, [silent]) == ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    ("has", "wanted", "named", "found"),
    [
        ({"a": "1"}, {"a": "1"}, False, []),
        ({"a": "1"}, {"a": "2"}, False, [("a", "has version 1, should have 2")]),
        ({}, {"a": "1"}, False, [("a", "is missing")]),
        ({}, {"a": "1"}, True, []),
        ({"a": "1"}, {}, True, [("a", "is there and should not be")]),
    ],
)
def test_a_proxy_is_compared_with_what_it_should_have(
    has: dict[str, str], wanted: dict[str, str], named: bool, found: list[tuple[str, str]]
) -> None:
    assert proxy_status.differing(has, wanted, named=named) == found
