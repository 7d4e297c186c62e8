"""Resources that are only answers: token and access reviews, and token requests."""

from __future__ import annotations

from isthmus_lab.apiserver import decoding, errors, rbac, tokens, validation
from isthmus_lab.apiserver.authn import Authenticator
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.errors import Cause, invalid_value
from isthmus_lab.apiserver.front import Front
from isthmus_lab.apiserver.httpd import Response
from isthmus_lab.apiserver.identity import User
from isthmus_lab.apiserver.objects import JsonObject, encode, items, lookup, section, timestamp
from isthmus_lab.apiserver.reading import Reader, respond
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.store import Entry
from isthmus_lab.apiserver.tokens import Grant, TokenAuthority, TokenError

_AUTHORIZATION, _AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
_LEAST_SECONDS, _MOST_SECONDS = 600, 1 << 32
_BINDABLE = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


class Reviews:
    def __init__(
        self, state: State, reader: Reader, *, authenticator: Authenticator, authorizer: rbac.Authorizer,
        authority: TokenAuthority,
    ) -> None:  # fmt: skip
        self._state = state
        self._reader = reader
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._authority = authority

    def install(self, front: Front) -> None:
        front.virtual |= {
            f"tokenreviews.{_AUTHENTICATION}": self.token_review,
            f"selfsubjectreviews.{_AUTHENTICATION}": self.self_review,
            f"subjectaccessreviews.{_AUTHORIZATION}": self.access_review,
            f"localsubjectaccessreviews.{_AUTHORIZATION}": self.access_review,
            f"selfsubjectaccessreviews.{_AUTHORIZATION}": self.self_access_review,
            f"selfsubjectrulesreviews.{_AUTHORIZATION}": self.rules_review,
        }
        front.subresources["serviceaccounts", "token", "create"] = self.token_request

    def _body(self, call: Call) -> JsonObject:
        obj = decoding.decode_object(call)
        causes = validation.schema_causes(obj, call.version.schema)
        if causes:
            raise errors.invalid(call.resource.group, call.resource.kind, "", causes)
        return obj

    def _answer(self, call: Call, obj: JsonObject, status: JsonObject) -> Response:
        obj["status"] = status
        obj.setdefault("metadata", {}).setdefault("creationTimestamp", None)
        return respond(call, 201, encode(obj))

    # --- who is it

    async def token_review(self, call: Call) -> Response:
        obj = self._body(call)
        spec = obj["spec"]
        return self._answer(call, obj, self._review(str(spec.get("token") or ""), items(spec, "audiences")))

    def _review(self, token: str, wanted: list[str]) -> JsonObject:
        user = self._authenticator.static_user(token)
        if user is not None:
            return {"authenticated": True, "user": user.info(), "audiences": list(wanted or tokens.API_AUDIENCES)}
        try:
            verified = self._authority.verify(token, self._state.clock())
        except TokenError as error:
            return {"user": {}, "error": f"invalid bearer token: {error}"}
        common = [audience for audience in (wanted or tokens.API_AUDIENCES) if audience in verified.audiences]
        if not common:
            why = f"token audiences {list(verified.audiences)} is invalid for the target audiences {list(wanted)}"
            return {"user": {}, "error": f"invalid bearer token: {why}"}
        return {"authenticated": True, "user": verified.user.info(), "audiences": common}

    async def self_review(self, call: Call) -> Response:
        return self._answer(call, self._body(call), {"userInfo": call.user.info()})

    # --- may they

    async def access_review(self, call: Call) -> Response:
        obj = self._body(call)
        spec = obj["spec"]
        if not spec.get("user") and not spec.get("groups"):
            cause = invalid_value("spec.user", "", "at least one of user or group must be specified")
            raise errors.invalid(call.resource.group, call.resource.kind, "", [cause])
        user = User(str(spec.get("user") or ""), tuple(items(spec, "groups")), str(spec.get("uid") or ""))
        return self._answer(call, obj, self._decision(call, user, spec))

    async def self_access_review(self, call: Call) -> Response:
        obj = self._body(call)
        return self._answer(call, obj, self._decision(call, call.user, obj["spec"]))

    def _decision(self, call: Call, user: User, spec: JsonObject) -> JsonObject:
        resource, path = section(spec, "resourceAttributes"), section(spec, "nonResourceAttributes")
        if bool(resource) == bool(path):
            detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            raise errors.invalid(
                call.resource.group, call.resource.kind, "", [invalid_value("spec.resourceAttributes", "", detail)]
            )
        allowed = self._authorizer.allows(user, _attributes(resource, path))
        return {"allowed": allowed, "reason": "RBAC: allowed by a role binding"} if allowed else {"allowed": False}

    async def rules_review(self, call: Call) -> Response:
        obj = self._body(call)
        resources, paths = [], []
        masters = rbac.everything(call.user)
        for rule in masters or self._authorizer.rules(call.user, str(obj["spec"].get("namespace") or "")):
            if items(rule, "nonResourceURLs"):
                paths.append({"verbs": items(rule, "verbs"), "nonResourceURLs": items(rule, "nonResourceURLs")})
            else:
                fields = ("verbs", "apiGroups", "resources", "resourceNames")
                resources.append({field: items(rule, field) for field in fields if items(rule, field)})
        status = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
        return self._answer(call, obj, status)

    # --- give me a token

    async def token_request(self, call: Call) -> Response:
        account = self._reader.entry(call)
        obj = decoding.decode_as(call, "TokenRequest", f"{_AUTHENTICATION}/v1")
        spec = obj["spec"]
        seconds = int(spec.get("expirationSeconds") or 3600)
        self._check_seconds(seconds)
        audiences = items(spec, "audiences") or [tokens.ISSUER]
        grant = self._grant(account, section(spec, "boundObjectRef"), tuple(audiences), seconds)
        now = self._state.clock()
        token = self._authority.issue(grant, now, self._state.new_uid())
        obj["spec"] |= {"audiences": list(audiences), "expirationSeconds": seconds}
        obj["metadata"] = {
            "name": account.name,
            "namespace": account.namespace,
            "creationTimestamp": timestamp(now),
        }
        return self._answer(call, obj, {"token": token, "expirationTimestamp": timestamp(now + seconds)})

    def _check_seconds(self, seconds: int) -> None:
        why = ""
        if seconds < _LEAST_SECONDS:
            why = "may not specify a duration less than 10 minutes"
        elif seconds > _MOST_SECONDS:
            why = "may not specify a duration larger than 2^32 seconds"
        if why:
            cause = Cause("spec.expirationSeconds", "FieldValueInvalid", f"Invalid value: {seconds}: {why}")
            raise errors.invalid(_AUTHENTICATION, "TokenRequest", "", [cause])

    def _grant(self, account: Entry, ref: JsonObject, audiences: tuple[str, ...], seconds: int) -> Grant:
        if not ref:
            return Grant(account=account, audiences=audiences, seconds=seconds)
        storage = _BINDABLE.get(str(ref.get("kind")))
        if storage is None:
            raise errors.bad_request(f"cannot bind token to object of kind {ref.get('kind')!r}")
        namespace = "" if storage == "nodes" else account.namespace
        entry = self._state.store.get(storage, namespace, str(ref.get("name")))
        if entry is None:
            raise errors.not_found("", storage, str(ref.get("name")))
        if ref.get("uid") and ref["uid"] != entry.uid:
            why = f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record ({entry.uid})"
            raise errors.conflict("", storage, entry.name, why)
        if storage == "nodes":
            return Grant(account=account, audiences=audiences, seconds=seconds, node=entry)
        node = None
        if storage == "pods":
            named = lookup(entry.obj, "spec", "serviceAccountName", default="default")
            if named != account.name:
                why = f'cannot bind token for serviceaccount "{account.name}" to pod running with different '
                raise errors.bad_request(why + "serviceaccount name")
            node = self._state.store.get("nodes", "", str(lookup(entry.obj, "spec", "nodeName", default="")))
        kind = str(ref["kind"]).lower()
        return Grant(account=account, audiences=audiences, seconds=seconds, bound=(kind, entry), node=node)


def _attributes(resource: JsonObject, path: JsonObject) -> rbac.Attributes:
    if path:
        return rbac.Attributes(verb=str(path.get("verb", "")), path=str(path.get("path", "")))
    return rbac.Attributes(
        verb=str(resource.get("verb", "")),
        group=str(resource.get("group") or ""),
        resource=str(resource.get("resource") or ""),
        subresource=str(resource.get("subresource") or ""),
        namespace=str(resource.get("namespace") or ""),
        name=str(resource.get("name") or ""),
    )
