"""Paths that are no resources: discovery, version, health."""

from __future__ import annotations

from isthmus_lab.apiserver import discovery, errors
from isthmus_lab.apiserver.front import Front, document
from isthmus_lab.apiserver.httpd import Request, Response
from isthmus_lab.apiserver.objects import JsonObject, encode
from isthmus_lab.apiserver.openapi import OpenApi
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.tokens import ISSUER, Signer


class Paths:
    def __init__(self, state: State, signer: Signer) -> None:
        self._state = state
        self._signer = signer
        self._openapi = OpenApi(state.registry)

    def install(self, front: Front) -> None:
        front.route(r"/api/?", self.core)
        front.route(r"/apis/?", self.groups)
        front.route(r"/api/[^/]+/?", self.resources)
        front.route(r"/apis/[^/]+/?", self.group)
        front.route(r"/apis/[^/]+/[^/]+/?", self.resources)
        front.route(r"/openapi/v2", self.openapi_v2)
        front.route(r"/openapi/v3/?", self.openapi_index)
        front.route(r"/openapi/v3/.+", self.openapi_group)
        front.route(r"/version/?", self.version)
        front.route(r"/(healthz|livez|readyz)(/.*)?", self.health)
        front.route(r"/openid/v1/jwks", self.keys)
        front.route(r"/\.well-known/openid-configuration", self.issuer)
        front.route(r"/", self.index)

    async def core(self, request: Request) -> Response:
        return self._discovery(request, core=True)

    async def groups(self, request: Request) -> Response:
        return self._discovery(request, core=False)

    def _discovery(self, request: Request, *, core: bool) -> Response:
        registry = self._state.registry
        version = discovery.wants_aggregated(request.headers.get("accept", ""))
        if version:
            body = discovery.aggregated(registry, core=core, version=version)
            return document(request, body, discovery.aggregated_type(version))
        settings = self._state.settings
        found = discovery.core_versions(settings.advertise_network) if core else discovery.group_list(registry)
        return document(request, encode(found))

    async def group(self, request: Request) -> Response:
        return self._found(discovery.group(self._state.registry, request.path.split("/")[2]))

    async def resources(self, request: Request) -> Response:
        parts = request.path.strip("/").split("/")
        group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2])
        return self._found(discovery.resource_list(self._state.registry, group, version))

    def _found(self, found: JsonObject | None) -> Response:
        if found is None:
            raise errors.path_not_found()
        return Response(200, encode(found))

    async def openapi_v2(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        if accept and "json" not in accept and "*/*" not in accept:
            raise errors.not_acceptable(["application/json"])
        return document(request, self._openapi.v2())

    async def openapi_index(self, request: Request) -> Response:
        return document(request, self._openapi.index())

    async def openapi_group(self, request: Request) -> Response:
        parts = request.path.strip("/").split("/")[2:]
        group, version = (parts[1], parts[2]) if len(parts) == 3 else ("", parts[-1])
        body = self._openapi.group(group, version)
        if body is None:
            raise errors.path_not_found()
        return document(request, body)

    async def version(self, _request: Request) -> Response:
        return Response(200, encode(discovery.VERSION))

    async def health(self, request: Request) -> Response:
        body = b"[+]ping ok\n[+]store ok\nhealthz check passed\n" if "verbose" in request.query else b"ok"
        return Response(200, body, "text/plain; charset=utf-8")

    async def keys(self, _request: Request) -> Response:
        return Response(200, encode(self._signer.jwks()), "application/jwk-set+json")

    async def issuer(self, _request: Request) -> Response:
        """OpenID discovery: where the keys are that verify service account tokens."""
        found = {
            "issuer": ISSUER,
            "jwks_uri": f"{self._state.settings.advertise_network or ISSUER}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        return Response(200, encode(found))

    async def index(self, _request: Request) -> Response:
        paths = ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
        return Response(200, encode({"paths": paths}))
