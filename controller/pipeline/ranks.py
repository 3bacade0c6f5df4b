"""Ranks of the rules of a tier, which stay what they were. PURE.

A rank is in every flow of its rule: a rule that gets another one costs a switch all flows of it. So a rule that goes
leaves a hole, and one that comes takes a rank between those of its neighbors; of rules in another order as many stay as
can. Where there is no room some neighbors move, on the side where fewer need to, and so many that there is room for the
next ones, too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from operator import gt

from controller.policy.model import Policy

RANKS = 60_000
"""Ranks are less than this, and a tier has no more rules."""
STEP = 64
"""From one rule to the next where several come together and there is room."""
LEFT = 2048
"""A rule that comes first or last leaves room for so many more there, at its own step; several at once leave less."""
TIGHT = 2.0
"""What the step is to be at least where neighbors move; the more of them, the wider."""

Ranks = Mapping[str, Mapping[str, int]]
"""Tier -> rule -> rank; in a tier the first rule has the highest."""


def rank_tiers(policy: Policy, before: Ranks) -> Ranks:
    """before: earlier ranks, of whatever policy."""
    names: dict[str, list[str]] = {tier: [] for tier in policy.tiers}
    for rule in policy.rules.values():
        names[rule.tier].append(rule.name)
    return {tier: rank_rules(rules, before.get(tier, {})) for tier, rules in names.items() if rules}


def rank_rules(names: Sequence[str], before: Mapping[str, int]) -> Mapping[str, int]:
    """Strictly descending ranks of up to RANKS names, none of them twice. before: earlier ones, of whatever names."""
    assert len(names) <= RANKS
    ranks = _kept([before.get(name, RANKS) for name in names])
    for index, rank in enumerate(ranks):
        if rank is None:  # and was given none yet
            first, end = _window(ranks, index, _end(ranks, index))
            ranks[first:end] = _spread(end - first, *_around(ranks, first, end))
    return {name: rank for name, rank in zip(names, ranks, strict=True) if rank is not None}


def _kept(old: Sequence[int]) -> list[int | None]:
    """As many of the ranks as can stay; None for the others, and for what is no rank.

    They are a longest descending subsequence, found by patience sorting: of those of n + 1 ranks, the one that ends
    highest ends at index ends[n].
    """
    kept = [rank if 0 <= rank < RANKS else None for rank in old]
    ranks = [rank for rank in kept if rank is not None]
    if all(map(gt, ranks, ranks[1:])):
        return kept
    ends: list[int] = []
    lowest: list[int] = []
    previous: list[int | None] = []
    for index, rank in enumerate(kept):
        if rank is None:
            previous.append(None)
            continue
        length = bisect_left(lowest, -rank)
        previous.append(ends[length - 1] if length else None)
        ends[length : length + 1] = [index]
        lowest[length : length + 1] = [-rank]
    at: int | None = ends[-1]
    longest: list[int | None] = [None] * len(old)
    while at is not None:
        longest[at] = old[at]
        at = previous[at]
    return longest


def _end(ranks: Sequence[int | None], first: int) -> int:
    """Where the rules without a rank end that begin at `first`."""
    return next((index for index in range(first, len(ranks)) if ranks[index] is not None), len(ranks))


def _around(ranks: Sequence[int | None], first: int, end: int) -> tuple[int | None, int | None]:
    """The ranks above and below some rules; None where there is no rule any more."""
    return ranks[first - 1] if first else None, ranks[end] if end < len(ranks) else None


def _window(ranks: Sequence[int | None], first: int, end: int) -> tuple[int, int]:
    """Where rules without a rank and the neighbors that must move for them begin and end."""
    if _step(ranks, first, end) >= 1:
        return first, end
    widest = max(TIGHT, 0.6 * RANKS / len(ranks))
    doublings = len(ranks).bit_length()
    for doubling in range(1, doublings + 1):
        # Sparser and sparser: where a window was spread, many more can come before it is too tight by itself.
        step = TIGHT * (widest / TIGHT) ** (doubling / doublings)
        reach = 1 << doubling - 1
        for up, down in ((0, reach), (reach, 0), (reach, reach)):
            wide = max(0, first - up), _end(ranks, min(end + down, len(ranks)))
            if _step(ranks, *wide) >= step:
                return wide
    return 0, len(ranks)


def _step(ranks: Sequence[int | None], first: int, end: int) -> float:
    """From one rank to the next, where these rules are spread between those around them."""
    above, below = _around(ranks, first, end)
    return ((RANKS if above is None else above) - (-1 if below is None else below)) / (end - first + 1)


def _spread(count: int, above: int | None, below: int | None) -> Iterator[int]:
    """Ranks for rules between two ranks, which have room for them; None: nothing is there."""
    if above is None and below is None:
        span = min(STEP, max(1, RANKS * 2 // 3 // count)) * (count + 1)
        above = RANKS - (RANKS + 1 - span) // 4
        below = above - span
    elif above is None:
        assert below is not None
        above = min(RANKS, below + _step_outside(count, RANKS - below) * (count + 1))
    elif below is None:
        below = max(-1, above - _step_outside(count, above + 1) * (count + 1))
    for number in range(1, count + 1):
        yield above - number * (above - below) // (count + 1)


def _step_outside(count: int, room: int) -> int:
    return min(STEP, max(1, room // (count + 1 + LEFT // count)))
