"""Reads a cluster for the checks: objects, clocks, what its control planes answer. It judges nothing."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from isthmus.base.errors import IsthmusError
from isthmus.checks.snapshot import ControlPlane, Probe, Snapshot, addresses_of, name_of
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.edge.kube_exec import ExecResult, Target, execute
from isthmus.install.values import ROOT_CONFIG_MAP, SYSTEM_NAMESPACE
from isthmus.kube import requests
from isthmus.kube.remote_secret import MULTICLUSTER_LABEL
from isthmus.kube.requests import Resource, Scope
from isthmus.trust.errors import TrustError
from isthmus.trust.pem import fingerprint, load_certificates

CONTAINER = "discovery"
PAGES = ("version", "clusterz", "syncz", "problems", "trust", "peers")
"""Debug pages that checks look at; a control plane that lacks one is an older one."""

_ISTIO_KINDS = {
    "peerauthentications": "security.istio.io",
    "authorizationpolicies": "security.istio.io",
    "destinationrules": "networking.istio.io",
    "virtualservices": "networking.istio.io",
    "serviceentries": "networking.istio.io",
    "sidecars": "networking.istio.io",
    "gateways": "networking.istio.io",
}
_WORLD = (requests.NAMESPACES, requests.SERVICES, requests.PODS, requests.NODES)
_INSTALLED = (
    Resource("apps", "v1", "deployments"),
    Resource("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", namespaced=False),
)
_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", namespaced=False)
_NEEDED = (
    ("", "namespaces"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("apps", "deployments"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
)
_SECONDS = 20.0


@dataclass
class Found:
    """What was read so far."""

    objects: dict[str, Sequence[Any]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


async def look(client: KubeClient, context: str, *, namespace: str = SYSTEM_NAMESPACE) -> Snapshot:
    """Everything that is checked of a cluster with a mesh. What cannot be read is named in `errors`; never raises."""
    found, empty = Found(), Snapshot(context=context, server=client.server, system_namespace=namespace)
    version, skew = await _clock(client, found)
    if found.errors:
        return replace(empty, errors=tuple(found.errors))
    remote = Scope(namespace, label_selector=f"{MULTICLUSTER_LABEL}=true")
    custom = [Resource(group, "v1", plural) for plural, group in _ISTIO_KINDS.items()]
    await asyncio.gather(
        *(_list(client, found, one) for one in _WORLD),
        *(_list(client, found, one, optional=True) for one in custom),
        _list(client, found, requests.SECRETS, remote, optional=True),
    )
    return replace(
        empty,
        version=version,
        skew=skew,
        objects=found.objects,
        planes=await _control_planes(client, found, namespace),
        roots=await _roots(client, namespace),
        errors=tuple(found.errors),
    )


async def look_before(client: KubeClient, context: str, *, namespace: str = SYSTEM_NAMESPACE) -> Snapshot:
    """What is checked of a cluster before something is installed."""
    found, empty = Found(), Snapshot(context=context, server=client.server, system_namespace=namespace)
    version, skew = await _clock(client, found)
    if found.errors:
        return replace(empty, errors=tuple(found.errors))
    await asyncio.gather(*(_list(client, found, one, optional=one in _INSTALLED) for one in (*_WORLD, *_INSTALLED)))
    return replace(
        empty,
        version=version,
        skew=skew,
        objects=found.objects,
        denied=await _denied(client),
        errors=tuple(found.errors),
    )


async def probe(client: KubeClient, own: Snapshot, others: Sequence[Snapshot], port: int) -> tuple[Probe, ...]:
    """Connect to the gateways of other networks from where the control plane of `own` runs."""
    if not own.planes:
        return ()
    pod = own.planes[0].pod
    targets = [
        (other.name, f"{address}:{port}")
        for other in others
        if other.network != own.network
        for service in other.gateways
        for address in addresses_of(service)
        if any(int(one["port"]) == port for one in service["spec"].get("ports") or [])
    ]
    return tuple(
        await asyncio.gather(
            *(_connect(client, Target(own.system_namespace, pod, CONTAINER), name, to) for name, to in targets)
        )
    )


async def _clock(client: KubeClient, found: Found) -> tuple[str, float | None]:
    before = time.time()
    try:
        async with asyncio.timeout(_SECONDS):
            version, clock = await client.version()
    except (IsthmusError, TimeoutError) as error:
        found.errors.append(str(error) or f"{client.server} does not answer")
        return "", None
    middle = (before + time.time()) / 2
    # The header is cut to whole seconds.
    return version, None if clock is None else clock + 0.5 - middle


async def _list(
    client: KubeClient, found: Found, resource: Resource, scope: Scope | None = None, *, optional: bool = False
) -> None:
    try:
        found.objects[resource.plural] = await client.list(resource, scope)
    except KubeError as error:
        if not (optional and error.status in (403, 404)):
            found.errors.append(f"cannot list {resource.plural}: {error}")
    except IsthmusError as error:
        found.errors.append(f"cannot list {resource.plural}: {error}")


async def _control_planes(client: KubeClient, found: Found, namespace: str) -> tuple[ControlPlane, ...]:
    pods = [
        name_of(pod)
        for pod in found.objects.get("pods", ())
        if pod["metadata"].get("namespace") == namespace
        and (pod["metadata"].get("labels") or {}).get("app") == "istiod"
        and (pod.get("status") or {}).get("phase") == "Running"
        and not pod["metadata"].get("deletionTimestamp")
    ]
    return tuple(await asyncio.gather(*(_control_plane(client, namespace, pod) for pod in sorted(pods))))


async def _control_plane(client: KubeClient, namespace: str, pod: str) -> ControlPlane:
    pages: dict[str, Any] = {}
    errors: list[str] = []
    for page in PAGES:
        command = ["isthmus", "debug", "request", "GET", f"/debug/{page}"]
        try:
            done = await execute(client, Target(namespace, pod, CONTAINER), command, within=_SECONDS)
        except IsthmusError as error:
            errors.append(error.message)
            break
        if done.exit_code == 0:
            pages[page] = msgspec.json.decode(done.stdout)
        elif done.exit_code != 2:
            errors.append(_words(done))
    version = str((pages.get("version") or {}).get("version") or "")
    return ControlPlane(pod=pod, version=version, pages=pages, errors=tuple(errors))


async def _connect(client: KubeClient, source: Target, cluster: str, to: str) -> Probe:
    made = Probe(source=source.pod, cluster=cluster, address=to)
    try:
        done = await execute(client, source, ["isthmus", "debug", "connect", to], within=_SECONDS)
    except IsthmusError as error:
        return replace(made, error=error.message)
    text = done.stdout.decode().strip()
    if done.exit_code or not re.fullmatch(r"[0-9.]+", text):
        return replace(made, error=_words(done).partition(". ")[0])
    return replace(made, milliseconds=float(text))


def _words(done: ExecResult) -> str:
    return done.stderr.decode("utf-8", "replace").strip().removeprefix("Error: ") or f"exit code {done.exit_code}"


async def _roots(client: KubeClient, namespace: str) -> tuple[str, ...]:
    """Fingerprints of the roots that workloads of the cluster are given."""
    try:
        found: Mapping[str, Any] | None = await client.find(requests.CONFIG_MAPS, namespace, ROOT_CONFIG_MAP)
        text = ((found or {}).get("data") or {}).get("root-cert.pem", "")
        return tuple(fingerprint(one) for one in load_certificates(text.encode()))
    except (IsthmusError, TrustError):
        return ()


async def _denied(client: KubeClient) -> tuple[str, ...]:
    """Which of the kinds of an installation the caller may not create."""

    async def allowed(group: str, plural: str) -> bool:
        attributes = {"group": group, "resource": plural, "verb": "create"}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        try:
            answer = await client.create(_REVIEWS, body)
        except IsthmusError:
            return True
        return bool((answer.get("status") or {}).get("allowed"))

    answers = await asyncio.gather(*(allowed(group, plural) for group, plural in _NEEDED))
    return tuple(plural for (_, plural), good in zip(_NEEDED, answers, strict=True) if not good)
