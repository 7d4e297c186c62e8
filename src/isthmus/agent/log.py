"""Where an agent writes: lines of key=value, beside Envoy's own in the proxy's log file."""

import sys
from pathlib import Path
from typing import TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger


class AgentLog:
    """A log that writes to a file, or to standard error without one."""

    def __init__(self, path: Path | None = None) -> None:
        self._file = _open(path)
        self.events = cast(
            FilteringBoundLogger,
            structlog.wrap_logger(
                structlog.WriteLogger(cast(TextIO, self)),
                wrapper_class=structlog.make_filtering_bound_logger("info"),
                processors=[
                    structlog.processors.add_log_level,
                    structlog.processors.TimeStamper(fmt="iso", utc=True),
                    structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
                ],
            ),
        )
        """Takes events: a name and values."""

    def write(self, text: str) -> int:
        """Append to the file that is open now; what comes after `close` is lost."""
        return 0 if self._file.closed else self._file.write(text)

    def flush(self) -> None:
        """Nothing waits."""
        if not self._file.closed:
            self._file.flush()

    def reopen(self, path: Path | None) -> None:
        """Write to another file from now on."""
        self.close()
        self._file = _open(path)

    def close(self) -> None:
        """Write no more."""
        if self._file is not sys.stderr:
            self._file.close()


def _open(path: Path | None) -> TextIO:
    return path.open("a", buffering=1) if path else sys.stderr
