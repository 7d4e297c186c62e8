"""Reads Envoy's config dump and cluster statuses (JSON of its admin interface) into the rows that people know.

Pure: bytes in, rows out. Columns and words are istioctl's (semantics, section 3).
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography import x509

from isthmus.base.errors import IsthmusError

Json = Mapping[str, Any]

CLUSTER_HEADERS = ("SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE")
ENDPOINT_HEADERS = ("ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER", "PRIORITY", "WEIGHT", "PLACE")
LISTENER_HEADERS = ("ADDRESSES", "PORT", "MATCH", "DESTINATION")
ROUTE_HEADERS = ("NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE")
SECRET_HEADERS = ("RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE")

SHOWN_DOMAINS = 2

_IN_POD = "pod/"
"""How the names of listeners begin that the proxy of a node has in pods: `pod/<uid>/<kind>`, shown as their address."""


@dataclass(frozen=True, slots=True)
class ClusterName:
    """The parts of `<direction>|<port>|<subset>|<host>` or its SNI form `outbound_.<port>_.<subset>_.<host>` (SN1)."""

    direction: str
    port: str
    subset: str
    host: str


def cluster_name(name: str) -> ClusterName:
    """Any cluster's name; what has no such form is a host without the rest."""
    separator = "_." if name.startswith("outbound_.") else "|"
    parts = name.split(separator)
    if len(parts) != 4:
        return ClusterName("", "", "", name)
    direction, port, subset, host = parts
    return ClusterName(direction, port, subset, host)


def parse(data: bytes, what: str) -> Json:
    """JSON of Envoy's admin interface. Raises IsthmusError."""
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise IsthmusError(f"{what} is no JSON ({error})", "Is that an Envoy's admin port?") from error
    if not isinstance(found, dict):
        raise IsthmusError(f"{what} is no JSON object", "Is that an Envoy's admin port?")
    return found


def section(dump: Json, kind: str) -> Json:
    """One part of a config dump, by the name of its message; empty if there is none."""
    for part in dump.get("configs", ()):
        if str(part.get("@type", "")).endswith(f".{kind}"):
            found: Json = part
            return found
    return {}


def clusters(dump: Json) -> Iterator[Json]:
    """All clusters, static ones first."""
    part = section(dump, "ClustersConfigDump")
    for group in ("static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters"):
        for entry in part.get(group, ()):
            yield entry["cluster"]


def listeners(dump: Json) -> Iterator[Json]:
    """All listeners in use."""
    part = section(dump, "ListenersConfigDump")
    for entry in part.get("static_listeners", ()):
        yield entry["listener"]
    for entry in part.get("dynamic_listeners", ()):
        state = entry.get("active_state") or entry.get("warming_state") or {}
        if "listener" in state:
            yield state["listener"]


def routes(dump: Json) -> Iterator[Json]:
    """All route configurations."""
    part = section(dump, "RoutesConfigDump")
    for group in ("static_route_configs", "dynamic_route_configs"):
        for entry in part.get(group, ()):
            if "route_config" in entry:
                yield entry["route_config"]


@dataclass(frozen=True, slots=True)
class ClusterFilter:
    """What of the clusters to show; empty or 0 is everything. `fqdn` matches a part of the host."""

    fqdn: str = ""
    port: int = 0
    subset: str = ""
    direction: str = ""

    def matches(self, name: ClusterName) -> bool:
        """True for a cluster to show."""
        return (
            (not self.fqdn or self.fqdn in name.host)
            and (not self.port or name.port == str(self.port))
            and (not self.subset or name.subset == self.subset)
            and (not self.direction or name.direction.startswith(self.direction))
        )


def cluster_rows(dump: Json, chosen: ClusterFilter) -> list[tuple[str, ...]]:
    """Rows of `proxy-config cluster`, sorted by host, port and subset."""
    found = []
    for cluster in clusters(dump):
        name = cluster_name(cluster["name"])
        if chosen.matches(name):
            number = int(name.port) if name.port.isdigit() else 0
            kind = cluster.get("type") or (cluster.get("cluster_type") or {}).get("name") or "STATIC"
            key = (name.host, number, name.subset, name.direction)
            row = (name.host, name.port, name.subset, name.direction)
            found.append((key, (*(part or "-" for part in row), kind, config_source(cluster))))
    return [row for _, row in sorted(found)]


def config_source(thing: Json) -> str:
    """`<name>.<namespace>` of the object that shaped it, out of the metadata; empty if none did."""
    path = ((thing.get("metadata") or {}).get("filter_metadata") or {}).get("istio", {}).get("config", "")
    parts = path.split("/")
    return f"{parts[-1]}.{parts[-3]}" if len(parts) > 3 else ""


def endpoint_rows(statuses: Json, keep: Callable[[tuple[str, ...]], bool]) -> list[tuple[str, ...]]:
    """Rows of `proxy-config endpoint` out of `/clusters?format=json`."""
    rows = [
        (
            host_address(host.get("address", {})),
            *_health(host.get("health_status", {})),
            status["name"],
            str(host.get("priority", 0)),
            str(host.get("weight", 1)),
            _place(host.get("locality", {})),
        )
        for status in statuses.get("cluster_statuses", ())
        for host in status.get("host_statuses", ())
    ]
    return sorted(row for row in rows if keep(row))


def _place(locality: Json) -> str:
    """region/zone/sub-zone, as far as it is known."""
    return "/".join(locality.get(part, "") for part in ("region", "zone", "sub_zone")).rstrip("/") or "-"


def _health(status: Json) -> tuple[str, str]:
    health = status.get("eds_health_status", "HEALTHY")
    return health, "FAILED" if status.get("failed_outlier_check") else "OK"


def host_address(address: Json) -> str:
    """An address as people write it."""
    if "socket_address" in address:
        inner = address["socket_address"]
        host = inner.get("address", "")
        return f"[{host}]:{inner.get('port_value', 0)}" if ":" in host else f"{host}:{inner.get('port_value', 0)}"
    if "pipe" in address:
        return f"unix://{address['pipe'].get('path', '')}"
    if "envoy_internal_address" in address:
        inner = address["envoy_internal_address"]
        # What comes after # only keeps endpoints apart that are one address for callers with different checks.
        return f"envoy://{inner.get('server_listener_name', '')}/{inner.get('endpoint_id', '').partition('#')[0]}"
    return "-"


def is_of_pod(listener: Json, uid: str) -> bool:
    """False for what the proxy of a node has in the network namespace of another pod; an empty uid means all."""
    name = str(listener.get("name", ""))
    return not uid or not name.startswith(_IN_POD) or name.startswith(f"{_IN_POD}{uid}/")


def listener_rows(dump: Json, *, address: str = "", port: int = 0, pod: str = "") -> list[tuple[str, ...]]:
    """Rows of `proxy-config listener`: one for each way through a listener. `pod`: see `is_of_pod`."""
    rows: list[tuple[str, ...]] = []
    for listener in listeners(dump):
        hosts, number = _listener_address(listener)
        if (address and address not in hosts.split(",")) or (port and number != str(port)):
            continue
        if not is_of_pod(listener, pod):
            continue
        name = str(listener.get("name", ""))
        shown = name if name.startswith(_IN_POD) else hosts
        chains = list(listener.get("filter_chains", ()))
        rows += [(shown, number, chain_match(chain), chain_target(chain)) for chain in chains]
        if "default_filter_chain" in listener:
            rows.append((shown, number, "ALL", chain_target(listener["default_filter_chain"])))
    order = {row: index for index, row in enumerate(rows)}
    return sorted(rows, key=lambda row: (row[0], int(row[1] or 0), order[row]))


def _listener_address(listener: Json) -> tuple[str, str]:
    if "internal_listener" in listener:
        return f"envoy://{listener.get('name', '')}", "0"
    addresses = [listener.get("address", {}), *(more["address"] for more in listener.get("additional_addresses", ()))]
    sockets = [address["socket_address"] for address in addresses if "socket_address" in address]
    if not sockets:
        return host_address(listener.get("address", {})), "0"
    hosts = dict.fromkeys(socket.get("address", "") for socket in sockets)
    return ",".join(hosts), str(sockets[0].get("port_value", 0))


def chain_match(chain: Json) -> str:
    """What a filter chain takes, in short."""
    match = chain.get("filter_chain_match") or {}
    prefixes = [f"{item['address_prefix']}/{item.get('prefix_len', 0)}" for item in match.get("prefix_ranges", ())]
    said = (
        ("SNI", ",".join(match.get("server_names", ()))),
        ("Trans", match.get("transport_protocol", "")),
        ("App", ",".join(match.get("application_protocols", ()))),
        ("Addr", ",".join(prefixes)),
        ("Port", str(match.get("destination_port", ""))),
    )
    return "; ".join(f"{name}: {value}" for name, value in said if value) or "ALL"


def chain_target(chain: Json) -> str:
    """Where a filter chain leads to."""
    for item in chain.get("filters", ()):
        config = item.get("typed_config", {})
        kind = str(config.get("@type", "")).rpartition(".")[2]
        if kind == "HttpConnectionManager":
            return _http_target(config)
        if kind == "TcpProxy":
            weighted = (config.get("weighted_clusters") or {}).get("clusters", ())
            names = [config["cluster"]] if "cluster" in config else [one["name"] for one in weighted]
            return "Cluster: " + ",".join(names)
        if kind == "SniCluster":
            return "Cluster: (SNI)"
    return "Non-HTTP/Non-TCP"


def _http_target(manager: Json) -> str:
    if "rds" in manager:
        return f"Route: {manager['rds'].get('route_config_name', '')}"
    config = manager.get("route_config") or {}
    found = {
        (route.get("route") or {}).get("cluster") or route_match(route.get("match", {}))
        for host in config.get("virtual_hosts", ())
        for route in host.get("routes", ())
    }
    return "Inline Route: " + ",".join(sorted(found))


def route_rows(dump: Json, *, name: str = "") -> list[tuple[str, ...]]:
    """Rows of `proxy-config route`: one for each route of each virtual host."""
    rows = []
    for config in routes(dump):
        title = config.get("name", "")
        if name and title != name:
            continue
        for host in config.get("virtual_hosts", ()):
            rows += [
                (title, host.get("name", ""), _domains(host), route_match(route.get("match", {})), config_source(route))
                for route in host.get("routes", ()) or [{}]
            ]
    return sorted(rows, key=lambda row: (row[0].zfill(8) if row[0].isdigit() else row[0], row[1]))


def _domains(host: Json) -> str:
    names = list(host.get("domains", ()))
    shown = ", ".join(names[:SHOWN_DOMAINS])
    return shown if len(names) <= SHOWN_DOMAINS else f"{shown} + {len(names) - SHOWN_DOMAINS} more..."


def route_match(match: Json) -> str:
    """What a route takes, in short: `/*`, `/exact`, `regex …`, and headers and parameters that it looks at."""
    conditions = [_condition(one, "=") for one in match.get("headers", ())]
    conditions += [_condition(one, "?") for one in match.get("query_parameters", ())]
    return " ".join((_path_match(match), *conditions))


def _condition(matcher: Json, sign: str) -> str:
    """`name=value`, `name=prefix*`, `name` alone for presence; `!` turns it round."""
    text = matcher.get("string_match") or {}
    turned = "!" if matcher.get("invert_match") else ""
    regex = (text.get("safe_regex") or {}).get("regex", "")
    value = text.get("exact") or (f"{text['prefix']}*" if "prefix" in text else regex)
    return f"{turned}{matcher.get('name', '')}{sign}{value}" if text else f"{turned}{matcher.get('name', '')}"


def _path_match(match: Json) -> str:
    if "prefix" in match:
        return f"{match['prefix']}*"
    if "path_separated_prefix" in match:
        return f"PathPrefix:{match['path_separated_prefix']}"
    if "path" in match:
        return str(match["path"])
    if "safe_regex" in match:
        return f"regex {match['safe_regex'].get('regex', '')}"
    if "connect_matcher" in match:
        return "CONNECT"
    return "/*" if not match.keys() - {"headers", "query_parameters", "case_sensitive"} else ",".join(sorted(match))


def secret_rows(dump: Json, now: float) -> list[tuple[str, ...]]:
    """Rows of `proxy-config secret`; a bundle gives one row for each root; equal rows are told once."""
    part = section(dump, "SecretsConfigDump")
    rows: list[tuple[str, ...]] = []
    for group, state in (
        ("static_secrets", "ACTIVE"),
        ("dynamic_active_secrets", "ACTIVE"),
        ("dynamic_warming_secrets", "WARMING"),
    ):
        for entry in part.get(group, ()):
            rows += _secret(entry.get("name", ""), entry.get("secret", {}), state, now)
    return sorted(set(rows))


def _secret(name: str, secret: Json, state: str, now: float) -> Iterable[tuple[str, ...]]:
    if "tls_certificate" in secret:
        # The first of the chain is the proxy's own.
        certificates = _certificates(secret["tls_certificate"].get("certificate_chain", {}))[:1]
        kind = "Cert Chain"
    elif "validation_context" in secret:
        certificates, kind = _trusted(secret["validation_context"]), "CA"
    else:
        certificates, kind = [], "-"
    if not certificates:
        return [(name, kind, state, "false", "", "", "")]
    return [(name, kind, state, *_dates(certificate, now)) for certificate in certificates]


def _trusted(context: Json) -> list[x509.Certificate]:
    """The roots of a validation context: one bundle, or one for each trust domain."""
    found = _certificates(context.get("trusted_ca", {}))
    validator = (context.get("custom_validator_config") or {}).get("typed_config") or {}
    for domain in validator.get("trust_domains", ()):
        found += [one for one in _certificates(domain.get("trust_bundle", {})) if one not in found]
    return found


def _certificates(source: Json) -> list[x509.Certificate]:
    inline = source.get("inline_bytes")
    data = base64.b64decode(inline) if inline else str(source.get("inline_string", "")).encode()
    try:
        return list(x509.load_pem_x509_certificates(data))
    except ValueError:
        return []


def _dates(certificate: x509.Certificate, now: float) -> tuple[str, str, str, str]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    valid = begin.timestamp() <= now < end.timestamp()
    return str(valid).lower(), f"{certificate.serial_number:x}", _moment(end), _moment(begin)


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def versions(dump: Json) -> dict[str, dict[str, str]]:
    """Names and versions of what came over xDS, by short type: what the proxy really has."""
    found: dict[str, dict[str, str]] = {"CDS": {}, "LDS": {}, "RDS": {}}
    part = section(dump, "ClustersConfigDump")
    for group in ("dynamic_active_clusters", "dynamic_warming_clusters"):
        for entry in part.get(group, ()):
            found["CDS"][entry["cluster"]["name"]] = entry.get("version_info", "")
    for entry in section(dump, "ListenersConfigDump").get("dynamic_listeners", ()):
        state = entry.get("warming_state") or entry.get("active_state")
        if state:
            found["LDS"][entry.get("name", "")] = state.get("version_info", "")
    for entry in section(dump, "RoutesConfigDump").get("dynamic_route_configs", ()):
        if "route_config" in entry:
            found["RDS"][entry["route_config"].get("name", "")] = entry.get("version_info", "")
    return found
