"""How a long-running command runs: logs, event loop, signals, garbage collection."""

import asyncio
import gc
import logging
import signal
import sys

import structlog
import uvloop

from isthmus.app.serve import ControlPlane
from isthmus.app.settings import ServeSettings
from isthmus.base.errors import UsageError

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(level: str, form: str) -> None:
    """One event, one line, on stderr. Raises UsageError for an unknown level or form."""
    if level not in LEVELS or form not in ("text", "json"):
        raise UsageError(f"there is no log level {level!r} in form {form!r}", f"Use {', '.join(LEVELS)}; text or json")
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def run_until_signal(settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    gc.set_threshold(50_000, 20, 100)
    uvloop.run(_serve(settings))


async def _serve(settings: ServeSettings) -> None:
    control_plane = ControlPlane(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, control_plane.stop)
    await control_plane.run()
