"""Ranks: they descend, they stay, and few move where there is no room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import gt, ne
from random import Random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.pipeline.ranks import RANKS, rank_rules, rank_tiers
from controller.policy.check_firewall import RULES_MAX
from controller.policy.firewall import Action, Rule
from controller.policy.model import Policy

NAMES = st.lists(st.sampled_from([f"r{i}" for i in range(30)]), unique=True)
RANK = st.integers(-2, 12) | st.integers(0, RANKS - 1) | st.integers(RANKS - 12, RANKS + 2)
BEFORE = st.dictionaries(st.sampled_from([f"r{i}" for i in range(40)]), RANK)


def descend(ranks: Mapping[str, int]) -> bool:
    numbers = [RANKS, *ranks.values(), -1]
    return all(map(gt, numbers, numbers[1:]))


def moved(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    return sum(map(ne, map(before.get, after, after.values()), after.values()))


def most_that_stay(names: Sequence[str], before: Mapping[str, int]) -> int:
    """The length of a longest descending subsequence, the slow way."""
    longest: list[int] = []
    ranks = [before[name] for name in names if 0 <= before.get(name, -1) < RANKS]
    for index, rank in enumerate(ranks):
        longest.append(1 + max((longest[i] for i in range(index) if ranks[i] > rank), default=0))
    return max(longest, default=0)


@given(NAMES, BEFORE)
def test_ranks_descend_whatever_they_were_before_and_stay_then(names: list[str], before: dict[str, int]) -> None:
    ranks = rank_rules(names, before)
    assert list(ranks) == names
    assert descend(ranks)
    assert rank_rules(names, ranks) == ranks


@given(NAMES, NAMES)
def test_as_many_keep_their_rank_as_their_order_allows(one: list[str], two: list[str]) -> None:
    before = rank_rules(one, {})
    after = rank_rules(two, before)
    assert descend(after)
    kept = [name for name in two if after[name] == before.get(name)]
    assert len(kept) >= most_that_stay(two, before)


@given(NAMES, st.data())
def test_rules_that_go_move_nobody_and_come_back_where_they_were_among_the_others(
    names: list[str], data: st.DataObject
) -> None:
    before = rank_rules(names, {})
    gone = data.draw(st.sets(st.sampled_from(names))) if names else set()
    left = rank_rules([name for name in names if name not in gone], before)
    assert left == {name: rank for name, rank in before.items() if name not in gone}
    again = rank_rules(names, left)
    assert moved(left, again) == 0
    assert rank_rules(list(left), again) == left


@given(st.integers(0, 300), st.data())
def test_a_rule_that_comes_moves_nobody(count: int, data: st.DataObject) -> None:
    names = [f"r{i}" for i in range(count)]
    before = rank_rules(names, {})
    names.insert(data.draw(st.integers(0, count)), "new")
    after = rank_rules(names, before)
    assert descend(after)
    assert moved(before, after) == 0


def test_a_rule_that_is_put_elsewhere_moves_alone() -> None:
    names = [f"r{i}" for i in range(300)]
    before = rank_rules(names, {})
    for at, to in ((0, 299), (299, 0), (100, 200), (200, 100)):
        turned = names.copy()
        turned.insert(to, turned.pop(at))
        after = rank_rules(turned, before)
        assert descend(after)
        assert {name for name in names if after[name] != before[name]} == {names[at]}


def last(names: list[str]) -> int:
    return len(names)


def first(_: list[str]) -> int:
    return 0


def before_one(names: list[str]) -> int:
    return names.index("r150")


def after_one(names: list[str]) -> int:
    return names.index("r150") + 1


def middle(names: list[str]) -> int:
    return len(names) // 2


@pytest.mark.parametrize(
    ("place", "often_none", "on_average"), [(last, 1.0, 0), (first, 1.0, 0), (before_one, 0.6, 4), (after_one, 0.6, 5),
                                           (middle, 0.6, 15)],
)  # fmt: skip
def test_thousands_of_rules_at_one_place_move_few(
    place: Callable[[list[str]], int], often_none: float, on_average: float
) -> None:
    names = [f"r{i}" for i in range(300)]
    ranks = rank_rules(names, {})
    numbers = []
    for number in range(1500):
        names.insert(place(names), f"new{number}")
        after = rank_rules(names, ranks)
        assert descend(after)
        numbers.append(moved(ranks, after))
        ranks = after
    assert numbers.count(0) >= often_none * len(numbers)
    assert mean(numbers) <= on_average


def test_a_tier_that_loses_its_first_rule_for_each_new_last_one_goes_on_for_ever() -> None:
    names = [f"r{i}" for i in range(20)]
    ranks, n_moved = rank_rules(names, {}), 0
    for number in range(20, 10_000):
        names = [*names[1:], f"r{number}"]
        after = rank_rules(names, ranks)
        assert descend(after)
        n_moved += moved(ranks, after)
        ranks = after
    assert n_moved < 1000


@pytest.mark.parametrize("count", [RULES_MAX, 2 * RULES_MAX, RANKS])
def test_as_many_rules_as_there_may_be_fit_in_any_order(count: int) -> None:
    names = [f"r{i}" for i in range(count)]
    ranks = rank_rules(names, {})
    assert descend(ranks)
    for other in (names[::-1], Random(1).sample(names, count), [*names[1:], names[0]], [f"x{i}" for i in range(count)]):
        assert descend(rank_rules(other, ranks))
    half = dict(zip(names[::2], range(count), strict=False))  # one after the other, with no room between
    assert descend(rank_rules(names, half))
    assert descend(rank_rules(names, rank_rules(names[::2], half)))


def test_each_tier_has_ranks_of_its_own_and_a_rule_that_changes_its_tier_gets_a_new_one() -> None:
    def policy(*rules: tuple[str, str]) -> Policy:
        made = {name: Rule(name, Action.DROP, tier=tier) for name, tier in rules}
        return Policy({}, {}, {}, tiers=("one", "two", "none"), rules=made)

    before = rank_tiers(policy(("a", "one"), ("b", "two"), ("c", "one"), ("d", "two")), {})
    assert before == {"one": rank_rules(["a", "c"], {}), "two": rank_rules(["b", "d"], {})}
    after = rank_tiers(policy(("a", "one"), ("c", "two"), ("b", "two"), ("d", "two")), before)
    assert after["one"] == {"a": before["one"]["a"]}
    assert after["two"]["c"] > before["two"]["b"]
    assert {name: after["two"][name] for name in ("b", "d")} == before["two"]


def test_all_the_rules_there_may_be_can_come_last_one_by_one_and_nobody_moves() -> None:
    names: list[str] = []
    ranks: Mapping[str, int] = {}
    for number in range(RULES_MAX):
        names.append(f"r{number}")
        after = rank_rules(names, ranks)
        assert moved(ranks, after) == 0
        ranks = after
    assert descend(ranks)
