"""The `isthmus` command: finds the commands, loads only the one that is called, and turns errors into one line."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from isthmus.base.errors import IsthmusError

ENTRY_POINTS = "isthmus.commands"
"""Entry-point group in which other packages register commands: name = `module:attribute` of a Typer app."""

COMMANDS = {
    "agent": "isthmus.cli.agent",
    "ca": "isthmus.cli.ca",
    "check": "isthmus.cli.check",
    "cluster": "isthmus.cli.cluster",
    "create-remote-secret": "isthmus.cli.create_remote_secret",
    "debug": "isthmus.cli.debug",
    "events": "isthmus.cli.events",
    "global-entries": "isthmus.cli.global_entries",
    "install": "isthmus.cli.install",
    "multicluster": "isthmus.cli.multicluster",
    "proxy-config": "isthmus.cli.proxy_config",
    "proxy-status": "isthmus.cli.proxy_status",
    "remote-clusters": "isthmus.cli.remote_clusters",
    "serve": "isthmus.cli.serve",
    "version": "isthmus.cli.version",
    "waypoint": "isthmus.cli.waypoint",
    "workload": "isthmus.cli.workload",
    "ztunnel-config": "isthmus.cli.ztunnel_config",
}
"""Name to the module that holds it as a Typer app named `app`; a module is imported when its command is called."""

ALIASES = {"pc": "proxy-config", "ps": "proxy-status", "zc": "ztunnel-config"}
"""Short names that users of istioctl type; they are not listed."""

INTERNAL_ERROR = 70
"""Exit code for a defect of ours (EX_SOFTWARE), so that no script takes it for a finding."""


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command's name, sorted."""
        return sorted({*COMMANDS, *(point.name for point in metadata.entry_points(group=ENTRY_POINTS))})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, imported now; None if there is none."""
        name = ALIASES.get(cmd_name, cmd_name)
        module = COMMANDS.get(name)
        if module:
            return self._adopt(name, import_module(module).app)
        for point in metadata.entry_points(group=ENTRY_POINTS, name=name):
            return self._adopt(name, point.load())
        return None

    @staticmethod
    def _adopt(name: str, app: typer.Typer) -> Any:
        command = get_command(app)
        command.name = name
        return command


app = typer.Typer(
    name="isthmus",
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One service mesh over many clusters.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"isthmus {metadata.version('isthmus')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """One service mesh over many clusters."""


def find_cause(error: BaseException) -> IsthmusError | None:
    """The error a person should read: the exception itself, or the first one inside a task group's."""
    if isinstance(error, IsthmusError):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = (find_cause(inner) for inner in error.exceptions)
        return next((cause for cause in found if cause), None)
    return None


def report(error: BaseException) -> int:
    """Say on stderr what went wrong and what to do, in one line; return the exit code."""
    cause = find_cause(error)
    if cause:
        print(f"Error: {str(cause).rstrip('.')}.", file=sys.stderr)
        return cause.exit_code
    text = f"{type(error).__name__}: {error}".rstrip(".")
    print(f"Error: internal error: {text}. Set ISTHMUS_TRACEBACK=1 to see where, and report it.", file=sys.stderr)
    return INTERNAL_ERROR


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code; a user never sees a traceback unless ISTHMUS_TRACEBACK is set."""
    try:
        get_command(app).main(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="isthmus")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get("ISTHMUS_TRACEBACK") and not find_cause(error):
            raise
        sys.exit(report(error))


if __name__ == "__main__":
    main()
