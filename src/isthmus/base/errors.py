"""What goes wrong: `Problem` for data that is broken, `IsthmusError` for an action that cannot go on."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a problem matters: an error takes effect away, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """Names one object of one cluster's API server."""

    cluster: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place} in cluster {self.cluster}" if self.cluster else f"{self.kind} {place}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A broken object is data: what is wrong, where, and what to do about it. It never stops the others."""

    where: ObjectRef
    field: str
    message: str
    remedy: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.where}: {self.field}: {self.message}. {self.remedy}"


class ExitCode:
    """What the commands return to the shell."""

    GOOD = 0
    PROBLEMS = 1
    USAGE = 2
    UNREACHABLE = 3


class IsthmusError(Exception):
    """Root of all errors that a person should read; `remedy` names the next thing to try."""

    exit_code: int = ExitCode.PROBLEMS

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class UsageError(IsthmusError):
    """The command was called wrongly."""

    exit_code = ExitCode.USAGE


class UnreachableError(IsthmusError):
    """Something that had to be asked did not answer."""

    exit_code = ExitCode.UNREACHABLE
