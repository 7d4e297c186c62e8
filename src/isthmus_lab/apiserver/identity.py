"""Who makes a request."""

from __future__ import annotations

from dataclasses import dataclass, field

from isthmus_lab.apiserver.objects import JsonObject

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"


@dataclass(frozen=True, slots=True)
class User:
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def info(self) -> JsonObject:
        """The user as `UserInfo` of reviews."""
        found: JsonObject = {"username": self.name}
        if self.uid:
            found["uid"] = self.uid
        found["groups"] = list(self.groups)
        if self.extra:
            found["extra"] = {key: list(values) for key, values in self.extra.items()}
        return found


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def service_account(
    namespace: str, name: str, *, uid: str = "", extra: dict[str, tuple[str, ...]] | None = None
) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid, extra or {})
