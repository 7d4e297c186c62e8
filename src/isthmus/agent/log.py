"""Where an agent writes: lines of key=value, beside Envoy's own in the proxy's log file."""

import sys
from pathlib import Path
from typing import cast

import structlog
from structlog.typing import FilteringBoundLogger


class AgentLog:
    """A log that writes to a file, or to standard error without one."""

    def __init__(self, path: Path | None = None) -> None:
        self._file = path.open("a", buffering=1) if path else None
        self.events = cast(
            FilteringBoundLogger,
            structlog.wrap_logger(
                structlog.WriteLogger(self._file or sys.stderr),
                wrapper_class=structlog.make_filtering_bound_logger("info"),
                processors=[
                    structlog.processors.add_log_level,
                    structlog.processors.TimeStamper(fmt="iso", utc=True),
                    structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
                ],
            ),
        )
        """Takes events: a name and values."""

    def close(self) -> None:
        """Nothing is written afterwards."""
        if self._file is not None:
            self._file.close()
