"""The part of kubectl that scenarios use, for machines without it: the same words, output and exit codes.

Applying is server-side apply. `exec` and `logs` are the lab's own commands and not here.
"""

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet.client import MERGE, ApiClient, ApiError

Json = dict[str, Any]
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_PATCHES = {"strategic": STRATEGIC, "merge": MERGE, "json": JSON_PATCH}
_LONG = {"n": "namespace", "l": "selector", "o": "output", "f": "filename", "p": "patch"}
_SWITCHES = {"force", "ignore-not-found", "overwrite", "all", "wait", "A", "all-namespaces"}
_MANAGER = "kubectl"
_POLL = 0.1


class RefusedError(Exception):
    """What kubectl says before it ends with 1."""


@dataclass
class Words:
    """A command line: its verb and arguments, and its flags by their long names."""

    plain: list[str] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """Where namespaced objects are."""
        return self.flags.get("namespace", "default")


def parse(words: Iterable[str]) -> Words:
    """`-n a`, `--namespace=a` and `--namespace a` are the same."""
    found = Words()
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            found.plain.append(word)
            continue
        name, equal, value = word.lstrip("-").partition("=")
        name = _LONG.get(name, name)
        found.flags[name] = value if equal else "true" if name in _SWITCHES else next(rest)
    return found


@dataclass(frozen=True)
class Resource:
    """Where a kind lives in the API."""

    kind: str
    plural: str
    group: str
    version: str
    namespaced: bool

    @property
    def shown(self) -> str:
        """`service`, `deployment.apps`: as kubectl names it."""
        return f"{self.kind.lower()}.{self.group}" if self.group else self.kind.lower()

    def path(self, namespace: str, name: str = "") -> str:
        """In the API."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"{base}{place}/{self.plural}" + (f"/{name}" if name else "")


class MiniKubectl:
    """Speaks to one API server."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._known: dict[str, Resource] = {}

    def run(self, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """As `subprocess.run(["kubectl", …])` would end."""
        verbs: dict[str, Callable[[Words, str], Iterator[str]]] = {
            "get": self._get, "apply": self._apply, "create": self._create, "replace": self._replace,
            "delete": self._delete, "patch": self._patch, "scale": self._scale, "rollout": self._rollout,
            "label": self._label, "annotate": self._label,
        }  # fmt: skip
        parsed = parse(words)
        verb = verbs.get(parsed.plain[0])
        if verb is None:
            raise AssertionError(f"kubectl {parsed.plain[0]} needs the real kubectl, which is not on PATH")
        out: list[str] = []
        try:
            out += verb(parsed, stdin)
        except ApiError as error:
            said = f"Error from server ({error.reason}): {error.message}"
            return subprocess.CompletedProcess(words, 1, "\n".join(out), said)
        except (RefusedError, UnreachableError) as error:
            return subprocess.CompletedProcess(words, 1, "\n".join(out), f"error: {error}")
        return subprocess.CompletedProcess(words, 0, "".join(f"{line}\n" for line in out), "")

    def _ask(self, method: str, path: str, body: Any = None, **options: Any) -> Json:
        return asyncio.run(self._client.request(method, path, body=body, **options))

    # What there is.

    def _resource(self, name: str) -> Resource:
        """By plural, singular, short name or kind, with or without its group."""
        wanted = name.lower()
        if wanted not in self._known:
            self._discover()
        if wanted not in self._known:
            raise RefusedError(f'the server doesn\'t have a resource type "{name}"')
        return self._known[wanted]

    def _discover(self) -> None:
        places = [("", "v1", "/api/v1")]
        for group in self._ask("GET", "/apis")["groups"]:
            versions = [group["preferredVersion"], *group["versions"]]
            places += [(group["name"], v["version"], f"/apis/{v['groupVersion']}") for v in versions]
        for group_name, version_name, path in places:
            for item in self._ask("GET", path)["resources"]:
                if "/" in item["name"]:
                    continue
                made = Resource(item["kind"], item["name"], group_name, version_name, bool(item["namespaced"]))
                short = [item["name"], item.get("singularName") or item["kind"].lower(), *item.get("shortNames", [])]
                for word in [*short, item["kind"].lower()]:
                    self._known.setdefault(word, made)
                    self._known.setdefault(f"{word}.{group_name}", made)
                self._known.setdefault(f"{item['kind'].lower()}.{version_name}.{group_name}", made)

    def _place(self, item: Json, words: Words) -> tuple[Resource, str, str]:
        group, _, version = str(item["apiVersion"]).rpartition("/")
        wanted = f"{item['kind']}.{version}.{group}"
        try:
            resource = self._resource(wanted)
        except RefusedError:
            raise RefusedError(f'no matches for kind "{item["kind"]}" in version "{item["apiVersion"]}"') from None
        meta = item["metadata"]
        space = meta.get("namespace") or words.namespace
        return resource, resource.path(space), str(meta["name"])

    def _named(self, words: Words, start: int) -> list[tuple[Resource, str]]:
        """`deployment/a service/b`, or `deployment a b`; a name may be empty: all."""
        given = words.plain[start:]
        if any("/" in word for word in given):
            return [(self._resource(kind), name) for kind, _, name in (word.partition("/") for word in given)]
        return [(self._resource(given[0]), name) for name in given[1:] or [""]]

    @staticmethod
    def _documents(words: Words, stdin: str) -> list[Json]:
        if words.flags.get("filename") != "-":
            raise AssertionError("without kubectl, only -f - can be read")
        found: list[Json] = []
        for document in yaml.safe_load_all(stdin):
            if document:
                found += document["items"] if str(document.get("kind", "")).endswith("List") else [document]
        return found

    # Verbs.

    def _get(self, words: Words, _stdin: str) -> Iterator[str]:
        ((resource, name),) = self._named(words, 1)[:1]
        everywhere = "A" in words.flags or "all-namespaces" in words.flags
        path = resource.path(words.namespace, name)
        if everywhere:
            path = path.replace(f"/namespaces/{words.namespace}/", "/")
        query = {"labelSelector": words.flags["selector"]} if "selector" in words.flags else {}
        found = self._ask("GET", path, query=query)
        items = found["items"] if "items" in found and not name else [found]
        match words.flags.get("output", ""):
            case "json":
                yield json.dumps(found)
            case "yaml":
                yield yaml.safe_dump(found)
            case "name" | "":
                yield from (f"{resource.shown}/{item['metadata']['name']}" for item in items)
            case other:
                raise AssertionError(f"kubectl get -o {other} needs the real kubectl, which is not on PATH")

    def _apply(self, words: Words, stdin: str) -> Iterator[str]:
        for item in self._documents(words, stdin):
            resource, path, name = self._place(item, words)
            query = {"fieldManager": _MANAGER, "force": "true", "fieldValidation": "Strict"}
            self._ask("PATCH", f"{path}/{name}", item, kind="application/apply-patch+yaml", query=query)
            yield f"{resource.shown}/{name} serverside-applied"

    def _create(self, words: Words, stdin: str) -> Iterator[str]:
        if "filename" in words.flags:
            items = self._documents(words, stdin)
        else:
            kind, name = words.plain[1:3]
            literals = dict([words.flags["from-literal"].split("=", 1)]) if "from-literal" in words.flags else {}
            if kind not in ("configmap", "namespace"):
                raise AssertionError(f"kubectl create {kind} needs the real kubectl, which is not on PATH")
            shown = {"configmap": "ConfigMap", "namespace": "Namespace"}[kind]
            items = [{"apiVersion": "v1", "kind": shown, "metadata": {"name": name}}]
            items[0] |= {"data": literals} if literals else {}
        for item in items:
            resource, path, name = self._place(item, words)
            self._ask("POST", path, item)
            yield f"{resource.shown}/{name} created"

    def _replace(self, words: Words, stdin: str) -> Iterator[str]:
        """With --force: deleted and created again."""
        for item in self._documents(words, stdin):
            resource, path, name = self._place(item, words)
            if words.flags.get("force") != "true":
                self._ask("PUT", f"{path}/{name}", item)
            else:
                self._remove(path, name, missing_is_good=True)
                meta = {k: v for k, v in item["metadata"].items() if k not in ("resourceVersion", "uid")}
                self._ask("POST", path, {**item, "metadata": meta})
            yield f"{resource.shown}/{name} replaced"

    def _delete(self, words: Words, stdin: str) -> Iterator[str]:
        if "filename" in words.flags:
            places = [self._place(item, words) for item in self._documents(words, stdin)]
        else:
            places = [(r, r.path(words.namespace), name) for r, name in self._selected(words)]
        missing_is_good, wait = words.flags.get("ignore-not-found") == "true", words.flags.get("wait") != "false"
        for resource, path, name in places:
            if self._remove(path, name, missing_is_good=missing_is_good, wait=wait):
                yield f'{resource.shown} "{name}" deleted'

    def _selected(self, words: Words) -> Iterator[tuple[Resource, str]]:
        """The named objects, or those with the labels."""
        for resource, name in self._named(words, 1):
            if name:
                yield resource, name
                continue
            if "selector" not in words.flags and words.flags.get("all") != "true":
                raise RefusedError("resource(s) were provided, but no name was specified")
            query = {"labelSelector": words.flags.get("selector", "")}
            for item in self._ask("GET", resource.path(words.namespace), query=query)["items"]:
                yield resource, item["metadata"]["name"]

    def _remove(self, path: str, name: str, *, missing_is_good: bool, wait: bool = True) -> bool:
        """Waits, as kubectl does, until it is gone. False: it was not there."""
        if (uid := self._uid(path, name)) is None:
            if missing_is_good:
                return False
            self._ask("GET", f"{path}/{name}")  # says in the server's words that there is none
        with contextlib.suppress(ApiError):
            self._ask("DELETE", f"{path}/{name}", {"preconditions": {"uid": uid}})
        while wait and self._uid(path, name) == uid:
            time.sleep(_POLL)
        return True

    def _uid(self, path: str, name: str) -> str | None:
        try:
            return str(self._ask("GET", f"{path}/{name}")["metadata"]["uid"])
        except ApiError as error:
            if error.code != 404:
                raise
            return None

    def _patch(self, words: Words, _stdin: str) -> Iterator[str]:
        kind = _PATCHES[words.flags.get("type", "strategic")]
        for resource, name in self._named(words, 1):
            body = yaml.safe_load(words.flags["patch"])
            self._ask("PATCH", resource.path(words.namespace, name), body, kind=kind)
            yield f"{resource.shown}/{name} patched"

    def _scale(self, words: Words, _stdin: str) -> Iterator[str]:
        for resource, name in self._named(words, 1):
            body = {"spec": {"replicas": int(words.flags["replicas"])}}
            self._ask("PATCH", f"{resource.path(words.namespace, name)}/scale", body, kind=MERGE)
            yield f"{resource.shown}/{name} scaled"

    def _label(self, words: Words, _stdin: str) -> Iterator[str]:
        """`label` and `annotate`: `key=value` sets, `key-` removes."""
        part = "labels" if words.plain[0] == "label" else "annotations"
        changes: dict[str, str | None] = {w.partition("=")[0]: w.partition("=")[2] for w in words.plain[2:] if "=" in w}
        changes |= {w[:-1]: None for w in words.plain[2:] if w.endswith("-") and "=" not in w}
        names = [w for w in words.plain[1:] if "=" not in w and not w.endswith("-")]
        for resource, name in self._named(Words(names, words.flags), 0):
            self._ask("PATCH", resource.path(words.namespace, name), {"metadata": {part: changes}}, kind=MERGE)
            yield f"{resource.shown}/{name} {part[:-1]}ed" if part == "labels" else f"{resource.shown}/{name} annotated"

    def _rollout(self, words: Words, _stdin: str) -> Iterator[str]:
        for resource, name in self._named(words, 2):
            path = resource.path(words.namespace, name)
            if words.plain[1] == "restart":
                now = datetime.now(UTC).isoformat()
                annotations = {"kubectl.kubernetes.io/restartedAt": now}
                body = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
                self._ask("PATCH", path, body, kind=STRATEGIC)
                yield f"{resource.shown}/{name} restarted"
            else:
                self._await_rollout(path, float(words.flags.get("timeout", "60s").removesuffix("s")))
                yield f'{resource.kind.lower()} "{name}" successfully rolled out'

    def _await_rollout(self, path: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not rolled_out(self._ask("GET", path)):
            if time.monotonic() > deadline:
                raise RefusedError("timed out waiting for the condition")
            time.sleep(_POLL)


def rolled_out(deployment: Json) -> bool:
    """The rule of `kubectl rollout status`: all replicas are new, none is old, all are available."""
    wanted, status = deployment["spec"].get("replicas", 1), deployment.get("status") or {}
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    return bool(seen and updated >= wanted and total <= updated and status.get("availableReplicas", 0) >= updated)
