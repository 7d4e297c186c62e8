"""HTTPRoutes and GRPCRoutes (`gateway.networking.k8s.io`) whose parents are Services: how calls of these are routed.

Each parent gets what a VirtualService for its host says: the rules are put into its words and read like one, so that
nothing gets into a route that Envoy would refuse. Several for one service are joined: `ranks` say in which order.
A route in another namespace than the service is for clients of its own namespace only.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from isthmus.base.names import service_hostname
from isthmus.ingest.finding import Reader, Result
from isthmus.ingest.http_route import http_routes
from isthmus.ingest.place import Place
from isthmus.ingest.route_parts import Parts
from isthmus.kube import objects
from isthmus.model.routing import GRPC_ROUTE, HTTP_ROUTE, VirtualService

Json = dict[str, Any]

_RULE = ("name", "matches", "filters", "backendRefs", "timeouts", "retry")
_EXACT, _PREFIX, _REGEX = "Exact", "PathPrefix", "RegularExpression"
_ANY = "[^/]+"
_CODE = 302
"""Of a redirect that names none."""


def mesh_route(place: Place, obj: objects.Custom) -> Result:
    """A row for each parent that is a Service; parents that are Gateways are for others to read."""
    return _rows(Reader(place.cluster, "HTTPRoute", obj), place, obj, HTTP_ROUTE)


def mesh_grpc_route(place: Place, obj: objects.Custom) -> Result:
    """The same of a GRPCRoute, whose methods are paths."""
    return _rows(Reader(place.cluster, "GRPCRoute", obj), place, obj, GRPC_ROUTE)


def _rows(read: Reader, place: Place, obj: objects.Custom, kind: str) -> Result:
    spec = read.mapping(obj.spec, "spec")
    parents = list(_parents(read, spec.get("parentRefs")))
    if not parents and not read.is_refused():
        return (), ()
    namespace = obj.metadata.namespace
    rules = [
        one
        for i, item in enumerate(read.items(spec.get("rules"), "spec.rules"))
        for one in _RULES[kind](read, place, namespace, f"spec.rules[{i}]").routes(item)
    ]
    ordered = sorted(rules, key=lambda one: one[0])
    rows = []
    for i, (where, name, port) in enumerate(parents):
        found = [_at_port(route, port) for _, route in ordered]
        rows.append(
            VirtualService(
                cluster=place.cluster,
                namespace=namespace,
                name=f"{obj.metadata.name}~{kind}~{i}",
                hosts=(service_hostname(name, where, place.domain),),
                http=http_routes(Parts(read, place, namespace), found),
                ranks=tuple(order for order, _ in ordered),
                export_to=() if where == namespace else (namespace,),
                created=obj.metadata.creation_timestamp or "",
                kind=kind,
            )
        )
    return read.result(*rows)


def _parents(read: Reader, value: Any) -> Iterator[tuple[str, str, int]]:
    """(namespace, name, port or 0) of each Service; port 0 is all of them."""
    for i, item in enumerate(read.items(value, "spec.parentRefs")):
        field = f"spec.parentRefs[{i}]"
        part = read.mapping(item, field)
        if part.get("kind") != "Service" or part.get("group", "gateway.networking.k8s.io") not in ("", "core"):
            continue
        name = read.text(part.get("name"), f"{field}.name")
        where = read.text(part.get("namespace"), f"{field}.namespace") or read.where.namespace
        if name:
            yield where, name, read.port(part.get("port"), f"{field}.port")
        else:
            read.error(f"{field}.name", "is missing", "Name a Service")


def _at_port(route: Json, port: int) -> Json:
    return {**route, "match": [{**match, "port": port} for match in route["match"]]} if port else route


class _Rule:
    """Puts one rule into the words of a VirtualService."""

    def __init__(self, read: Reader, place: Place, namespace: str, field: str) -> None:
        self.read = read
        self.place = place
        self.namespace = namespace
        self.field = field

    def routes(self, value: Any) -> Iterator[tuple[tuple[int, ...], Json]]:
        """A route for each match, with what it is sorted by: the most specific one goes first (GEP-1722)."""
        read, field = self.read, self.field
        rule = read.mapping(value, field)
        read.set_aside(rule, field, _RULE)
        found = read.items(rule.get("matches"), f"{field}.matches") or [{}]
        for i, item in enumerate(found):
            match = read.mapping(item, f"{field}.matches[{i}]")
            for path, rank in self._paths(match, f"{field}.matches[{i}]"):
                words = {**path, **self._rest(match, f"{field}.matches[{i}]")}
                headers, query = words.get("headers", {}), words.get("queryParams", {})
                order = (*rank, 0 if "method" in words else 1, -len(headers), -len(query))
                yield order, {**self._outcome(rule, _prefix(match)), "match": [words]}

    def _paths(self, match: Mapping[str, Any], field: str) -> Iterator[tuple[Json, tuple[int, int]]]:
        """The matches of a path. A prefix ends at a slash: two matches of a VirtualService."""
        read, field = self.read, f"{field}.path"
        part = read.mapping(match.get("path"), field)
        kind = read.choice(part.get("type"), f"{field}.type", (_EXACT, _PREFIX, _REGEX)) or _PREFIX
        text = read.text(part.get("value"), f"{field}.value") or "/"
        size = -len(text)
        if kind == _EXACT:
            yield {"uri": {"exact": text}}, (0, size)
        elif kind == _REGEX:
            yield {"uri": {"regex": text}}, (1, size)
        elif text == "/":
            yield {"uri": {"prefix": "/"}}, (2, -1)
        else:
            yield {"uri": {"exact": text.rstrip("/")}}, (2, size)
            yield {"uri": {"prefix": f"{text.rstrip('/')}/"}}, (2, size)

    def _rest(self, match: Mapping[str, Any], field: str) -> Json:
        self.read.set_aside(match, field, ("path", "method", "headers", "queryParams"))
        made: Json = {}
        if match.get("method"):
            made["method"] = {"exact": match["method"]}
        for key in ("headers", "queryParams"):
            named = {}
            for i, item in enumerate(self.read.items(match.get(key), f"{field}.{key}")):
                part = self.read.mapping(item, f"{field}.{key}[{i}]")
                kind = "regex" if part.get("type") == _REGEX else "exact"
                named[str(part.get("name", ""))] = {kind: part.get("value", "")}
            if named:
                made[key] = named
        return made

    # -- outcomes -------------------------------------------------------------------------------------------------

    def _outcome(self, rule: Mapping[str, Any], prefix: str) -> Json:
        read, field = self.read, self.field
        made: Json = {"name": rule["name"]} if rule.get("name") else {}
        for i, item in enumerate(read.items(rule.get("filters"), f"{field}.filters")):
            made |= self._filter(made, read.mapping(item, f"{field}.filters[{i}]"), f"{field}.filters[{i}]", prefix)
        if "redirect" in made:
            return made
        backends = self._backends(rule.get("backendRefs"))
        if not any(one["weight"] for one in backends):
            return {"directResponse": {"status": 500}} | ({"name": made["name"]} if "name" in made else {})
        made["route"] = backends
        timeouts = read.mapping(rule.get("timeouts"), f"{field}.timeouts")
        if timeouts.get("request"):
            made["timeout"] = timeouts["request"]
        retry = read.mapping(rule.get("retry"), f"{field}.retry")
        if retry or timeouts.get("backendRequest"):
            made["retries"] = self._retries(retry, timeouts)
        return made

    def _retries(self, retry: Mapping[str, Any], timeouts: Mapping[str, Any]) -> Json:
        codes = ",".join(str(code) for code in self.read.items(retry.get("codes"), f"{self.field}.retry.codes"))
        made: Json = {"attempts": retry.get("attempts", 2)}
        if codes:
            made["retryOn"] = codes
        if timeouts.get("backendRequest"):
            made["perTryTimeout"] = timeouts["backendRequest"]
        return made

    def _backends(self, value: Any) -> list[Json]:
        read, made = self.read, []
        for i, item in enumerate(read.items(value, f"{self.field}.backendRefs")):
            field = f"{self.field}.backendRefs[{i}]"
            part = read.mapping(item, field)
            if part.get("kind", "Service") != "Service" or part.get("group", "") not in ("", "core"):
                read.error(f"{field}.kind", f"{part.get('kind')!r} is no backend here", "Name a Service")
            where = read.text(part.get("namespace"), f"{field}.namespace") or self.namespace
            if where != self.namespace:
                read.error(f"{field}.namespace", "is another namespace", "Route to Services beside the HTTPRoute")
            name = read.text(part.get("name"), f"{field}.name")
            destination: Json = {"host": service_hostname(name, where, self.place.domain) if name else ""}
            if part.get("port"):
                destination["port"] = {"number": part["port"]}
            one: Json = {"destination": destination, "weight": part.get("weight", 1)}
            for k, found in enumerate(read.items(part.get("filters"), f"{field}.filters")):
                at = f"{field}.filters[{k}]"
                one |= self._filter(one, read.mapping(found, at), at, "/")
            made.append(one)
        return made

    def _filter(self, made: Json, part: Mapping[str, Any], field: str, prefix: str) -> Json:
        """What one filter adds; `prefix` is what the match's path begins with."""
        read, kind = self.read, part.get("type")
        match kind:
            case "RequestHeaderModifier" | "ResponseHeaderModifier":
                side = "request" if kind.startswith("Request") else "response"
                words = read.mapping(part.get(kind[0].lower() + kind[1:]), field)
                return {"headers": {**made.get("headers", {}), side: self._changes(words, field)}}
            case "RequestRedirect":
                return {"redirect": self._redirect(read.mapping(part.get("requestRedirect"), field), field)}
            case "URLRewrite":
                return {"rewrite": self._rewrite(read.mapping(part.get("urlRewrite"), field), field, prefix)}
            case "RequestMirror":
                words = read.mapping(part.get("requestMirror"), field)
                (mirror,) = self._backends([words.get("backendRef")])
                share = {"percentage": {"value": words["percent"]}} if "percent" in words else {}
                return {"mirrors": [*made.get("mirrors", []), {"destination": mirror["destination"], **share}]}
            case _:
                read.error(f"{field}.type", f"{kind!r} is not supported", "Leave the filter out")
                return {}

    def _changes(self, words: Mapping[str, Any], field: str) -> Json:
        made: Json = {}
        for key in ("set", "add"):
            items = [
                self.read.mapping(item, f"{field}.{key}") for item in self.read.items(words.get(key), f"{field}.{key}")
            ]
            if items:
                made[key] = {str(item.get("name", "")): str(item.get("value", "")) for item in items}
        if words.get("remove"):
            made["remove"] = words["remove"]
        return made

    def _redirect(self, words: Mapping[str, Any], field: str) -> Json:
        made: Json = {"redirectCode": words.get("statusCode", _CODE)}
        made |= {key: words[name] for name, key in (("scheme", "scheme"), ("port", "port")) if words.get(name)}
        if words.get("hostname"):
            made["authority"] = words["hostname"]
        path = self.read.mapping(words.get("path"), f"{field}.path")
        if path.get("type") == "ReplaceFullPath":
            made["uri"] = path.get("replaceFullPath", "/")
        elif path:
            self.read.error(f"{field}.path.type", "is not supported", "Use ReplaceFullPath")
        return made

    def _rewrite(self, words: Mapping[str, Any], field: str, prefix: str) -> Json:
        made: Json = {"authority": words["hostname"]} if words.get("hostname") else {}
        path = self.read.mapping(words.get("path"), f"{field}.path")
        if path.get("type") == "ReplaceFullPath":
            made["uriRegexRewrite"] = {"match": "^/[^?]*", "rewrite": path.get("replaceFullPath", "/")}
        elif path.get("type") == "ReplacePrefixMatch":
            text = self.read.text(path.get("replacePrefixMatch"), f"{field}.path.replacePrefixMatch") or "/"
            whole = text.endswith("/")
            made["uriRegexRewrite"] = {"match": f"^{re.escape(prefix)}{'/?' if whole else ''}", "rewrite": text}
        return made


class _GrpcRule(_Rule):
    """The same of a rule for calls of methods."""

    def _paths(self, match: Mapping[str, Any], field: str) -> Iterator[tuple[Json, tuple[int, int]]]:
        """The path of a method is `/<service>/<method>`; the longer name of a service goes first, then of a method."""
        read, field = self.read, f"{field}.method"
        part = read.mapping(match.get("method"), field)
        kind = read.choice(part.get("type"), f"{field}.type", (_EXACT, _REGEX)) or _EXACT
        service = read.text(part.get("service"), f"{field}.service")
        method = read.text(part.get("method"), f"{field}.method")
        rank = (-len(service), -len(method))
        if not service and not method:
            yield {"uri": {"prefix": "/"}}, rank
        elif kind == _REGEX:
            yield {"uri": {"regex": f"/(?:{service or _ANY})/(?:{method or _ANY})"}}, rank
        elif not service:
            yield {"uri": {"regex": f"/{_ANY}/{re.escape(method)}"}}, rank
        else:
            yield {"uri": {"exact": f"/{service}/{method}"} if method else {"prefix": f"/{service}/"}}, rank

    def _rest(self, match: Mapping[str, Any], field: str) -> Json:
        return super()._rest({key: value for key, value in match.items() if key != "method"}, field)


_RULES = {HTTP_ROUTE: _Rule, GRPC_ROUTE: _GrpcRule}


def _prefix(match: Mapping[str, Any]) -> str:
    """What the path of a match begins with, without a slash at its end."""
    path = match.get("path")
    text = path.get("value", "/") if isinstance(path, dict) else "/"
    return str(text).rstrip("/")
