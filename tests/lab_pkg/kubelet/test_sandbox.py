"""Pod addresses of a node."""

import pytest

from isthmus_lab.kubelet.sandbox import AddressPool


def test_addresses_are_not_given_twice_and_returned_ones_come_last() -> None:
    pool = AddressPool(["a", "b", "c"], used={"b"})
    assert pool.take() == "a"
    pool.give_back("a")
    pool.give_back("b")
    pool.give_back("b")
    assert [pool.take(), pool.take(), pool.take()] == ["c", "a", "b"]
    with pytest.raises(OSError, match="no free pod address"):
        pool.take()


def test_a_wanted_address_is_given_if_it_is_free() -> None:
    pool = AddressPool(["a", "b"], used=set())
    assert pool.take("b") == "b"
    assert pool.take("b") == "a"
