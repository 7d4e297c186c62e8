"""Networks: labels, gateways between them, and addresses that must not mean two things."""

import ipaddress
from collections.abc import Iterator, Sequence
from itertools import combinations

from isthmus.base.labels import NETWORK_LABEL
from isthmus.checks.finding import Category, Finding
from isthmus.checks.snapshot import Object, Snapshot, addresses_of, name_of, namespace_of, spec_of, status_of

NETWORKS = Category("networks")
GATEWAYS = Category("gateways")
ADDRESSES = Category("addresses")

MTLS_PORT = 15443
HBONE_PORT = 15008


def networks(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """Either all clusters are on one network, or each says on which it is."""
    named = {one.name: one.network for one in snapshots}
    without = [name for name, network in named.items() if not network]
    if len(snapshots) < 2:
        return
    if without and len(without) < len(named):
        others = ", ".join(sorted(set(named.values()) - {""}))
        yield NETWORKS.error(
            f"the system namespace has no label {NETWORK_LABEL}, while other clusters are on {others}",
            *without,
            effect="endpoints of these clusters are called directly, as if there were no networks between",
            remedy=f"kubectl label namespace istio-system {NETWORK_LABEL}=<network>",
        )
        return
    listed = "; ".join(f"{name} on {network}" for name, network in named.items() if network)
    yield NETWORKS.good(listed or "all clusters are on one network", *named)


def gateways(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """Every network that others must enter has a gateway with an address, and it answers where control planes are."""
    if len({one.network for one in snapshots}) > 1:
        for network in sorted({one.network for one in snapshots if one.network}):
            members = [one for one in snapshots if one.network == network]
            yield from _entrance(network, members)
    for one in snapshots:
        for probe in one.probes:
            if probe.error:
                yield GATEWAYS.error(
                    f"{probe.address} of {probe.cluster} does not answer control plane {probe.source}: {probe.error}",
                    one.name,
                    probe.cluster,
                    effect=f"calls from {one.name} to {probe.cluster} fail or go elsewhere",
                    remedy="Check the load balancer, firewalls, and that a gateway pod is ready",
                )
            else:
                message = f"{probe.address} of {probe.cluster} answers {one.name} in {probe.milliseconds:.1f} ms"
                yield GATEWAYS.good(message, one.name, probe.cluster)


def _entrance(network: str, members: Sequence[Snapshot]) -> Iterator[Finding]:
    names = [one.name for one in members]
    services = [(one.name, service) for one in members for service in one.gateways]
    if not services:
        yield GATEWAYS.error(
            f"network {network} has no east-west gateway",
            *names,
            effect=f"services of {', '.join(names)} are not reached from other networks",
            remedy=f"isthmus install --profile gateway --network {network}; for HBONE isthmus multicluster expose",
        )
    for cluster, service in services:
        yield from _gateway(cluster, service)


def _gateway(cluster: str, service: Object) -> Iterator[Finding]:
    about = f"{namespace_of(service)}/{name_of(service)}"
    ports = {int(port["port"]) for port in spec_of(service).get("ports") or []}
    addresses = addresses_of(service)
    if not ports & {MTLS_PORT, HBONE_PORT}:
        yield GATEWAYS.error(
            f"{about} has neither port {MTLS_PORT} nor {HBONE_PORT}",
            cluster,
            effect="it is no entrance to the network",
            remedy=f"Add port {MTLS_PORT} to the Service",
        )
    elif not addresses:
        yield GATEWAYS.error(
            f"{about} has no address",
            cluster,
            effect="other networks cannot enter",
            remedy="Give the Service a load balancer, or externalIPs",
        )
    else:
        yield GATEWAYS.good(f"{about} is reached at {', '.join(addresses)}", cluster)


def addresses(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """On one network an address is one pod's."""
    clean = []
    for a, b in combinations(snapshots, 2):
        if a.network != b.network:
            continue
        twice = sorted(_pod_addresses(a) & _pod_addresses(b), key=_order)
        ranges = [f"{x} and {y}" for x in _pod_ranges(a) for y in _pod_ranges(b) if x.overlaps(y)]
        if not twice and not ranges:
            clean += [a.name, b.name]
            continue
        what = (
            f"pods of both have the addresses {', '.join(twice[:3])}" if twice else f"pod ranges overlap: {ranges[0]}"
        )
        yield ADDRESSES.error(
            f"{a.name} and {b.name} are on network {a.network or '(none)'}, and {what}",
            a.name,
            b.name,
            effect="calls to a pod of one cluster reach a stranger in the other",
            remedy=f"Give each its own network (label {NETWORK_LABEL}) and gateway, or different pod ranges",
        )
    if clean:
        yield ADDRESSES.good("no address means two things on one network", *dict.fromkeys(clean))


def _pod_addresses(one: Snapshot) -> set[str]:
    pods = (pod for pod in one.all("pods") if not spec_of(pod).get("hostNetwork"))
    return {str(status_of(pod)["podIP"]) for pod in pods if status_of(pod).get("podIP")}


def _pod_ranges(one: Snapshot) -> list[ipaddress.IPv4Network]:
    found = []
    for node in one.all("nodes"):
        text = str(spec_of(node).get("podCIDR") or "")
        if text and ":" not in text:
            found.append(ipaddress.IPv4Network(text, strict=False))
    return found


def _order(address: str) -> tuple[int, str]:
    return (len(address), address)
