"""What pure functions returned the last time, so that a run over many of them costs what differs. State."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class Known:
    """The result of one function for these inputs."""

    inputs: object
    result: object


class Memory:
    """Of one run after the other; what a run does not ask for is forgotten with it."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, ...], Known] = {}
        self._now: dict[tuple[str, ...], Known] = {}

    def begin(self) -> None:
        """A run begins. One that did not end left nothing."""
        self._now = {}

    def end(self) -> None:
        """A run is over."""
        self._before = self._now

    @property
    def kept(self) -> Mapping[tuple[str, ...], Known]:
        """What is known from the last run, by question; what was not computed again is the very same object."""
        return self._before

    def recall(self, key: tuple[str, ...], run: Callable[[A, B], R], one: A, two: B) -> R:
        """run(one, two), or what that returned in the run before, where both are the same. key: one a question."""
        known, inputs = self._before.get(key), (one, two)
        if known is None or known.inputs != inputs:
            known = Known(inputs, run(one, two))
        else:
            known.inputs = inputs  # the next run has these very objects, most likely: they are compared at once
        self._now[key] = known
        return cast(R, known.result)
