"""Reads what a ztunnel has into the rows that people know: its own dump, or what the control plane has for it.

Pure: JSON in, rows out. Columns and words are istioctl's (semantics, section 3). What the control plane says is put
into the form of ztunnel's dump first.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

Json = Mapping[str, Any]

SERVICE_HEADERS = ("NAMESPACE", "SERVICE NAME", "SERVICE VIP", "WAYPOINT", "ENDPOINTS")
WORKLOAD_HEADERS = ("NAMESPACE", "POD NAME", "ADDRESS", "NODE", "WAYPOINT", "PROTOCOL")
POLICY_HEADERS = ("NAMESPACE", "POLICY NAME", "ACTION", "SCOPE")
CERTIFICATE_HEADERS = (
    "CERTIFICATE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE",
)  # fmt: skip

_WORDS = {"GLOBAL": "Global", "NAMESPACE": "Namespace", "WORKLOAD_SELECTOR": "WorkloadSelector",
          "ALLOW": "Allow", "DENY": "Deny"}  # fmt: skip


def service_rows(dump: Json, *, namespace: str = "") -> Iterator[tuple[str, ...]]:
    """One line a service, with how many of its endpoints are healthy."""
    status = {one["uid"]: one.get("status", "Healthy") for one in dump.get("workloads", ())}
    for one in _sorted(dump.get("services", ()), namespace):
        uids = [found["workloadUid"] for found in one.get("endpoints", {}).values()]
        healthy = sum(status.get(uid) == "Healthy" for uid in uids)
        addresses = ",".join(vip.partition("/")[2] for vip in one.get("vips", ()))
        yield one["namespace"], one["name"], addresses, _waypoint(one, dump), f"{healthy}/{len(uids)}"


def workload_rows(dump: Json, *, namespace: str = "", node: str = "", address: str = "") -> Iterator[tuple[str, ...]]:
    """One line a workload."""
    for one in _sorted(dump.get("workloads", ()), namespace):
        addresses = list(one.get("workloadIps", ()))
        if (node and one.get("node") != node) or (address and address not in addresses):
            continue
        shown = ",".join(addresses) or one.get("hostname", "")
        yield (
            one["namespace"],
            one["name"],
            shown,
            one.get("node", ""),
            _waypoint(one, dump),
            one.get("protocol", "TCP"),
        )


def policy_rows(dump: Json, *, namespace: str = "") -> Iterator[tuple[str, ...]]:
    """One line a policy."""
    for one in _sorted(dump.get("policies", ()), namespace):
        yield one["namespace"], one["name"], one["action"], one["scope"]


def certificate_rows(dump: Json, now: float) -> Iterator[tuple[str, ...]]:
    """One line a certificate of each chain; `now` is in seconds since the epoch."""
    for one in dump.get("certificates", ()):
        state = "Unavailable" if "Unavailable" in one["state"] else one["state"]
        chain, roots = one.get("certChain", ()), one.get("rootCerts", ())
        if not chain:
            yield one["identity"], "NA", state, "false", "NA", "NA", "NA"
        kinds = ["Leaf"] + ["Intermediate"] * (len(chain) - 1)
        if chain and not roots and len(chain) > 1:
            kinds[-1] = "Root"
        for kind, certificate in (*zip(kinds, chain, strict=False), *(("Root", root) for root in roots)):
            yield one["identity"], kind, state, *_certificate(certificate, now)


def _certificate(found: Json, now: float) -> tuple[str, ...]:
    begin, end = found.get("validFrom", ""), found.get("expirationTime", "")
    valid = bool(begin and end) and _seconds(begin) <= now < _seconds(end)
    serial = found.get("serialNumber", "")
    return str(valid).lower(), f"{int(serial):x}" if serial.isdecimal() else "NA", end or "NA", begin or "NA"


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except ValueError:
        return float("nan")


def _sorted(found: Iterable[Json], namespace: str) -> list[Json]:
    chosen = (one for one in found if not namespace or one["namespace"] == namespace)
    return sorted(chosen, key=lambda one: (one["namespace"], one["name"], one.get("hostname", ""), one.get("node", "")))


def _waypoint(one: Json, dump: Json) -> str:
    """The name of its waypoint's service."""
    wanted = (one.get("waypoint") or {}).get("destination")
    if not wanted:
        return "None"
    for service in dump.get("services", ()):
        if wanted == f"{service['namespace']}/{service['hostname']}" or wanted in service.get("vips", ()):
            return str(service["name"])
    return "NA"


# -- what the control plane says --------------------------------------------------------------------------------------


def from_control_plane(page: Json) -> dict[str, Any]:
    """The control plane's `config_dump` of a ztunnel in the form of ztunnel's own."""
    found = [one["resource"] for one in page.get("WDS", ())]
    workloads = [_workload(one["workload"]) for one in found if "workload" in one]
    services = [_service(one["service"], found) for one in found if "service" in one]
    return {"workloads": workloads, "services": services, "policies": list(map(_policy, _resources(page, "WADS")))}


def _resources(page: Json, kind: str) -> Sequence[Json]:
    return [one["resource"] for one in page.get(kind, ())]


def _workload(one: Json) -> dict[str, Any]:
    words = {
        "uid": one["uid"],
        "name": one.get("name", ""),
        "namespace": one.get("namespace", ""),
        "workloadIps": [_ip(text) for text in one.get("addresses", ())],
        "protocol": "HBONE" if one.get("tunnel_protocol") == "HBONE" else "TCP",
        "status": "Unhealthy" if one.get("status") == "UNHEALTHY" else "Healthy",
        "trustDomain": one.get("trust_domain", "cluster.local"),
        "serviceAccount": one.get("service_account", "default"),
        "clusterId": one.get("cluster_id", ""),
        "capacity": one.get("capacity", 1),
        "authorizationPolicies": list(one.get("authorization_policies", ())),
    }
    words |= {name: one[name] for name in ("hostname", "node", "network", "locality") if name in one}
    words |= {name: _gateway(one[key]) for name, key in _GATEWAYS if key in one}
    return words


_GATEWAYS = (("waypoint", "waypoint"), ("networkGateway", "network_gateway"))


def _service(one: Json, found: Iterable[Json]) -> dict[str, Any]:
    key = f"{one['namespace']}/{one['hostname']}"
    behind = [other["workload"] for other in found if key in other.get("workload", {}).get("services", {})]
    words = {
        "name": one["name"],
        "namespace": one["namespace"],
        "hostname": one["hostname"],
        "vips": [f"{vip.get('network', '')}/{_ip(vip['address'])}" for vip in one.get("addresses", ())],
        "ports": {str(port["service_port"]): port.get("target_port", 0) for port in one.get("ports", ())},
        "endpoints": {other["uid"]: {"workloadUid": other["uid"]} for other in behind},
        "subjectAltNames": list(one.get("subject_alt_names", ())),
    }
    return words | ({"waypoint": _gateway(one["waypoint"])} if "waypoint" in one else {})


def _policy(one: Json) -> dict[str, Any]:
    return {
        "name": one["name"],
        "namespace": one["namespace"],
        "action": _WORDS[one.get("action", "ALLOW")],
        "scope": _WORDS[one.get("scope", "GLOBAL")],
        "rules": list(one.get("rules", ())),
    }


def _gateway(one: Json) -> dict[str, Any]:
    if "hostname" in one:
        where = f"{one['hostname']['namespace']}/{one['hostname']['hostname']}"
    else:
        where = f"{one['address'].get('network', '')}/{_ip(one['address']['address'])}"
    return {"destination": where, "hboneMtlsPort": one.get("hbone_mtls_port", 0)}


def _ip(text: str) -> str:
    return str(ip_address(base64.b64decode(text)))
