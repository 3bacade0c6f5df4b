"""How the API calls what computes for long, so that it need not know what runs it. PURE."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class InThread(Protocol):
    """Calls a function where it does not hold the event loop; returns what it returns and raises what it raises."""

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...


def in_place(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """For programs that have no event loop."""
    return function(*args, **kwargs)


def no_pause() -> None:
    """For programs that have no green threads to let run."""
