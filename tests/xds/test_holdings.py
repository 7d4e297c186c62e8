"""Maps that are shared while they agree and kept apart where they do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.xds.holdings import FEW, Holdings, Pool


def many(count: int = 100, version: str = "1") -> dict[str, str]:
    return {f"n{number}": version for number in range(count)}


def filled(pool: Pool, versions: dict[str, str]) -> Holdings:
    made = Holdings(pool)
    for name, version in versions.items():
        made[name] = version
    made.settle()
    return made


def test_two_that_hold_the_same_share_one_map() -> None:
    pool = Pool()
    one, other = filled(pool, many()), filled(pool, many())
    assert one.versions() is other.versions()


def test_a_client_that_says_what_it_holds_shares_too() -> None:
    pool = Pool()
    one, other = filled(pool, many()), Holdings(pool)
    other.adopt(dict(many()))
    assert one.versions() is other.versions()


def test_a_few_differences_do_not_copy_the_map() -> None:
    pool = Pool()
    one, other = filled(pool, many()), filled(pool, many())
    one["n1"] = "2"
    one.discard("n2")
    one["new"] = "1"
    one.settle()
    assert (one.get("n1"), one.get("n2"), one.get("new"), len(one)) == ("2", None, "1", 100)
    assert (other.get("n1"), other.get("n2"), other.get("new"), len(other)) == ("1", "1", None, 100)
    assert one._base is other._base


def test_what_changed_back_is_no_difference() -> None:
    one = filled(Pool(), many())
    base = one.versions()
    one["n1"] = "2"
    one["n1"] = "1"
    assert one.versions() is base


def test_after_many_differences_another_shared_map_is_sought() -> None:
    pool = Pool()
    one, other = filled(pool, many()), filled(pool, many(version="2"))
    for name in many():
        one[name] = "2"
    one.settle()
    assert one.versions() is other.versions()


def test_the_pool_is_bounded() -> None:
    pool = Pool(most=3)
    held = [filled(pool, many(FEW + 1, version=str(number))) for number in range(10)]
    assert len(pool._maps) == 3
    assert [holdings.get("n0") for holdings in held] == [str(number) for number in range(10)]
    for number in range(10):
        pool.names([f"{number}"])
    assert len(pool._sets) == 3


def test_equal_sets_of_names_are_one_set() -> None:
    pool = Pool()
    assert pool.names(["a", "b"]) is pool.names(("b", "a"))


names = st.sampled_from([f"n{number}" for number in range(60)])
steps = st.lists(st.tuples(names, st.sampled_from(["1", "2", None])), max_size=200)


@pytest.mark.parametrize("start", [{}, many(50)])
@given(steps=steps, settle_every=st.integers(1, 50))
def test_it_is_a_map_whatever_happens(
    start: dict[str, str], steps: list[tuple[str, str | None]], settle_every: int
) -> None:
    pool, model = Pool(most=4), dict(start)
    held = Holdings(pool)
    held.adopt(start)
    for number, (name, version) in enumerate(steps):
        if version is None:
            held.discard(name)
            model.pop(name, None)
        else:
            held[name] = version
            model[name] = version
        if number % settle_every == 0:
            held.settle()
    assert dict(held.versions()) == model
    assert set(held) == set(model)
    assert len(held) == len(model)
    assert all((name in held) == (name in model) for name in many(60))
