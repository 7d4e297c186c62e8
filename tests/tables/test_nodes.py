"""Readers of a node: none, one, several."""

from isthmus.tables.nodes import Cell, Node


def test_readers_come_and_go() -> None:
    node = Node("table", "key")
    first, second, third = (Cell("table", number) for number in range(3))
    assert node.idle
    for reader in (first, first, second, third):
        node.add_reader(reader)
    assert set(node.readers()) == {first, second, third}
    assert not node.remove_reader(second)
    assert not node.remove_reader(third)
    assert list(node.readers()) == [first]
    assert not node.remove_reader(second)
    assert node.remove_reader(first)
    assert node.idle


def test_a_demanded_cell_is_not_idle() -> None:
    cell = Cell("table", "key")
    assert cell.idle
    cell.pins = 1
    assert not cell.idle
