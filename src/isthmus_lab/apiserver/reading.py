"""get, list and watch."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import msgspec

from isthmus_lab.apiserver import errors, selectors, views
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.errors import bad_request
from isthmus_lab.apiserver.httpd import Response, Streaming
from isthmus_lab.apiserver.objects import JsonObject, encode
from isthmus_lab.apiserver.selectors import Predicate
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.store import Cursor, Entry, Event, ExpiredError, watch_line
from isthmus_lab.apiserver.tables import Tabler

BOOKMARK_EVERY = 60.0  # seconds
DEFAULT_WATCH_SECONDS = 3000
_BATCH = 64 * 1024  # bytes joined into one write


class Reader:
    """Answers reads from memory; a watch holds a cursor and nothing else."""

    def __init__(self, state: State) -> None:
        self._state = state

    # --- one object

    def entry(self, call: Call) -> Entry:
        found = self._state.store.get(call.resource.storage, call.namespace, call.info.name)
        if found is None:
            raise errors.not_found(call.resource.group, call.resource.plural, call.info.name)
        return found

    def get(self, call: Call) -> Response:
        return self.render(call, self.entry(call))

    def render(self, call: Call, entry: Entry, status: int = 200) -> Response:
        """One object in the shape that the client accepts."""
        if call.view.shape == "object":
            return respond(call, status, views.body(entry, call.resource, call.version.name))
        shown = views.shown(entry.obj, call.resource, call.version.name)
        if call.view.shape == "metadata":
            return respond(call, status, encode(views.metadata_only(shown)))
        table = self._tabler(call).table([shown], {"resourceVersion": str(entry.revision)})
        return respond(call, status, encode(table))

    def _tabler(self, call: Call) -> Tabler:
        include = call.request.param("includeObject", "Metadata")
        return Tabler(call.resource, call.version, include=include, now=self._state.clock())

    # --- lists

    def predicate(self, call: Call) -> Predicate | None:
        labels = selectors.parse_labels(call.request.param("labelSelector"))
        fields = selectors.parse_fields(
            call.request.param("fieldSelector"), call.resource.storage, call.version.selectable
        )
        if call.info.name:
            named = selectors.parse_fields(f"metadata.name={call.info.name}", call.resource.storage)
            fields = selectors.both(fields, named)
        return selectors.combine(labels, fields)

    def entries(self, call: Call) -> list[Entry]:
        found = self._state.store.list(call.resource.storage, call.namespace)
        wanted = self.predicate(call)
        return found if wanted is None else [entry for entry in found if wanted(entry.obj)]

    def list_all(self, call: Call) -> Response:
        revision = self._list_revision(call)
        found = self.entries(call)
        metadata: JsonObject = {"resourceVersion": str(revision)}
        token = call.request.param("continue")
        if token:
            page = _decode_token(token)
            found = [entry for entry in found if (entry.namespace, entry.name) > (page.namespace, page.name)]
            metadata["resourceVersion"] = str(page.revision)
        limit = _integer(call, "limit")
        if limit and len(found) > limit:
            last = found[limit - 1]
            metadata["continue"] = _encode_token(
                _Page(namespace=last.namespace, name=last.name, revision=int(metadata["resourceVersion"]))
            )
            if not call.request.param("labelSelector") and not call.request.param("fieldSelector"):
                metadata["remainingItemCount"] = len(found) - limit
            found = found[:limit]
        return self._render_list(call, found, metadata)

    def _list_revision(self, call: Call) -> int:
        """The revision of what will be listed. Raises when the client asks for another."""
        current = self._state.store.revision
        asked = _revision(call)
        if asked > current:
            raise errors.ApiError(
                504, "Timeout", f"Too large resource version: {asked}, current: {current}",
                details={"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]},
            )  # fmt: skip
        if call.request.param("resourceVersionMatch") == "Exact" and asked != current:
            raise errors.expired(asked, current)
        return current

    def _render_list(self, call: Call, found: list[Entry], metadata: JsonObject) -> Response:
        resource, version = call.resource, call.version.name
        if call.view.shape == "table":
            rows = [views.shown(entry.obj, resource, version) for entry in found]
            return respond(call, 200, encode(self._tabler(call).table(rows, metadata)))
        kind, api_version = resource.list_kind, resource.api_version(version)
        if call.view.shape == "metadata":
            kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
            bodies = [encode(views.metadata_only(entry.obj)) for entry in found]
        else:
            bodies = [views.body(entry, resource, version) for entry in found]
        return respond(call, 200, views.list_body(bodies, kind=kind, api_version=api_version, metadata=metadata))

    # --- watches

    def watch(self, call: Call) -> Streaming:
        """Opens a watch. Raises 410 when the history does not reach back far enough."""
        store = self._state.store
        asked = _revision(call)
        initial = call.request.flag("sendInitialEvents") or asked == 0
        current = store.revision
        if initial and asked > current:
            raise errors.expired(asked, current)
        start = current if initial else asked
        if start > current:
            raise errors.expired(asked, current)
        try:
            cursor = store.follow(call.resource.storage, start)
        except ExpiredError as error:
            raise errors.expired(error.asked, error.oldest) from None
        snapshot = self.entries(call) if initial else []
        lines = _Lines(call, self.predicate(call), self._tabler(call) if call.view.shape == "table" else None)
        return Streaming(200, _Watch(self._state, lines, cursor, snapshot).chunks())


class _Lines:
    """The watch lines of one client: what it may see, in its shape."""

    def __init__(self, call: Call, predicate: Predicate | None, tabler: Tabler | None) -> None:
        self.call = call
        self._wanted = predicate
        self._tabler = tabler
        self._namespace = call.namespace
        self._plain = call.view.shape == "object" and (
            views.storage_api_version(call.resource) == call.resource.api_version(call.version.name)
        )

    def of(self, event: Event) -> bytes:
        """The line for one change; empty when this client does not see it."""
        entry = event.entry
        if self._namespace and entry.namespace != self._namespace:
            return b""
        change = event.change
        if self._wanted is not None:
            now = change != "DELETED" and self._wanted(entry.obj)
            before = event.before is not None and self._wanted(event.before.obj)
            if not now and not before:
                return b""
            change = "ADDED" if not before else "MODIFIED" if now else "DELETED"
        if self._plain:
            return event.line(change)
        return watch_line(change, self._body(entry))

    def added(self, entry: Entry) -> bytes:
        return watch_line("ADDED", entry.body if self._plain else self._body(entry))

    def _body(self, entry: Entry) -> bytes:
        call = self.call
        shown = views.shown(entry.obj, call.resource, call.version.name)
        if self._tabler is not None:
            return encode(self._tabler.table([shown], {"resourceVersion": str(entry.revision)}))
        if call.view.shape == "metadata":
            return encode(views.metadata_only(shown))
        return encode(shown)

    def bookmark(self, revision: int, *, initial: bool = False) -> bytes:
        call = self.call
        metadata: JsonObject = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        kind, api_version = call.resource.kind, call.resource.api_version(call.version.name)
        if self._tabler is not None:
            kind, api_version = "Table", "meta.k8s.io/v1"
        elif call.view.shape == "metadata":
            kind, api_version = "PartialObjectMetadata", "meta.k8s.io/v1"
        return watch_line("BOOKMARK", encode({"kind": kind, "apiVersion": api_version, "metadata": metadata}))


class _Watch:
    """Sends a snapshot, then changes as they come, bookmarks in quiet times."""

    def __init__(self, state: State, lines: _Lines, cursor: Cursor, snapshot: list[Entry]) -> None:
        self._state = state
        self._lines = lines
        self._cursor = cursor
        self._wake = asyncio.Event()
        self._snapshot = snapshot
        request = lines.call.request
        self._bookmarks = request.flag("allowWatchBookmarks")
        self._announce = request.flag("sendInitialEvents") and self._bookmarks
        self._seconds = _integer(lines.call, "timeoutSeconds") or DEFAULT_WATCH_SECONDS

    async def chunks(self) -> AsyncIterator[bytes]:
        self._cursor.open(self._wake.set)
        try:
            yield b""  # sends the head of the answer
            for chunk in self._initial():
                yield chunk
            loop = asyncio.get_running_loop()
            end = loop.time() + self._seconds
            while (left := end - loop.time()) > 0:
                self._wake.clear()
                sent = False
                for chunk in self._pending():
                    sent = True
                    yield chunk
                if sent:
                    continue
                try:
                    async with asyncio.timeout(min(left, BOOKMARK_EVERY)):
                        await self._wake.wait()
                except TimeoutError:
                    if self._bookmarks and not self._wake.is_set():
                        yield self._lines.bookmark(self._state.store.revision)
        except ExpiredError as error:
            yield watch_line("ERROR", encode(errors.expired(error.asked, error.oldest).status()))
        finally:
            self._cursor.close()

    def _initial(self) -> list[bytes]:
        chunks = _join([self._lines.added(entry) for entry in self._snapshot])
        self._snapshot = []
        if self._announce:
            chunks.append(self._lines.bookmark(self._cursor.revision, initial=True))
        return chunks

    def _pending(self) -> list[bytes]:
        events = self._cursor.take()
        return _join([line for event in events if (line := self._lines.of(event))])


def _join(lines: list[bytes]) -> list[bytes]:
    """Few large writes instead of many small ones."""
    chunks: list[bytes] = []
    part: list[bytes] = []
    size = 0
    for line in lines:
        part.append(line)
        size += len(line)
        if size >= _BATCH:
            chunks.append(b"".join(part))
            part, size = [], 0
    if part:
        chunks.append(b"".join(part))
    return chunks


def respond(call: Call, status: int, body: bytes) -> Response:
    """The answer with the call's warnings; as YAML where the client asked for it."""
    headers = [("warning", f'299 - "{_header_text(text)}"') for text in call.warnings]
    if call.view.yaml:
        import yaml

        text = yaml.safe_dump(msgspec.json.decode(body), sort_keys=False)
        return Response(status, text.encode(), "application/yaml", headers)
    return Response(status, body, headers=headers)


def _header_text(text: str) -> str:
    """One line of ASCII: what webhooks say may hold anything."""
    return " ".join(text.split()).encode("ascii", "replace").decode()


def _integer(call: Call, name: str) -> int:
    text = call.request.param(name)
    if not text:
        return 0
    try:
        return max(0, int(text))
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _revision(call: Call) -> int:
    text = call.request.param("resourceVersion")
    if not text:
        return 0
    if not text.isdigit():
        raise bad_request(f'Invalid value: "{text}": resourceVersion must be a number')
    return int(text)


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    """Where the next page of a list starts."""

    namespace: str
    name: str
    revision: int


def _encode_token(page: _Page) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(page)).decode().rstrip("=")


def _decode_token(token: str) -> _Page:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)), type=_Page)
    except (ValueError, msgspec.DecodeError):
        raise bad_request("continue key is not valid: it was not made by this server") from None
