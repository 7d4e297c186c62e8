"""From a request's credentials to a user."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from isthmus_lab.apiserver.errors import unauthorized
from isthmus_lab.apiserver.httpd import Request
from isthmus_lab.apiserver.identity import ANONYMOUS, AUTHENTICATED, User, service_account

TokenCheck = Callable[[str], User | None]


class Authenticator:
    """Static tokens first, then service account tokens."""

    def __init__(self, static: dict[str, User], check: TokenCheck) -> None:
        self._static = static
        self._check = check

    def user(self, request: Request) -> User:
        """Raises 401 for a token that is not good; no token at all is the anonymous user."""
        token = bearer_token(request)
        if token is None:
            return ANONYMOUS
        found = self.by_token(token)
        if found is None:
            raise unauthorized()
        return found

    def by_token(self, token: str) -> User | None:
        return self.static_user(token) or self._check(token)

    def static_user(self, token: str) -> User | None:
        for known, user in self._static.items():
            if hmac.compare_digest(known.encode(), token.encode()):
                return user
        return None


def impersonation(request: Request) -> tuple[str, tuple[str, ...]]:
    """Whom the request asks to be; an empty name when nobody else."""
    groups = request.headers.get("impersonate-group", "")
    return request.headers.get("impersonate-user", ""), tuple(g.strip() for g in groups.split(",") if g.strip())


def impersonated(name: str, groups: tuple[str, ...]) -> User:
    parts = name.split(":")
    if len(parts) == 4 and name.startswith("system:serviceaccount:") and not groups:
        return service_account(parts[2], parts[3])
    if name == ANONYMOUS.name:
        return ANONYMOUS
    return User(name, tuple(dict.fromkeys((*groups, AUTHENTICATED))))


_SUBPROTOCOL = "base64url.bearer.authorization.k8s.io."


def bearer_token(request: Request) -> str | None:
    """From the Authorization header, or the websocket subprotocol that browsers use. None when there is none."""
    given = request.headers.get("authorization", "")
    scheme, _, token = given.partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    for offered in request.headers.get("sec-websocket-protocol", "").split(","):
        if offered.strip().startswith(_SUBPROTOCOL):
            import base64

            raw = offered.strip().removeprefix(_SUBPROTOCOL)
            return base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)).decode(errors="replace")
    return None
