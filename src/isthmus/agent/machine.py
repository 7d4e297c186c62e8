"""A machine outside of Kubernetes: its settings, from the files that `isthmus workload entry configure` wrote (VM9)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml

from isthmus.agent.settings import (
    RESOLV_CONF,
    ROOT_FILE,
    STATE_DIR,
    TOKEN_FILE,
    Mounts,
    ProxySettings,
    ReadText,
    parse_settings,
)
from isthmus.base.errors import UsageError
from isthmus.base.probe import read_probe
from isthmus.install.capture_rules import Capture

ENVIRONMENT, MESH, HOSTS = "cluster.env", "mesh.yaml", "hosts"
IDENTITY_DIR = "identity"
_CONFIGURE = "Make it with `isthmus workload entry configure`"


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine's agent is to do. `capture` None: its traffic is not redirected."""

    settings: ProxySettings
    capture: Capture | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a machine's agent runs: its files, its own state, its host name and address."""

    directory: Path
    state_dir: Path
    host_name: str
    address: str
    captures: bool = True


def read_machine(place: Place, *, read: ReadText, env: Mapping[str, str] | None = None) -> Machine:
    """The settings of a machine. `env` overrides what its files say. Raises UsageError that names the file."""
    written = parse_environment(_need(read, place.directory / ENVIRONMENT))
    config = _default_config(_need(read, place.directory / MESH))
    known = {**written, **(env or {})}
    address = known.get("ISTIO_SVC_IP") or place.address
    metadata = config.get("proxyMetadata")
    domain = str(metadata.get("CLUSTER_DOMAIN") or "") if isinstance(metadata, Mapping) else ""
    known |= {
        "POD_NAME": known.get("POD_NAME") or place.host_name.partition(".")[0],
        "INSTANCE_IP": _address(address),
        "PILOT_ADDRESS": known.get("PILOT_ADDRESS") or str(config.get("discoveryAddress") or ""),
    }
    namespace = known.get("POD_NAMESPACE", "")
    arguments = ["proxy", "sidecar"] + ([f"--domain={namespace}.svc.{domain}"] if domain and namespace else [])
    mounts = Mounts(
        {
            str(Path(TOKEN_FILE).parent): str(place.directory),
            str(Path(ROOT_FILE).parent): str(place.directory),
            STATE_DIR: str(place.state_dir),
            RESOLV_CONF: RESOLV_CONF,
        }
    )
    settings = replace(
        parse_settings(arguments, known, mounts=mounts, read=lambda _: None),
        hosts=parse_hosts(read(place.directory / HOSTS) or ""),
        identity_dir=place.state_dir / IDENTITY_DIR,
        probe=read_probe(config.get("readinessProbe")),
    )
    return Machine(settings, capture(known, settings) if place.captures else None)


def _need(read: ReadText, file: Path) -> str:
    text = read(file)
    if text is None:
        raise UsageError(f"there is no {file}", _CONFIGURE)
    return text


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise UsageError(f"{text!r} is no address of this machine", "Give --ip") from None


def parse_environment(text: str) -> dict[str, str]:
    """Lines of `NAME=value` or `NAME='value'`; empty ones and those that begin with # are left out."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.strip().removeprefix("export ")
        if not bare or bare.startswith("#"):
            continue
        name, equals, value = bare.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"line {number} of {ENVIRONMENT} is no NAME='value'", _CONFIGURE)
        quote = value[:1]
        if quote in ("'", '"') and value.endswith(quote) and len(value) > 1:
            value = value[1:-1]
        found[name] = value
    return found


def parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Names and their addresses, from lines as in /etc/hosts."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        for name in words[1:]:
            found[name] = (*found.get(name, ()), words[0])
    return found


def _default_config(text: str) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"{MESH} is not YAML ({error})", _CONFIGURE) from None
    config = document.get("defaultConfig") if isinstance(document, dict) else None
    if not isinstance(config, Mapping):
        raise UsageError(f"{MESH} has no defaultConfig", _CONFIGURE)
    return config


def capture(env: Mapping[str, str], settings: ProxySettings) -> Capture:
    """What goes through the proxy: Istio's variables of a machine. Raises UsageError."""
    default = Capture()
    inbound = env.get("ISTIO_INBOUND_PORTS", "*")
    ranges = env.get("ISTIO_SERVICE_CIDR", "*")
    ports = {address.port for address in (*settings.control_planes, *settings.certificate_authorities)}
    return replace(
        default,
        dns_port=settings.ports.dns if settings.dns_capture else None,
        exclude_outbound=default.exclude_outbound | ports | _ports(env, "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"),
        exclude_inbound=default.exclude_inbound | _ports(env, "ISTIO_LOCAL_EXCLUDE_PORTS"),
        include_inbound=None if inbound == "*" else _ports(env, "ISTIO_INBOUND_PORTS"),
        include_ranges=default.include_ranges if ranges == "*" else tuple(filter(None, ranges.split(","))),
        exclude_ranges=tuple(filter(None, env.get("ISTIO_SERVICE_EXCLUDE_CIDR", "").split(","))),
    )


def _ports(env: Mapping[str, str], name: str) -> frozenset[int]:
    words = [word.strip() for word in env.get(name, "").split(",") if word.strip()]
    if not all(word.isdecimal() and 0 < int(word) < 65536 for word in words):
        raise UsageError(f"{name} is {env[name]!r}", "Write ports with commas between")
    return frozenset(map(int, words))
