"""The incremental engine: source tables, indexes over them, and derived tables, in the order of their declaration.

A derived table is a function of (get, key). What it reads through `get` is what it depends on: recorded by running,
never declared. A change marks the readers of what changed; `apply` recomputes them floor by floor, and a row that
comes out equal stops the wave. Derived rows exist only while they are demanded (pinned) or read by one that is.
The engine knows no mesh.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar, overload

from isthmus.tables.changes import Change, Drop, Key, Put, Replace
from isthmus.tables.nodes import Cell, Node

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)
R = TypeVar("R")
T = TypeVar("T", bound="Table[Any, Any]")

LOG_LIMIT = 10_000
"""How many evaluations the log of one revision keeps."""


class OrderError(Exception):
    """A derived table read one that is declared after it: a mistake in the wiring."""


class Table(Generic[K, V_co]):
    """What can be read by key. `level` is its place in the order of declaration."""

    def __init__(self, graph: "Graph", name: str, level: int) -> None:
        self.graph = graph
        self.name = name
        self.level = level

    def read(self, key: K) -> tuple[Node, V_co]:
        """The node to depend on and the value now."""
        raise NotImplementedError

    def forget(self, node: Node) -> None:
        """Nobody depends on this node any more."""
        raise NotImplementedError

    def rows(self) -> Iterator[tuple[Hashable, Any]]:
        """What is there now, for people and tests."""
        raise NotImplementedError


class Get(Protocol):
    """How a derived function reads: `get(table, key)`."""

    def __call__(self, table: Table[K, V], key: K) -> V:
        """The value at `key`; the caller depends on it from now on."""


Compute = Callable[[Get, K], V]


class Reader:
    """Reads for one evaluation and remembers what was read."""

    __slots__ = ("deps", "level")

    def __init__(self, level: int) -> None:
        self.level = level
        self.deps: dict[Node, None] = {}

    def __call__(self, table: Table[K, V], key: K) -> V:
        if table.level >= self.level:
            raise OrderError(f"{table.name} is declared after its reader (level {self.level})")
        node, value = table.read(key)
        self.deps[node] = None
        return value


class _Watched(Table[K, V]):
    """A table whose nodes exist only while they are read."""

    def __init__(self, graph: "Graph", name: str, level: int) -> None:
        super().__init__(graph, name, level)
        self._nodes: dict[Hashable, Node] = {}

    def _node(self, key: Hashable) -> Node:
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(self, key)
        return node

    def forget(self, node: Node) -> None:
        self._nodes.pop(node.key, None)

    def _touch(self, key: Hashable) -> None:
        node = self._nodes.get(key)
        if node is not None:
            self.graph.mark(node)


class Source(_Watched[Key, R | None], Generic[R]):
    """Rows from outside, kept by the first part of their key (the cluster) so that a lost cluster is a range."""

    def __init__(self, graph: "Graph", name: str, level: int) -> None:
        super().__init__(graph, name, level)
        self._parts: dict[Hashable, dict[Key, R]] = {}
        self.indexes: list[Index[Any, Any]] = []

    def read(self, key: Key) -> tuple[Node, R | None]:
        return self._node(key), self.get(key)

    def get(self, key: Key) -> R | None:
        """The row now, without depending on it."""
        part = self._parts.get(key[0])
        return part.get(key) if part is not None else None

    def rows(self) -> Iterator[tuple[Hashable, R]]:
        for part in self._parts.values():
            yield from part.items()

    def __len__(self) -> int:
        return sum(map(len, self._parts.values()))

    def put(self, key: Key, row: R) -> None:
        """The row at `key` is now `row`; an equal one is no change."""
        part = self._parts.setdefault(key[0], {})
        old = part.get(key)
        if old == row:
            return
        part[key] = row
        self._changed(key, old, row)

    def drop(self, key: Key) -> None:
        """There is no row at `key`."""
        part = self._parts.get(key[0])
        old = part.pop(key, None) if part is not None else None
        if old is None:
            return
        if not part:
            del self._parts[key[0]]
        self._changed(key, old, None)

    def replace(self, prefix: Key, rows: Iterable[tuple[Key, R]]) -> None:
        """The rows under `prefix` are now exactly these: puts and drops by difference."""
        fresh = dict(rows)
        parts = [self._parts.get(prefix[0], {})] if prefix else list(self._parts.values())
        gone = [key for part in parts for key in part if key not in fresh and key[: len(prefix)] == prefix]
        for key in gone:
            self.drop(key)
        for key, row in fresh.items():
            self.put(key, row)

    def _changed(self, key: Key, old: R | None, new: R | None) -> None:
        self._touch(key)
        for index in self.indexes:
            index.moved(key, old, new)


class Index(_Watched[K, tuple[Key, ...]], Generic[K, R]):
    """Inverted: from a value found in the rows of a source to the sorted keys of the rows that have it.

    Only membership is a change here; who needs the rows reads them, and depends on each.
    """

    def __init__(self, source: Source[R], name: str, level: int, *, values: Callable[[R], Iterable[K]]) -> None:
        super().__init__(source.graph, name, level)
        self._values = values
        self._members: dict[Hashable, set[Key]] = {}
        self._sorted: dict[Hashable, tuple[Key, ...]] = {}
        source.indexes.append(self)
        for key, row in source.rows():
            self.moved(key, None, row)  # type: ignore[arg-type]

    def read(self, key: K) -> tuple[Node, tuple[Key, ...]]:
        return self._node(key), self.get(key)

    def get(self, key: K) -> tuple[Key, ...]:
        """The keys now, without depending on them."""
        members = self._members.get(key)
        if members is None:
            return ()
        keys = self._sorted.get(key)
        if keys is None:
            keys = self._sorted[key] = tuple(sorted(members))
        return keys

    def rows(self) -> Iterator[tuple[Hashable, tuple[Key, ...]]]:
        for key in self._members:
            yield key, self.get(key)  # type: ignore[arg-type]

    def moved(self, key: Key, old: R | None, new: R | None) -> None:
        """A row of the source changed."""
        before = set(self._values(old)) if old is not None else set()
        after = set(self._values(new)) if new is not None else set()
        for value in before - after:
            members = self._members[value]
            members.discard(key)
            if not members:
                del self._members[value]
            self._sorted.pop(value, None)
            self._touch(value)
        for value in after - before:
            self._members.setdefault(value, set()).add(key)
            self._sorted.pop(value, None)
            self._touch(value)


class Derived(Table[K, V_co]):
    """A memoised function of what it reads."""

    def __init__(self, graph: "Graph", name: str, level: int, *, compute: Compute[K, V_co], default: Any) -> None:
        super().__init__(graph, name, level)
        self._compute = compute
        self._default = default
        self._cells: dict[Hashable, Cell] = {}

    def read(self, key: K) -> tuple[Node, V_co]:
        cell = self.cell(key)
        return cell, cell.value

    def cell(self, key: K) -> Cell:
        """The memo of `key`, evaluated now if it is not there."""
        cell = self._cells.get(key)
        if cell is None:
            cell = Cell(self, key)
            cell.value = self._run(cell, self._default)
            self._cells[key] = cell
        return cell

    def forget(self, node: Node) -> None:
        self._cells.pop(node.key, None)

    def rows(self) -> Iterator[tuple[Hashable, V_co]]:
        for key, cell in self._cells.items():
            yield key, cell.value

    def __len__(self) -> int:
        return len(self._cells)

    def recompute(self, cell: Cell) -> bool:
        """Evaluate again; True if the row differs."""
        old = cell.value
        cell.value = self._run(cell, old)
        return bool(cell.value is not old and cell.value != old)

    def _run(self, cell: Cell, last: Any) -> Any:
        """Evaluate and move the dependencies.

        A function that raises keeps the last good row, or has the default if there is none (see `failures`).
        """
        reader = Reader(self.level)
        graph = self.graph
        if len(graph.recomputed) < LOG_LIMIT:
            graph.recomputed.append((self.name, cell.key))
        try:
            value: Any = self._compute(reader, cell.key)  # type: ignore[arg-type]
            graph.failures.pop((self.name, cell.key), None)
        except OrderError:
            raise
        except Exception as error:
            if graph.strict:
                raise
            graph.failures[self.name, cell.key] = f"{type(error).__name__}: {error}"
            value = last
        graph.rewire(cell, reader.deps)
        return value


Changed = dict[tuple[Table[Any, Any], Hashable], tuple[Any, Any]]
"""(table, key) of demanded rows that differ -> (before, after)."""


class Graph:
    """All tables, one revision number, one synchronous `apply`.

    `strict` makes a failing derived function raise (tests); otherwise its last good row stays and `failures` tells.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.revision = 0
        self.recomputed: list[tuple[str, Hashable]] = []
        self.failures: dict[tuple[str, Hashable], str] = {}
        self.tables: dict[str, Table[Any, Any]] = {}
        self._queues: list[list[Cell]] = []
        self._idle: list[Node] = []

    # -- declaring ------------------------------------------------------------------------------------------------

    def source(self, name: str, row: type[R]) -> Source[R]:
        """Declare a table of rows of type `row` that come from outside."""
        return self._declare(Source[R](self, name, len(self.tables)))

    def index(self, name: str, source: Source[R], values: Callable[[R], Iterable[K]]) -> Index[K, R]:
        """Declare an inverted index: `values(row)` are the keys under which the row is found."""
        return self._declare(Index(source, name, len(self.tables), values=values))

    @overload
    def derived(self, name: str) -> Callable[[Compute[K, V]], Derived[K, V]]: ...

    @overload
    def derived(self, name: str, compute: Compute[K, V], default: V | None = None) -> Derived[K, V]: ...

    def derived(self, name: str, compute: Compute[K, V] | None = None, default: V | None = None) -> Any:
        """Declare a derived table; as a decorator or with the function.

        `default` stands for a row whose function has failed and never succeeded: readers must be able to live with it.
        """
        if compute is None:
            return lambda function: self.derived(name, function)
        return self._declare(Derived(self, name, len(self.tables), compute=compute, default=default))

    def _declare(self, table: T) -> T:
        if table.name in self.tables:
            raise ValueError(f"table {table.name} is declared twice")
        self.tables[table.name] = table
        self._queues.append([])
        return table

    # -- demand ---------------------------------------------------------------------------------------------------

    def pin(self, table: Derived[K, V], key: K) -> V:
        """Demand a row: it is evaluated now and kept up to date until as many `unpin` follow."""
        cell = table.cell(key)
        cell.pins += 1
        value: V = cell.value
        return value

    def unpin(self, table: Derived[K, V], key: K) -> None:
        """Demand a row no more; `collect` drops what nobody needs."""
        cell = table.cell(key)
        if cell.pins == 0:
            raise ValueError(f"{table.name} {key!r} is not pinned")
        cell.pins -= 1
        if cell.idle:
            self._idle.append(cell)

    def peek(self, table: Table[K, V], key: K) -> V:
        """A row as it is now, without demanding it. If nobody else does it stays until the next `collect`."""
        node, value = table.read(key)
        if node.idle:
            self._idle.append(node)
        return value

    def collect(self) -> None:
        """Drop the rows that nobody reads and nobody demands, and in turn what only they read."""
        while self._idle:
            node = self._idle.pop()
            if not node.idle:
                continue
            node.table.forget(node)
            if isinstance(node, Cell):
                self.failures.pop((node.table.name, node.key), None)
                for dep in node.deps:
                    if dep.remove_reader(node) and dep.idle:
                        self._idle.append(dep)
                node.deps = {}

    # -- changing -------------------------------------------------------------------------------------------------

    def apply(self, changes: Iterable[Change]) -> Changed:
        """One revision: all changes, then everything that depends on them. Returns the demanded rows that differ."""
        self.revision += 1
        self.recomputed = []
        for change in changes:
            source = self.tables[change.table]
            if not isinstance(source, Source):
                raise TypeError(f"{change.table} is not a source")
            match change:
                case Put(key=key, row=row):
                    source.put(key, row)
                case Drop(key=key):
                    source.drop(key)
                case Replace(prefix=prefix, rows=rows):
                    source.replace(prefix, rows)
        changed = self._wave()
        self.collect()
        return changed

    def mark(self, node: Node) -> None:
        """The node changed: its readers are recomputed in this wave."""
        for cell in node.readers():
            if not cell.queued:
                cell.queued = True
                self._queues[cell.table.level].append(cell)

    def rewire(self, cell: Cell, deps: dict[Node, None]) -> None:
        """The cell now depends on exactly `deps`."""
        old = cell.deps
        cell.deps = deps
        for dep in deps:
            if dep not in old:
                dep.add_reader(cell)
        for dep in old:
            if dep not in deps and dep.remove_reader(cell) and dep.idle:
                self._idle.append(dep)

    def _wave(self) -> Changed:
        changed: Changed = {}
        for queue in self._queues:
            # A row reads only what is declared before it, so no row is queued behind the level that is running.
            for cell in queue:
                cell.queued = False
                old = cell.value
                if cell.table.recompute(cell):
                    self.mark(cell)
                    if cell.pins:
                        changed[cell.table, cell.key] = (old, cell.value)
            queue.clear()
        return changed

    # -- looking --------------------------------------------------------------------------------------------------

    def dump(self, name: str) -> list[tuple[Hashable, Any]]:
        """The rows of a table, sorted by the text of their keys."""
        return sorted(self.tables[name].rows(), key=lambda item: str(item[0]))
