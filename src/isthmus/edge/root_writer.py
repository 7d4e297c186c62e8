"""Puts roots where clients of one cluster look: every namespace's ConfigMap (TR3) and the webhook's caBundle."""

import base64
from typing import Any

import structlog

from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.install.values import ROOT_CONFIG_MAP
from isthmus.kube.requests import CONFIG_MAPS, NAMESPACES, Resource, Scope

log = structlog.get_logger()

ROOT_KEY = "root-cert.pem"
CONFIG_LABEL = "istio.io/config"
MANAGER = "isthmus"
WEBHOOKS = Resource("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", namespaced=False)


async def write_roots(client: KubeClient, roots: str) -> None:
    """Every namespace has these roots in its ConfigMap; what is right already is not touched. Raises IsthmusError."""
    scope = Scope(field_selector=f"metadata.name={ROOT_CONFIG_MAP}")
    have = {
        item["metadata"]["namespace"]: (item.get("data") or {}).get(ROOT_KEY)
        for item in await client.list(CONFIG_MAPS, scope)
    }
    for namespace in await client.list(NAMESPACES):
        name = namespace["metadata"]["name"]
        active = (namespace.get("status") or {}).get("phase", "Active") == "Active"
        if active and have.get(name) != roots:
            await _write(client, name, roots)


async def _write(client: KubeClient, namespace: str, roots: str) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": ROOT_CONFIG_MAP, "namespace": namespace, "labels": {CONFIG_LABEL: "true"}},
        "data": {ROOT_KEY: roots},
    }
    try:
        await client.apply(CONFIG_MAPS, body, manager=MANAGER)
    except KubeError as error:
        # A namespace may go away, or be one that nobody may write to: the others still get theirs.
        if error.status not in (403, 404, 409):
            raise
        log.warning("roots not written", namespace=namespace, error=str(error))


async def trust_webhook(client: KubeClient, name: str, roots: str) -> None:
    """The API server must trust our webhook: its caBundle is our root bundle. Raises IsthmusError."""
    bundle = base64.b64encode(roots.encode()).decode()
    found = await client.find(WEBHOOKS, "", name)
    if found is None:
        return
    hooks: list[dict[str, Any]] = found.get("webhooks") or []
    patch = [
        {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle}
        for index, hook in enumerate(hooks)
        if (hook.get("clientConfig") or {}).get("caBundle") != bundle
    ]
    if patch:
        await client.patch(WEBHOOKS, patch, namespace="", name=name, content_type="application/json-patch+json")
        log.info("webhook trusts us", webhook=name)
