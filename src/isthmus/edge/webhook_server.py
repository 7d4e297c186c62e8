"""The admission webhook (15017): the API server sends a pod, we answer with the sidecar as a patch.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from isthmus.base.errors import IsthmusError
from isthmus.install.webhook import COLON, SLASH

log = structlog.get_logger()

Manifest = dict[str, Any]
Inject = Callable[[Manifest, Manifest, Mapping[str, str]], list[Manifest]]
"""(pod, admission request, environment out of the path) -> JSON patch. Raises IsthmusError with what to change."""

MAX_BODY = 4 * 1024 * 1024
PATH_ENVIRONMENT = {
    "cluster": "ISTIO_META_CLUSTER_ID",
    "net": "ISTIO_META_NETWORK",
    "discovery": "PILOT_ADDRESS",
}


def path_environment(path: str) -> dict[str, str]:
    """Proxy environment out of `<k>/<v>/<k>/<v>` behind /inject/ (PR2). A key without value is left out.

    A key that is there several times is a list, in this order: `discovery/<host>` are control planes, best first.
    """
    words = [word.replace(SLASH, "/").replace(COLON, ":") for word in path.split("/") if word]
    found: dict[str, str] = {}
    for key, value in zip(words[::2], words[1::2], strict=False):
        name = PATH_ENVIRONMENT.get(key, key.upper())
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def webhook_app(inject: Inject, *, ready: Callable[[], str]) -> Starlette:
    """The application. A pod that cannot be injected is refused with the reason, not let through without sidecar.

    `ready` is empty, or says what is waited for: kubelets probe this port, for the other HTTP port is on loopback.
    """

    async def review(request: Request) -> Response:
        body = await _read(request)
        if body is None:
            return Response("the review is too large\n", status_code=413)
        try:
            asked = msgspec.json.decode(body)["request"]
            uid, pod = asked["uid"], asked["object"]
        except (msgspec.DecodeError, KeyError, TypeError):
            return Response("an AdmissionReview with a request is expected\n", status_code=400)
        environment = path_environment(request.path_params.get("rest", ""))
        answer = await run_in_threadpool(_judge, inject, pod, asked, environment)
        data = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": uid, **answer}}
        return Response(msgspec.json.encode(data), media_type="application/json")

    async def readiness(_: Request) -> Response:
        waiting = ready()
        return Response(f"{waiting or 'ready'}\n", status_code=503 if waiting else 200)

    return Starlette(
        routes=[
            Route("/ready", readiness),
            Route("/inject", review, methods=["POST"]),
            Route("/inject/{rest:path}", review, methods=["POST"]),
        ]
    )


async def _read(request: Request) -> bytes | None:
    """The body, None if it is too large. Whoever reaches the port may send one: no more of it is kept than is read."""
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > MAX_BODY:
            return None
    return bytes(found)


def _judge(inject: Inject, pod: Manifest, asked: Manifest, environment: Mapping[str, str]) -> Manifest:
    namespace = asked.get("namespace", "")
    meta = pod.get("metadata") or {}
    name = meta.get("name") or meta.get("generateName", "")
    try:
        patch = inject(pod, asked, environment)
    except IsthmusError as error:
        log.warning("pod refused", namespace=namespace, pod=name, reason=str(error))
        return {"allowed": False, "status": {"code": 422, "reason": "Invalid", "message": str(error)}}
    if not patch:
        return {"allowed": True}
    log.info("pod injected", namespace=namespace, pod=name)
    return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(msgspec.json.encode(patch)).decode()}
