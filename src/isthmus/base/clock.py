"""Time as an argument: code below the edge never asks for it."""

from typing import Protocol


class Clock(Protocol):
    """Tells the time; the edge gives the real one, tests a made one."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
