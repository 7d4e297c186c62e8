"""What one proxy is told by its container: arguments, environment and mounts, parsed once into one frozen object."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from isthmus.base.errors import UsageError
from isthmus.base.names import DEFAULT_DOMAIN
from isthmus.base.probe import Probe

ProxyKind = Literal["sidecar", "router", "waypoint", "node"]
KINDS: tuple[ProxyKind, ...] = ("sidecar", "router", "waypoint", "node")

SYSTEM_SERVER_NAME = "istiod.istio-system.svc"
"""Name in the control plane's certificate (TR12), whatever address was dialled."""

TOKEN_FILE = "/var/run/secrets/tokens/istio-token"
ROOT_FILE = "/var/run/secrets/istio/root-cert.pem"
LABELS_FILE = "/var/run/secrets/pod/labels"
ANNOTATIONS_FILE = "/var/run/secrets/pod/annotations"
STATE_DIR = "/var/run/isthmus"
RESOLV_CONF = "/etc/resolv.conf"

META_PREFIX = "ISTIO_META_"
META_JSON_PREFIX = "ISTIO_METAJSON_"

DAY = 86400.0
DEFAULT_XDS_PORT = 15012

_DURATION_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")


ReadText = Callable[[Path], str | None]
"""A file's text, None if there is no such file."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where something answers."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Ports that the proxy and its agent open inside the pod."""

    admin: int = 15000
    health: int = 15021
    prometheus: int = 15090
    stats: int = 15020
    dns: int = 15053

    @property
    def upstream_dns(self) -> int:
        """Where Envoy asks for names outside of the mesh: never answered from the name table."""
        return self.dns + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """How a proxy leaves, in seconds: it serves on for `least`, then while connections are open, `most` at most."""

    least: float = 2.0
    most: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """Everything an agent must know to look after one Envoy. Paths are those of the agent's own file system."""

    kind: ProxyKind
    name: str
    namespace: str
    ip: str
    service_account: str = "default"
    cluster: str = "Kubernetes"
    domain: str
    trust_domain: str = DEFAULT_DOMAIN
    control_planes: tuple[Address, ...]
    certificate_authorities: tuple[Address, ...]
    return_after: float = 30.0
    """Seconds for which a better control plane must have answered before the proxy goes back to it."""
    server_name: str = SYSTEM_SERVER_NAME
    token_file: Path
    root_file: Path
    state_dir: Path
    resolv_conf: Path
    secret_ttl: float = DAY
    output_certs: Path | None = None
    dns_capture: bool = False
    concurrency: int = 1
    log_level: str = "warning"
    ports: Ports = field(default_factory=Ports)
    drain: Drain = field(default_factory=Drain)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Addresses of control planes that no name server knows."""
    identity_dir: Path | None = None
    """Where a machine keeps its key and certificate, with which it proves itself from then on."""
    probe: Probe | None = None
    """How a machine's workload is asked whether it is ready (VM6)."""

    @property
    def node_id(self) -> str:
        """`<type>~<ip>~<name>.<ns>~<ns>.svc.<domain>` (semantics §1.17)."""
        return f"{self.kind}~{self.ip}~{self.name}.{self.namespace}~{self.domain}"

    @property
    def cluster_suffix(self) -> str:
        """DNS suffix of services: `--domain` without the namespace, as in `svc.cluster.local`."""
        return self.domain.removeprefix(f"{self.namespace}.")


class Mounts:
    """Translates a container's paths into the agent's: the longest mount that contains the path wins."""

    def __init__(self, mounts: Mapping[str, str] | None = None) -> None:
        pairs = ((PurePosixPath(inside), Path(outside)) for inside, outside in (mounts or {}).items())
        self._mounts = sorted(pairs, key=lambda pair: len(pair[0].parts), reverse=True)

    def path(self, inside: str) -> Path:
        """The agent's path of a path in the container; itself if no mount contains it."""
        wanted = PurePosixPath(inside)
        for mount, outside in self._mounts:
            if wanted.is_relative_to(mount):
                return outside / wanted.relative_to(mount)
        return Path(inside)


def parse_duration(text: str, *, name: str) -> float:
    """Seconds of `90`, `1.5s`, `24h0m0s` (Go's notation); `name` is the setting that an error names."""
    try:
        return float(text)
    except ValueError:
        pass
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{name} is {text!r}, which is no duration", "Write seconds or a form such as 30s, 10m, 24h")
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts)


def parse_addresses(text: str, *, name: str) -> tuple[Address, ...]:
    """Comma-separated `host[:port]` in order of preference; the port is 15012 if it is left out."""
    found = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        host, _, port = item.rpartition(":") if re.search(r":\d+$", item) else (item, "", str(DEFAULT_XDS_PORT))
        if not host or not 0 < int(port) < 65536:
            raise UsageError(
                f"{name} holds {item!r}, which is no host:port", "Write it as istiod.istio-system.svc:15012"
            )
        found.append(Address(host.strip("[]"), int(port)))
    if not found:
        raise UsageError(f"{name} is empty", "Set it to the control plane, such as istiod.istio-system.svc:15012")
    return tuple(found)


def parse_downward(text: str) -> dict[str, str]:
    """The downward API's file of labels or annotations: lines of `key="escaped value"`; others are left out."""
    pairs: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, quoted = line.partition("=")
        try:
            value = json.loads(quoted) if equals else None
        except ValueError:
            continue
        if isinstance(value, str):
            pairs[key] = value
    return pairs


def parse_settings(args: Sequence[str], env: Mapping[str, str], *, mounts: Mounts, read: ReadText) -> ProxySettings:
    """Settings of one proxy from what its container was given.

    `read` returns a file's text, None if there is none. Raises UsageError that names the argument or variable.
    """
    kind, domain = _parse_args(args)
    namespace = _need(env, "POD_NAMESPACE")
    pilot = env.get("PILOT_ADDRESS") or f"{SYSTEM_SERVER_NAME}:{DEFAULT_XDS_PORT}"
    output = env.get("OUTPUT_CERTS")
    return ProxySettings(
        kind=kind,
        name=_need(env, "POD_NAME"),
        namespace=namespace,
        ip=_need(env, "INSTANCE_IP"),
        service_account=env.get("SERVICE_ACCOUNT") or "default",
        cluster=env.get("ISTIO_META_CLUSTER_ID") or "Kubernetes",
        domain=domain or f"{namespace}.svc.{DEFAULT_DOMAIN}",
        trust_domain=env.get("TRUST_DOMAIN") or DEFAULT_DOMAIN,
        control_planes=parse_addresses(pilot, name="PILOT_ADDRESS"),
        certificate_authorities=parse_addresses(env.get("CA_ADDR") or pilot, name="CA_ADDR"),
        return_after=parse_duration(env.get("CONTROL_PLANE_RETURN_AFTER") or "30", name="CONTROL_PLANE_RETURN_AFTER"),
        server_name=env.get("PILOT_SAN") or SYSTEM_SERVER_NAME,
        token_file=mounts.path(TOKEN_FILE),
        root_file=mounts.path(ROOT_FILE),
        state_dir=mounts.path(STATE_DIR),
        resolv_conf=mounts.path(RESOLV_CONF),
        secret_ttl=parse_duration(env.get("SECRET_TTL") or str(DAY), name="SECRET_TTL"),
        output_certs=mounts.path(output) if output else None,
        dns_capture=kind == "sidecar" and env.get("ISTIO_META_DNS_CAPTURE") == "true",
        concurrency=_parse_count(env, "CONCURRENCY", 1),
        log_level=env.get("PROXY_LOG_LEVEL") or "warning",
        ports=_parse_ports(env),
        drain=_parse_drain(env),
        metadata=_parse_metadata(env, mounts=mounts, read=read),
    )


def _parse_args(args: Sequence[str]) -> tuple[ProxyKind, str]:
    """`proxy sidecar|router|waypoint [--domain D]`; other options of Istio's container are accepted and ignored."""
    words = [word for word in args if word in KINDS]
    if "proxy" not in args or len(words) != 1:
        remedy = "Start it with `proxy sidecar`, `proxy router` or `proxy waypoint`"
        raise UsageError(f"the proxy's arguments are {list(args)}", remedy)
    domain = ""
    for index, word in enumerate(args):
        if word == "--domain" and index + 1 < len(args):
            domain = args[index + 1]
        elif word.startswith("--domain="):
            domain = word.removeprefix("--domain=")
    return next(kind for kind in KINDS if kind == words[0]), domain


def _need(env: Mapping[str, str], name: str) -> str:
    value = env.get(name)
    if not value:
        raise UsageError(f"environment variable {name} is not set", "Inject the sidecar again, or set it by hand")
    return value


def _parse_count(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdigit():
        raise UsageError(f"{name} is {text!r}, which is no number", f"Set it to a whole number, such as {default}")
    return int(text)


def _parse_ports(env: Mapping[str, str]) -> Ports:
    """Names as in Istio's agent where it has them; all have the usual defaults."""
    dns = env.get("DNS_PROXY_ADDR") or "localhost:15053"
    return Ports(
        admin=_parse_count(env, "PROXY_ADMIN_PORT", 15000),
        health=_parse_count(env, "ENVOY_STATUS_PORT", 15021),
        prometheus=_parse_count(env, "ENVOY_PROMETHEUS_PORT", 15090),
        stats=_parse_count(env, "ISTIO_AGENT_STATUS_PORT", 15020),
        dns=parse_addresses(dns, name="DNS_PROXY_ADDR")[0].port,
    )


def _parse_drain(env: Mapping[str, str]) -> Drain:
    least = parse_duration(env.get("MINIMUM_DRAIN_DURATION") or "2", name="MINIMUM_DRAIN_DURATION")
    most = parse_duration(
        env.get("TERMINATION_DRAIN_DURATION_SECONDS") or "5", name="TERMINATION_DRAIN_DURATION_SECONDS"
    )
    return Drain(least=min(least, most), most=most)


def _parse_metadata(env: Mapping[str, str], *, mounts: Mounts, read: Callable[[Path], str | None]) -> dict[str, Any]:
    """node.metadata (§1.17): ISTIO_META_X as a string, ISTIO_METAJSON_X as JSON, labels from the pod's file."""
    found: dict[str, Any] = {"NODE_NAME": env["NODE_NAME"]} if env.get("NODE_NAME") else {}
    for name, value in sorted(env.items()):
        if name.startswith(META_PREFIX):
            found[name.removeprefix(META_PREFIX)] = value
        elif name.startswith(META_JSON_PREFIX):
            found[name.removeprefix(META_JSON_PREFIX)] = _parse_json(name, value)
    for key, file in (("LABELS", LABELS_FILE), ("ANNOTATIONS", ANNOTATIONS_FILE)):
        text = read(mounts.path(file))
        if text is not None:
            found[key] = parse_downward(text)
    return found


def _parse_json(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise UsageError(f"{name} is not JSON ({error})", "Write it as a JSON object") from None
