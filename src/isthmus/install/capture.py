"""Which of a pod's traffic goes through its proxy: Istio's annotations as arguments of the init container."""

import ipaddress
from collections.abc import Mapping

from isthmus.base.errors import UsageError

_PREFIX = "traffic.sidecar.istio.io/"
INTERCEPTION = "sidecar.istio.io/interceptionMode"
MODES = ("REDIRECT", "NONE")
OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
PROXY_UID = 1337
PROXY_PORTS = (15090, 15021, 15020)
"""What the proxy itself offers to the outside."""


def mode(annotations: Mapping[str, str]) -> str:
    """REDIRECT or NONE. Raises UsageError for another interception mode."""
    wanted = annotations.get(INTERCEPTION, "REDIRECT")
    if wanted not in MODES:
        raise UsageError(f"{INTERCEPTION} is {wanted!r}", f"Use one of {', '.join(MODES)}")
    return wanted


def arguments(annotations: Mapping[str, str], *, dns: bool) -> list[str] | None:
    """Arguments as those of istio-iptables; None to capture nothing. Raises UsageError naming the annotation."""
    if mode(annotations) == "NONE":
        return None
    excluded = [*_ports(annotations, "excludeInboundPorts"), *(str(port) for port in PROXY_PORTS)]
    made = ["-p", str(OUTBOUND_PORT), "-z", str(INBOUND_PORT), "-u", str(PROXY_UID), "-m", "REDIRECT"]
    made += ["-i", ",".join(_ranges(annotations, "includeOutboundIPRanges", "*"))]
    made += ["-x", ",".join(_ranges(annotations, "excludeOutboundIPRanges", ""))]
    made += ["-b", ",".join(_ports(annotations, "includeInboundPorts", "*"))]
    made += ["-d", ",".join(excluded)]
    outbound = _ports(annotations, "excludeOutboundPorts")
    if outbound:
        made += ["-o", ",".join(outbound)]
    return [*made, "--redirect-dns"] if dns else [*made, "--dns-port", "0"]


def _words(annotations: Mapping[str, str], name: str, default: str) -> list[str]:
    return [word.strip() for word in annotations.get(_PREFIX + name, default).split(",") if word.strip()]


def _ports(annotations: Mapping[str, str], name: str, default: str = "") -> list[str]:
    words = _words(annotations, name, default)
    if words == ["*"] and default == "*":
        return words
    for word in words:
        if not word.isdecimal() or not 0 < int(word) < 65536:
            raise UsageError(f"{_PREFIX}{name} holds {word!r}, which is no port", "Write ports with commas between")
    return words


def _ranges(annotations: Mapping[str, str], name: str, default: str) -> list[str]:
    words = _words(annotations, name, default)
    if words == ["*"] and default == "*":
        return words
    for word in words:
        try:
            ipaddress.ip_network(word)
        except ValueError as error:
            raise UsageError(
                f"{_PREFIX}{name}: {error}", "Write ranges such as 10.0.0.0/8 with commas between"
            ) from None
    return words
