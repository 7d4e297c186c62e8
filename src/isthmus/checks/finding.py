"""What a check says: a fact, what a user would notice of it, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters. An error breaks something now; a warning will, or might."""

    GOOD = "good"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One result. `effect` is the consequence that a user of the mesh meets; `clusters` are those concerned."""

    category: str
    level: Level
    clusters: tuple[str, ...]
    message: str
    effect: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Category:
    """Makes findings of one category."""

    name: str

    def good(self, message: str, *clusters: str) -> Finding:
        """Something that is as it should be."""
        return Finding(category=self.name, level=Level.GOOD, clusters=clusters, message=message)

    def warning(self, message: str, *clusters: str, effect: str, remedy: str) -> Finding:
        """Something that might hurt."""
        return self._finding(Level.WARNING, message, clusters, effect=effect, remedy=remedy)

    def error(self, message: str, *clusters: str, effect: str, remedy: str) -> Finding:
        """Something that hurts."""
        return self._finding(Level.ERROR, message, clusters, effect=effect, remedy=remedy)

    def _finding(self, level: Level, message: str, clusters: tuple[str, ...], *, effect: str, remedy: str) -> Finding:
        return Finding(
            category=self.name, level=level, clusters=clusters, message=message, effect=effect, remedy=remedy
        )
