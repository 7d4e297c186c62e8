"""What `isthmus lab call` shows, and which requests it refuses before it makes them."""

from typing import Any

import pytest
from typer.testing import CliRunner

from isthmus.base.errors import UsageError
from isthmus_lab.cli import app
from isthmus_lab.commands import show

URL = "http://helloworld.sample:5000/hello"


def report(**summary: Any) -> dict[str, Any]:
    return {"summary": {"good": 0, "clusters": {}, "errors": {}, **summary}}


def test_without_answers_only_the_errors_are_shown() -> None:
    tables = show.call_tables(report(errors={"timeout": 2}), {})
    assert [[str(column.header) for column in table.columns] for table in tables] == [["ERROR", "CALLS"]]


def test_without_a_terminal_there_are_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["x" * 100, show.state_word(good=True, text="ready")]]
    show.console().print(show.table("", ["NAME", "STATE"], rows))
    assert capsys.readouterr().out.split("\n")[1] == "x" * 100 + "  ready"


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("helloworld.sample:5000", [], "is no http URL"),
        ("http://", [], "is no http URL"),
        ("http://a:port/", [], "is no http URL"),
        (URL, ["-H", "accept"], "is no header"),
    ],
)
def test_requests_that_cannot_be(url: str, options: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["call", "east/sleep", url, *options])
    assert isinstance(result.exception, UsageError)
    assert says in str(result.exception)


@pytest.mark.parametrize("options", [["-n", "0"], ["--concurrency", "0"]])
def test_there_is_at_least_one_request(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["call", "east/sleep", URL, *options]).exit_code == 2
