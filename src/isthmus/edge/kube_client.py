"""A client of one API server, over HTTP/1.1 and websockets. It decides nothing: requests are built by `kube`."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore
import httpx

from isthmus.base.errors import ExitCode, IsthmusError, UnreachableError
from isthmus.edge.http_transport import ERRORS, TIMEOUTS, LoopTransport
from isthmus.edge.kube_access import Credentials, ssl_context
from isthmus.kube.kubeconfig import Access
from isthmus.kube.lines import decode_status
from isthmus.kube.requests import (
    MERGE_PATCH,
    TOKEN_REVIEWS,
    Request,
    Resource,
    Scope,
    apply_request,
    create_request,
    delete_request,
    get_request,
    list_request,
    patch_request,
    replace_request,
)

Json = dict[str, Any]

_PAGE = 500
_REMEDIES = {
    401: "The credentials are not accepted (any more): create the remote secret, or log in, again",
    403: "Give the account the missing right",
    404: "Check the name, the namespace, and that the kind is installed",
    409: "Read the object again and repeat",
}


class KubeError(IsthmusError):
    """The API server answered with an error. `status` is the HTTP code, `reason` its word for it."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message or f"the API server answered {status} {reason}".strip(), _REMEDIES.get(status, ""))
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        if status in (401, 403) or status >= 500:
            self.exit_code = ExitCode.UNREACHABLE


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Times in seconds: to connect, and to hear the next bytes of an answer (not of a watch)."""

    connect_timeout: float = 5.0
    read_timeout: float = 15.0
    user_agent: str = "isthmus"


class KubeClient:
    """Asks one API server. Made by `connect`; to be closed.

    Every call raises KubeError when the server refuses, UnreachableError when it cannot be asked.
    """

    def __init__(self, access: Access, context: ssl.SSLContext | None, options: ClientOptions) -> None:
        self.access = access
        self.context = context
        self.options = options
        self.credentials = Credentials(access, asyncio.get_running_loop().time)
        self._http = httpx.AsyncClient(
            transport=LoopTransport(context, idle=60.0, proxy_url=access.proxy_url),
            # Without compression: unpacking costs more than the bytes, and watch lines must not wait in a buffer.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": options.user_agent},
            timeout=httpx.Timeout(options.read_timeout, connect=options.connect_timeout, pool=None),
            trust_env=False,
        )

    @classmethod
    async def connect(cls, access: Access, options: ClientOptions | None = None) -> "KubeClient":
        """A client for the access; nothing is asked yet. Raises IsthmusError for unusable certificates."""
        context = await asyncio.to_thread(ssl_context, access)
        return cls(access, context, options or ClientOptions())

    async def __aenter__(self) -> "KubeClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def server(self) -> str:
        """The address that is asked."""
        return self.access.server

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def call(self, request: Request) -> bytes:
        """The body of the answer."""
        for last in (False, True):
            try:
                response = await self._http.send(await self._build(request))
            except ERRORS as error:
                raise self._unreachable(error) from error
            if response.status_code == 401 and not last and self.credentials.refused():
                continue
            break
        if response.status_code >= 400:
            raise _error(response)
        return response.content

    async def json(self, request: Request) -> Json:
        """The answer as plain data."""
        body = await self.call(request)
        try:
            found = json.loads(body)
        except ValueError as error:
            message = f"{self.server} answered {request.path} with something that is no JSON"
            raise UnreachableError(message, "Check that the address is an API server's") from error
        return found if isinstance(found, dict) else {}

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of the answer as it comes, in pieces: they may be long in coming, the head of the answer may not."""
        built = await self._build(request, read_timeout=None)
        try:
            async with asyncio.timeout(self.options.connect_timeout + self.options.read_timeout):
                response = await self._http.send(built, stream=True)
        except ERRORS as error:
            raise self._unreachable(error) from error
        except TimeoutError as error:
            raise UnreachableError(f"{self.server}: no answer in time", _reach_remedy(self.server)) from error
        try:
            if response.status_code >= 400:
                await response.aread()
                if response.status_code == 401:
                    self.credentials.refused()
                raise _error(response)
            yield self._pieces(response)
        finally:
            await response.aclose()

    async def _pieces(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for piece in response.aiter_raw():
                yield piece
        except ERRORS as error:
            raise self._unreachable(error) from error

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """One object."""
        return await self.json(get_request(resource, namespace, name))

    async def find(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """One object; None if it does not exist."""
        try:
            return await self.get(resource, namespace, name)
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    async def list(self, resource: Resource, scope: Scope | None = None) -> list[Json]:
        """All objects of a collection, page by page."""
        found: list[Json] = []
        continued = ""
        while True:
            page = await self.json(list_request(resource, scope or Scope(), limit=_PAGE, continued=continued))
            found += page.get("items") or []
            continued = (page.get("metadata") or {}).get("continue") or ""
            if not continued:
                return found

    async def create(self, resource: Resource, body: Json, *, namespace: str = "") -> Json:
        """Create an object."""
        return await self.json(create_request(resource, body, namespace=namespace))

    async def replace(self, resource: Resource, body: Json, *, namespace: str, name: str) -> Json:
        """Replace an object; with a resourceVersion only if nobody else changed it."""
        return await self.json(replace_request(resource, body, namespace=namespace, name=name))

    async def patch(
        self, resource: Resource, body: object, *, namespace: str, name: str, content_type: str = MERGE_PATCH
    ) -> Json:
        """Patch an object."""
        return await self.json(patch_request(resource, body, namespace=namespace, name=name, content_type=content_type))

    async def patch_status(self, resource: Resource, body: object, *, namespace: str, name: str) -> Json:
        """Merge into an object's status."""
        return await self.json(patch_request(resource, body, namespace=namespace, name=name, subresource="status"))

    async def apply(self, resource: Resource, body: Json, *, manager: str, force: bool = True) -> Json:
        """Server-side apply; namespace and name are the object's own."""
        meta = body["metadata"]
        return await self.json(
            apply_request(
                resource, body, namespace=meta.get("namespace", ""), name=meta["name"], manager=manager, force=force
            )
        )

    async def delete(self, resource: Resource, namespace: str, name: str, *, version: str = "") -> None:
        """Delete an object, if given only in that resourceVersion; one that is not there is as good as deleted."""
        try:
            await self.call(delete_request(resource, namespace, name, version=version))
        except KubeError as error:
            if error.status != 404:
                raise

    async def review_token(self, token: str, audience: str) -> Mapping[str, Any]:
        """The `status` of a TokenReview: whom the token stands for, in this cluster's eyes."""
        spec = {"token": token, "audiences": [audience]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        answer = await self.json(create_request(TOKEN_REVIEWS, body))
        status = answer.get("status")
        return status if isinstance(status, dict) else {}

    async def signing_keys(self) -> Json:
        """The key set that verifies the cluster's service account tokens."""
        return await self.json(Request("GET", "/openid/v1/jwks"))

    async def version(self) -> tuple[str, float | None]:
        """The server's version, and its clock in seconds since the epoch if it tells the time."""
        try:
            response = await self._http.send(await self._build(Request("GET", "/version")))
        except ERRORS as error:
            raise self._unreachable(error) from error
        if response.status_code >= 400:
            raise _error(response)
        told = response.headers.get("Date", "")
        try:
            clock = parsedate_to_datetime(told).timestamp() if told else None
        except ValueError:
            clock = None
        return str(response.json().get("gitVersion") or ""), clock

    async def probe(self, *, within: float) -> None:
        """Ask for the version: the cheapest question that shows address, trust and token to be right."""
        try:
            async with asyncio.timeout(within):
                await self.call(Request("GET", "/version"))
        except TimeoutError as error:
            raise UnreachableError(f"{self.server} does not answer", _reach_remedy(self.server)) from error

    async def _build(self, request: Request, *, read_timeout: float | None = -1.0) -> httpx.Request:
        headers = await self.credentials.headers()
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        options = self.options
        read = options.read_timeout if read_timeout == -1.0 else read_timeout
        extensions: dict[str, Any] = {"timeout": {"connect": options.connect_timeout, "read": read, "write": 15.0}}
        if self.access.tls_server_name:
            extensions["sni_hostname"] = self.access.tls_server_name
        return self._http.build_request(
            request.method,
            self.access.server + request.path,
            params=list(request.query) or None,
            content=request.body,
            headers=headers,
            extensions=extensions,
        )

    def _unreachable(self, error: Exception) -> UnreachableError:
        return UnreachableError(f"{self.server}: {_reason(error)}", _reach_remedy(self.server))


def _reach_remedy(server: str) -> str:
    return f"Check that {server} is the right address and reachable from here"


def _reason(error: Exception) -> str:
    """What is wrong, in few words: the libraries wrap the cause, sometimes with an empty message."""
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    if isinstance(error, httpcore.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, TIMEOUTS):
        return "no answer in time"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message})"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno).lower()
    if isinstance(error, httpcore.RemoteProtocolError):
        return "the connection broke"
    return str(error) or str(cause) or type(error).__name__


def _error(response: httpx.Response) -> KubeError:
    status = decode_status(response.content)
    reason = status.reason or response.reason_phrase
    header = response.headers.get("Retry-After", "")
    wait = float(header) if header.isdigit() else float(status.details.retry_after_seconds if status.details else 0)
    return KubeError(response.status_code, reason, status.message, retry_after=wait)
