"""The shell's view of the command: names, exit codes, one line per error, nothing loaded that is not needed."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from isthmus.base.errors import ExitCode, IsthmusError, UnreachableError, UsageError
from isthmus.cli import main as cli


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    code = left.value.code
    assert isinstance(code, int)
    return code


def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """A way to run a command that ends with the given error."""

    def run_with(error: BaseException) -> int:
        failing = typer.Typer()

        @failing.command()
        def boom() -> None:
            raise error

        monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: cli.LazyGroup._adopt("boom", failing))
        return run("boom")

    return run_with


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (IsthmusError("it broke", "Mend it"), ExitCode.PROBLEMS, "Error: it broke. Mend it.\n"),
        (UsageError("wrong flag", "Use another."), ExitCode.USAGE, "Error: wrong flag. Use another.\n"),
        (UnreachableError("no answer"), ExitCode.UNREACHABLE, "Error: no answer.\n"),
        (ExceptionGroup("tasks", [KeyError("x"), UnreachableError("gone")]), ExitCode.UNREACHABLE, "Error: gone.\n"),
        (
            KeyError("x"),
            cli.INTERNAL_ERROR,
            "Error: internal error: KeyError: 'x'. Set ISTHMUS_TRACEBACK=1 to see where, and report it.\n",
        ),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int, line: str
) -> None:
    assert raising(monkeypatch)(error) == code
    assert capsys.readouterr().err == line


def test_an_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(monkeypatch)(KeyboardInterrupt()) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_defect_shows_where_it_is_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_TRACEBACK", "1")
    failing = typer.Typer()

    @failing.command()
    def boom() -> None:
        raise KeyError("x")

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: cli.LazyGroup._adopt("boom", failing))
    with pytest.raises(KeyError):
        cli.main(["boom"])


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("nope") == ExitCode.USAGE
    assert "No such command 'nope'" in capsys.readouterr().err


def test_version_says_the_same_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == ExitCode.GOOD
    assert run("version", "--short") == ExitCode.GOOD
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"isthmus {second}"


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == ExitCode.GOOD
    assert "Print the versions of Isthmus" in capsys.readouterr().out


def test_only_the_called_command_is_loaded() -> None:
    program = (
        "import sys\nfrom isthmus.cli.main import main\n"
        "try: main(['version', '-s'])\nexcept SystemExit: pass\n"
        "print(sorted(m for m in sys.modules if m in {'grpc', 'httpx', 'isthmus.cli.serve', 'envoy', 'uvloop'}))\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def commands(group: Any, *names: str) -> Iterator[tuple[str, ...]]:
    """Every command with those that contain it."""
    yield names
    for name in group.list_commands(None) if hasattr(group, "list_commands") else ():
        yield from commands(group.get_command(None, name), *names, name)


def test_every_command_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Help is markup to its printer: brackets in it may be an error, or vanish."""
    known = list(commands(typer.main.get_command(cli.app)))
    assert ("lab", "kill") in known
    for names in known:
        assert run(*names, "--help") == 0, names
        assert "Usage:" in capsys.readouterr().out
