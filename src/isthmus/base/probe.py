"""A readiness probe as a WorkloadGroup writes it, which is as Kubernetes does, and what its results amount to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.base.errors import UsageError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class HttpGet:
    """Healthy if a GET is answered with a status from 200 to 399."""

    port: int
    path: str = "/"
    host: str = LOOPBACK
    scheme: str = "HTTP"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """Healthy if the port takes a connection."""

    port: int
    host: str = LOOPBACK


@dataclass(frozen=True, slots=True)
class Exec:
    """Healthy if the command ends with 0."""

    command: tuple[str, ...]


Action = HttpGet | TcpSocket | Exec


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What to do, and how often; times in seconds."""

    action: Action
    initial_delay: float = 0.0
    period: float = 10.0
    timeout: float = 1.0
    successes: int = 1
    failures: int = 3


def read_probe(document: Any) -> Probe | None:
    """The probe of a WorkloadGroup or a mesh.yaml; None without one. Raises UsageError for what cannot be done."""
    if not document:
        return None
    if not isinstance(document, Mapping):
        raise UsageError(f"the readiness probe is {document!r}", "Write it as in a pod")
    return Probe(
        action=_action(document),
        initial_delay=_number(document, "initialDelaySeconds", 0),
        period=max(0.1, _number(document, "periodSeconds", 10)),
        timeout=max(0.1, _number(document, "timeoutSeconds", 1)),
        successes=max(1, int(_number(document, "successThreshold", 1))),
        failures=max(1, int(_number(document, "failureThreshold", 3))),
    )


def _action(document: Mapping[str, Any]) -> Action:
    if http := _part(document, "httpGet"):
        headers = http.get("httpHeaders") or ()
        return HttpGet(
            port=_port(http, "httpGet"),
            path=str(http.get("path") or "/"),
            host=str(http.get("host") or LOOPBACK),
            scheme=str(http.get("scheme") or "HTTP").upper(),
            headers=tuple((str(one["name"]), str(one["value"])) for one in headers if isinstance(one, Mapping)),
        )
    if tcp := _part(document, "tcpSocket"):
        return TcpSocket(port=_port(tcp, "tcpSocket"), host=str(tcp.get("host") or LOOPBACK))
    if command := _part(document, "exec").get("command"):
        return Exec(tuple(map(str, command)))
    raise UsageError("the readiness probe has none of httpGet, tcpSocket, exec", "Give one of them")


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, Mapping) else {}


def _port(part: Mapping[str, Any], name: str) -> int:
    text = str(part.get("port", ""))
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise UsageError(
            f"the readiness probe's {name}.port is {text!r}", "Write a number: a machine's ports have no names"
        )
    return int(text)


def _number(document: Mapping[str, Any], name: str, default: float) -> float:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise UsageError(f"the readiness probe's {name} is {value!r}", "Write a number of seconds or times")
    return float(value)


class Verdict:
    """Counts results: healthy after `successes` in a row, not healthy after `failures` in a row. Pure."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._good = self._bad = 0
        self.message: str | None = None
        """Why it is not healthy, empty: it is; None: not known yet."""

    def note(self, error: str) -> bool:
        """A result, empty for a success; True if the verdict changed by it."""
        if error:
            self._good, self._bad = 0, self._bad + 1
        else:
            self._good, self._bad = self._good + 1, 0
        before = self.message
        if not error and self._good >= self._probe.successes:
            self.message = ""
        elif error and self._bad >= self._probe.failures and not before:
            self.message = error
        return self.message != before
