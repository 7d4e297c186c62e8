"""Remote secrets: who knows whom, whether the credentials work now, and until when."""

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from typing import Any

from isthmus.checks.finding import Category, Finding
from isthmus.checks.snapshot import ControlPlane, Object, Snapshot, name_of
from isthmus.kube import kubeconfig
from isthmus.kube.kubeconfig import KubeconfigError
from isthmus.kube.remote_secret import is_loopback

SECRETS = Category("secrets")

SOON = 7 * 86_400.0
"""Seconds of remaining life below which a token should be replaced."""
SILENCE = 120.0
"""Seconds without a word from an API server, which sends bookmarks every minute, after which a link is no good."""


def secrets(snapshots: Sequence[Snapshot], now: float) -> Iterator[Finding]:
    """Every link works now and in both directions."""
    for one in snapshots:
        for plane in one.planes:
            yield from _status(one, plane, now)
        for secret in one.all("secrets"):
            yield from _content(one, secret, now)
        yield from _replicas(one)
    yield from _both_ways(snapshots)


def known_by(one: Snapshot) -> set[str]:
    """The ids of the clusters that the control planes of a cluster read."""
    pages = (plane.pages.get("clusterz") or {} for plane in one.planes)
    return {str(cluster["id"]) for page in pages for cluster in page.get("clusters", ())}


def _status(one: Snapshot, plane: ControlPlane, now: float) -> Iterator[Finding]:
    for error in plane.errors:
        yield SECRETS.error(
            f"{plane.pod}: {error}", one.name, effect="it could not be asked", remedy="See the pod's log"
        )
    for cluster in (plane.pages.get("clusterz") or {}).get("clusters", ()):
        if cluster.get("config"):
            continue
        about = f"{plane.pod} reads {cluster['id']}"
        silent = now - float(cluster.get("last_contact") or 0)
        if cluster.get("status") == "synced" and not cluster.get("stale") and silent < SILENCE:
            yield SECRETS.good(f"{about}, last heard of {max(silent, 0):.0f} s ago", one.name, str(cluster["id"]))
        else:
            state = f"{cluster.get('status')}{' (restored rows)' if cluster.get('stale') else ''}"
            silence = f"silent for {silent:.0f} s" if cluster.get("last_contact") else "no contact yet"
            error = cluster.get("last_error") or silence
            yield SECRETS.error(
                f"{about} no more: {state}, {error}",
                one.name,
                str(cluster["id"]),
                effect=f"changes in {cluster['id']} do not reach proxies of {one.name}; what they know stays",
                remedy=f"isthmus create-remote-secret --context {cluster['id']} --name {cluster['id']} | "
                f"kubectl --context {one.context} apply -f -",
            )


def _both_ways(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    asked = {one.name: known_by(one) for one in snapshots if one.planes}
    for name, known in asked.items():
        for other, knows in asked.items():
            if other in known and name not in knows:
                yield SECRETS.warning(
                    f"{name} reads {other}, but {other} does not read {name}",
                    name,
                    other,
                    effect=f"callers in {other} do not find endpoints in {name}; the other way round they do",
                    remedy=f"If that is not meant: isthmus create-remote-secret --context {name} --name {name} | "
                    f"kubectl --context {other} apply -f -",
                )


def _replicas(one: Snapshot) -> Iterator[Finding]:
    """Replicas of a control plane that know different clusters hold different endpoints."""
    views = {
        plane.pod: frozenset(str(c["id"]) for c in (plane.pages.get("clusterz") or {}).get("clusters", ()))
        for plane in one.planes
        if plane.pages.get("clusterz")
    }
    if len(set(views.values())) > 1:
        listed = "; ".join(f"{pod} reads {', '.join(sorted(known))}" for pod, known in sorted(views.items()))
        yield SECRETS.error(
            f"replicas do not agree: {listed}",
            one.name,
            effect="which endpoints a proxy has depends on the replica that it talks to",
            remedy="Look at isthmus remote-clusters for the replica that lacks a cluster",
        )


def _content(one: Snapshot, secret: Object, now: float) -> Iterator[Finding]:
    for cluster, value in sorted((secret.get("data") or {}).items()):
        where = f"secret {name_of(secret)}, key {cluster}"
        try:
            access = kubeconfig.select(kubeconfig.parse(base64.b64decode(value)))
        except (KubeconfigError, binascii.Error) as error:
            yield SECRETS.error(
                f"{where}: {error}",
                one.name,
                effect=f"cluster {cluster} is not read",
                remedy="Create it again with isthmus create-remote-secret",
            )
            continue
        if is_loopback(access.server):
            yield SECRETS.error(
                f"{where}: {access.server} is an address of the machine that made it",
                one.name,
                effect=f"cluster {cluster} is not read",
                remedy="Create it again with --server and the address that other clusters reach",
            )
        yield from _token(one, where, access.token, now)


def _token(one: Snapshot, where: str, token: str, now: float) -> Iterator[Finding]:
    ends = expiry(token)
    if ends is None or ends - now >= SOON:
        return
    if ends <= now:
        yield SECRETS.error(
            f"{where}: the token has expired",
            one.name,
            effect="the cluster is not read any more",
            remedy="Create it again with isthmus create-remote-secret",
        )
        return
    yield SECRETS.warning(
        f"{where}: the token expires in {(ends - now) / 3600:.0f} h",
        one.name,
        effect="the cluster is not read after that",
        remedy="Create it again with isthmus create-remote-secret, whose token does not expire",
    )


def expiry(token: str) -> float | None:
    """When a JSON Web Token ends (RFC 7519, exp); None if it does not, or is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    ends = claims.get("exp") if isinstance(claims, dict) else None
    return float(ends) if isinstance(ends, int | float) else None
