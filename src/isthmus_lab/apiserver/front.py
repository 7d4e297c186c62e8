"""The front door: who asks, may they, which handler answers; failures become Status objects."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import structlog

from isthmus_lab.apiserver import authn, discovery, errors, rbac, requestinfo, views
from isthmus_lab.apiserver.authn import Authenticator
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.errors import ApiError
from isthmus_lab.apiserver.httpd import Answer, Request, Response
from isthmus_lab.apiserver.identity import User
from isthmus_lab.apiserver.objects import encode
from isthmus_lab.apiserver.requestinfo import RequestInfo
from isthmus_lab.apiserver.state import State

_LOG = structlog.get_logger()

CallHandler = Callable[[Call], Awaitable[Answer]]
PathHandler = Callable[[Request], Awaitable[Answer]]

# Anybody may see these: probes, the version and the keys that verify tokens need no identity.
_PUBLIC = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})


class Front:
    """Routes of one API server. `verbs` by verb, `subresources` by (storage name or *, subresource, verb)."""

    def __init__(self, state: State, authenticator: Authenticator, authorizer: rbac.Authorizer) -> None:
        self._state = state
        self._authenticator = authenticator
        self._authorizer = authorizer
        self.verbs: dict[str, CallHandler] = {}
        self.subresources: dict[tuple[str, str, str], CallHandler] = {}
        self.virtual: dict[str, CallHandler] = {}  # resources that are only answers: reviews
        self.paths: list[tuple[re.Pattern[str], PathHandler]] = []

    async def handle(self, request: Request) -> Answer:
        try:
            return await self._answer(request)
        except ApiError as error:
            return failure(error)
        except Exception as error:
            _LOG.exception("request failed", method=request.method, path=request.path)
            return failure(errors.internal(f"{type(error).__name__}: {error}"))

    async def _answer(self, request: Request) -> Answer:
        info = requestinfo.parse(request.method, request.path, watch=request.flag("watch"))
        user = self._impersonated(self._authenticator.user(request), request)
        self._authorize(user, info, requestinfo.selected_name(request.param("fieldSelector")))
        if not info.is_resource:
            return await self._path(request)
        resource = self._state.registry.find(info.group, info.version, info.plural)
        if resource is None or (info.namespace and not resource.namespaced and resource.storage != "namespaces"):
            raise errors.path_not_found()
        call = Call(
            request=request, info=info, user=user, resource=resource, version=resource.versions[info.version],
            view=views.negotiate(request.headers.get("accept", "")),
        )  # fmt: skip
        if call.version.warning:
            call.warnings.append(call.version.warning.replace('"', '\\"'))
        return await self._handler(call)(call)

    def _impersonated(self, user: User, request: Request) -> User:
        """The user that somebody with the right to do so asks to be (`kubectl --as`)."""
        name, groups = authn.impersonation(request)
        if not name:
            return user
        asks = [rbac.Attributes(verb="impersonate", resource="users", name=name)]
        asks += [rbac.Attributes(verb="impersonate", resource="groups", name=group) for group in groups]
        for ask in asks:
            if not self._authorizer.allows(user, ask):
                raise errors.forbidden("", ask.resource, ask.name, rbac.denial(user, ask))
        return authn.impersonated(name, groups)

    def _authorize(self, user: User, info: RequestInfo, selected: str) -> None:
        if not info.is_resource:
            ask = rbac.Attributes(verb=info.verb, path=info.path)
            if info.path in _PUBLIC or self._authorizer.allows(user, ask):
                return
            raise ApiError(403, "Forbidden", f"forbidden: {rbac.denial(user, ask)}", details={})
        ask = rbac.Attributes(
            verb=info.verb, group=info.group, resource=info.plural, subresource=info.subresource,
            namespace=info.namespace, name=info.name or selected,
        )  # fmt: skip
        if not self._authorizer.allows(user, ask):
            raise errors.forbidden(info.group, info.plural, info.name, rbac.denial(user, ask))

    def _handler(self, call: Call) -> CallHandler:
        info, resource = call.info, call.resource
        if info.subresource:
            for owner in (resource.storage, "*"):
                found = self.subresources.get((owner, info.subresource, info.verb))
                if found is not None:
                    return found
            raise errors.path_not_found()
        if info.verb == "create" and resource.storage in self.virtual:
            return self.virtual[resource.storage]
        found = self.verbs.get(info.verb)
        if found is None or info.verb not in resource.verbs:
            raise errors.method_not_allowed()
        if (info.verb == "create" and info.name) or (info.verb in ("update", "patch") and not info.name):
            raise errors.method_not_allowed()
        return found

    async def _path(self, request: Request) -> Answer:
        for pattern, handler in self.paths:
            if pattern.fullmatch(request.path):
                if request.method not in ("GET", "HEAD"):
                    raise errors.method_not_allowed()
                return await handler(request)
        raise errors.path_not_found()

    def route(self, pattern: str, handler: PathHandler) -> None:
        self.paths.append((re.compile(pattern), handler))


def failure(error: ApiError) -> Response:
    return Response(error.code, encode(error.status()), headers=list(error.headers.items()))


def document(request: Request, body: bytes, content_type: str = "application/json") -> Response:
    """An answer that clients may cache by its ETag."""
    tag = f'"{discovery.etag(body)}"'
    headers = [("etag", tag), ("vary", "Accept"), ("cache-control", "public")]
    if request.headers.get("if-none-match") == tag:
        return Response(304, b"", content_type, headers)
    return Response(200, body, content_type, headers)
