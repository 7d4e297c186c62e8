"""The other process of `feed`: the API servers of many clusters, list and watch over plain HTTP on loopback.

Told over a pipe what to serve and what to send. Bodies are made before anything is measured; only the cluster's
digits are put in on the way. Times are those of the monotonic clock, which all processes of a machine share.
"""

import asyncio
import json
import time
from copy import deepcopy
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import uvloop

from benchmarks.feed_objects import HOLE, Json, Size, everything


@dataclass(slots=True)
class Cluster:
    """One cluster: its digits, its objects by plural, and who watches what."""

    digits: str
    objects: dict[str, list[Json]]
    pages: dict[tuple[str, int, int], bytes]
    watchers: dict[str, list[asyncio.Transport]] = field(default_factory=dict)
    version: int = 2000

    def fill(self, text: bytes) -> bytes:
        return text.replace(HOLE.encode(), self.digits.encode())

    def page(self, kind: str, start: int, limit: int) -> bytes:
        """One page of a list."""
        made = self.pages.get((kind, start, limit))
        if made is None:
            made = self.pages[kind, start, limit] = self._page(kind, start, limit)
        return self.fill(made)

    def _page(self, kind: str, start: int, limit: int) -> bytes:
        items = self.objects.get(kind, [])
        head: Json = {"resourceVersion": "1000"}
        if limit and start + limit < len(items):
            head["continue"] = str(start + limit)
        document = {"kind": "List", "apiVersion": "v1", "metadata": head}
        document["items"] = cast("Any", items[start : start + limit] if limit else items)
        return json.dumps(document, separators=(",", ":")).encode()

    def event(self, kind: str, word: str, obj: Json) -> bytes:
        """A line of a watch, as a chunk."""
        self.version += 1
        fresh = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        line = self.fill(json.dumps({"type": word, "object": fresh}, separators=(",", ":")).encode()) + b"\n"
        return f"{len(line):x}\r\n".encode() + line + b"\r\n"

    def send(self, kind: str, chunk: bytes) -> float:
        """Send a chunk to everybody who watches a kind; when that was."""
        watchers = [one for one in self.watchers.get(kind, []) if not one.is_closing()]
        if not watchers:
            raise RuntimeError(f"nobody watches {kind} of cluster {self.digits}")
        now = time.monotonic()
        for one in watchers:
            one.write(chunk)
        return now


class Connected(asyncio.Protocol):
    """One connection of a client: requests one after the other, the last of them perhaps a watch."""

    def __init__(self, feed: "Feed") -> None:
        self.feed = feed
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            self._answer(head.split(b" ", 2)[1].decode())

    def _answer(self, target: str) -> None:
        url = urlsplit(target)
        query = dict(parse_qsl(url.query))
        _, digits, *path = url.path.split("/")
        kind = path[-1]
        cluster = self.feed.clusters[digits]
        if query.get("watch"):
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            cluster.watchers.setdefault(kind, []).append(self.transport)
            return
        body = b"{}" if kind == "version" else self._list(cluster, kind, query)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)

    @staticmethod
    def _list(cluster: Cluster, kind: str, query: dict[str, str]) -> bytes:
        return cluster.page(kind, int(query.get("continue", 0)), int(query.get("limit", 0)))


class Feed:
    """All API servers, on one port: the first part of the path names the cluster."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.port = 0
        self.clusters: dict[str, Cluster] = {}
        self._made: dict[Size, tuple[dict[str, list[Json]], dict[tuple[str, int, int], bytes]]] = {}

    async def serve(self) -> None:
        """Do what the measuring process says until it says that it is over."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connected(self), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.pipe.send(self.port)
        while True:
            word, *arguments = await loop.run_in_executor(None, self.pipe.recv)
            if word == "end":
                return
            self.pipe.send(getattr(self, f"do_{word}")(*arguments))

    def do_cluster(self, digits: str, size: Size, page: int) -> int:
        """Serve a cluster; the bytes of a full list of it."""
        if size not in self._made:
            self._made[size] = ({r.plural: objects for r, objects in everything(size).items()}, {})
        objects, pages = self._made[size]
        cluster = self.clusters[digits] = Cluster(digits, objects, pages)
        return sum(
            len(cluster.page(kind, start, page))
            for kind in objects
            for start in range(0, len(objects[kind]) or 1, page)
        )

    def do_own(self, digits: str, secrets: list[Json]) -> None:
        """The own cluster's secrets, before it is listed."""
        own = self.clusters[digits]
        own.objects = {**own.objects, "secrets": secrets}
        own.pages = {key: page for key, page in own.pages.items() if key[0] != "secrets"}

    def do_link(self, digits: str, secret: Json) -> float:
        """A remote secret appears."""
        own = self.clusters[digits]
        return own.send("secrets", own.event("secrets", "ADDED", secret))

    def do_endpoint(self, digits: str, ready: bool) -> float:
        """An endpoint of the first service is ready, or not."""
        cluster = self.clusters[digits]
        slice_ = deepcopy(cluster.objects["endpointslices"][0])
        slice_["endpoints"][0]["conditions"]["ready"] = ready
        return cluster.send("endpointslices", cluster.event("endpointslices", "MODIFIED", slice_))

    def do_label(self, digits: str, kind: str, value: str) -> float:
        """The last object of a kind has another label, which no rule reads."""
        return self._retouch(digits, kind, "labels", value)

    def do_annotation(self, digits: str, kind: str, value: str) -> float:
        """The last object of a kind has another annotation and resourceVersion, which is not even kept of most."""
        return self._retouch(digits, kind, "annotations", value)

    def _retouch(self, digits: str, kind: str, what: str, value: str) -> float:
        cluster = self.clusters[digits]
        obj = deepcopy(cluster.objects[kind][-1])
        obj["metadata"][what] = {**obj["metadata"].get(what, {}), "note": value}
        return cluster.send(kind, cluster.event(kind, "MODIFIED", obj))


def main(pipe: Connection) -> None:
    """Entry point of the second process."""
    uvloop.run(Feed(pipe).serve())
