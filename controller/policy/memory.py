"""What pure functions returned the last time, so that a run over many of them costs what differs. State."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")


class Memory:
    """Of one run after the other; what a run does not ask for is forgotten with it."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, ...], tuple[object, object]] = {}
        self._now: dict[tuple[str, ...], tuple[object, object]] = {}

    def begin(self) -> None:
        """A run begins. One that did not end left nothing."""
        self._now = {}

    def end(self) -> None:
        """A run is over."""
        self._before = self._now

    @property
    def kept(self) -> Mapping[tuple[str, ...], object]:
        """What is known from the last run, by question; what was not computed again is the very same object."""
        return self._before

    def recall(self, key: tuple[str, ...], run: Callable[[A, B], R], one: A, two: B) -> R:
        """run(one, two), or what that returned in the run before, where both are the same. key: one a question."""
        last = self._before.get(key)
        inputs = (one, two)
        if last is None or last[0] != inputs:
            last = (inputs, run(one, two))
        self._now[key] = last
        return cast(R, last[1])
