"""What the reconciler needs of a scheduler, as Protocols. PURE.

`framework` implements it with the framework's green threads; tests use plain threads.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Waiter(Protocol):
    """One event that one waits for and another sets."""

    def wait(self, timeout_s: float) -> bool:
        """Block this green thread until set (True) or the time is over (False)."""
        ...

    def set(self) -> None: ...


class Bell(Protocol):
    """One green thread waits at it, for whatever comes first: a ring, a file, the end of a time."""

    def wait(self, timeout_s: float | None, fileno: int | None = None, writable: bool = False) -> None:
        """Block this green thread until one of them; it may end early for nothing.

        timeout_s: None for no end. fileno: until it can be read, or written where writable. A ring while nobody waited
        ends the next wait at once.
        """
        ...

    def ring(self) -> None: ...


class Loop(Protocol):
    """Green threads: one runs at a time, each until it waits."""

    def spawn(self, function: Callable[[], None]) -> None:
        """Run in a green thread of its own."""
        ...

    def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in a thread of the operating system, others going on meanwhile; its result or its exception."""
        ...

    def waiter(self) -> Waiter: ...

    def bell(self) -> Bell: ...

    def lock(self) -> AbstractContextManager[object]:
        """A mutual exclusion between green threads."""
        ...

    def now(self) -> float:
        """Seconds on a clock that only goes forward."""
        ...
