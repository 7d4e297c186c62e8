"""Names in a tree are a set like any other; what differs from the one before costs what differs."""

from isthmus.graph.name_tree import WIDTH, NameTree, place


def tree(names: set[str], *rest: frozenset[str]) -> NameTree:
    leaves = [[set[str]() for _ in range(WIDTH)] for _ in range(WIDTH)]
    for name in names:
        branch, leaf = place(name)
        leaves[branch][leaf].add(name)
    return NameTree(tuple(tuple(map(frozenset, branch)) for branch in leaves), rest)


NAMES = {f"east//Pod/sample/p{number}" for number in range(3000)}
SERVICES = frozenset({"sample/a", "sample/b"})


def test_it_is_a_set() -> None:
    made = tree(NAMES, SERVICES)
    assert set(made) == NAMES | SERVICES
    assert len(made) == 3002
    assert "east//Pod/sample/p7" in made
    assert "sample/a" in made
    assert "east//Pod/sample/p3000" not in made
    assert made & {"sample/a", "none"} == {"sample/a"}
    assert frozenset({"sample/a", "none"}) & made == {"sample/a"}
    assert set(tree(NAMES) | SERVICES) == NAMES | SERVICES


def test_what_differs() -> None:
    before, after = tree(NAMES, SERVICES), tree(NAMES - {"east//Pod/sample/p5"} | {"new"}, frozenset({"sample/a"}))
    assert after - before == {"new"}
    assert before - after == {"east//Pod/sample/p5", "sample/b"}
    assert after != before
    assert tree(NAMES, SERVICES) == before
    assert before - tree(NAMES) == SERVICES
    assert frozenset({"x", "sample/a"}) - before == {"x"}
    assert before - frozenset(NAMES) == SERVICES


def test_names_are_spread_evenly() -> None:
    sizes = [len(leaf) for branch in tree(NAMES).branches for leaf in branch]
    assert max(sizes) < 16
