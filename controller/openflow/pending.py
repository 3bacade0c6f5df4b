"""Which requests of a connection still wait for an answer. PURE but for the waiters it makes.

A request is one xid, or a run of xids with one outcome. A green thread waits for it; the receive loop answers it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final, Protocol

from controller.errors import SwitchError
from controller.openflow.decode import ErrorReply
from controller.openflow.protocol import MAX_XID

REMEMBERED_ERRORS: Final = 5
"""How many errors of one run are kept; the others are only counted."""


class Waiter(Protocol):
    """What a green thread sleeps on until another one sets it."""

    def wait(self, timeout_s: float) -> bool:
        """Sleep until set, at most so long; whether it was set. Returns at once where it was set before."""
        ...

    def set(self) -> None: ...


MakeWaiter = Callable[[], Waiter]
TakeReply = Callable[[bytes], bool]
"""Called in the receive loop with each message but errors that carries the request's xid; True: that was the last."""


class Request:
    """xids first .. first + count - 1. errors: the first few, as (place in the run, error); n_errors: all of them."""

    __slots__ = ("_failure", "_waiter", "count", "errors", "first", "n_errors", "take_reply")

    def __init__(self, first: int, count: int, waiter: Waiter, take_reply: TakeReply | None) -> None:
        self.first = first
        self.count = count
        self.take_reply = take_reply
        self.errors: list[tuple[int, ErrorReply]] = []
        self.n_errors = 0
        self._waiter = waiter
        self._failure: str | None = None

    def answer(self, message: bytes) -> None:
        """A message came for one of the xids."""
        if self.take_reply is not None and self.take_reply(message):
            self._waiter.set()

    def refuse(self, error: ErrorReply) -> None:
        """An error came for one of the xids. Ends the request, unless it is one that no reply ends."""
        self.n_errors += 1
        if len(self.errors) < REMEMBERED_ERRORS:
            self.errors.append((error.xid - self.first, error))
        if self.take_reply is not None:
            self.fail(f"the switch refused: {error}")

    def fail(self, reason: str) -> None:
        """Wake who waits with a SwitchError; the first reason stays."""
        self._failure = self._failure or reason
        self._waiter.set()

    def wait(self, timeout_s: float, what: str) -> None:
        """Until answered. Raises AnswerTimeout, or SwitchError where it failed."""
        if not self._waiter.wait(timeout_s):
            raise AnswerTimeout(f"the switch did not answer within {timeout_s:g} s ({what})")
        if self._failure is not None:
            raise SwitchError(f"{self._failure} ({what})")


class AnswerTimeout(SwitchError):
    """The switch is silent: whether it did what was asked is not known."""


class Pending:
    """All requests under way, by xid."""

    def __init__(self, make_waiter: MakeWaiter) -> None:
        self._make_waiter = make_waiter
        self._next_xid = 1
        self._requests: dict[int, Request] = {}
        self._starts: list[int] = []
        self._closed: str | None = None

    def open(self, count: int, take_reply: TakeReply | None) -> Request:
        """A request with `count` xids of its own. Without take_reply it only gathers errors.

        Raises SwitchError once `fail_all` was called.
        """
        if self._closed is not None:
            raise SwitchError(self._closed)
        if self._next_xid + count > MAX_XID:
            self._next_xid = 1  # whoever had these xids was answered four thousand million messages ago
        request = Request(self._next_xid, count, self._make_waiter(), take_reply)
        self._next_xid += count
        self._requests[request.first] = request
        self._starts = sorted(self._requests)
        return request

    def close(self, request: Request) -> None:
        """Forget a request; what still comes for it is for nobody."""
        self._requests.pop(request.first, None)
        self._starts = sorted(self._requests)

    def find(self, xid: int) -> Request | None:
        """The request that has this xid."""
        starts = self._starts
        place = bisect_right(starts, xid)
        request = self._requests.get(starts[place - 1]) if place else None
        return request if request is not None and xid < request.first + request.count else None

    def fail_all(self, reason: str) -> None:
        """The connection is gone: wake everybody with a SwitchError, and refuse new requests."""
        self._closed = self._closed or reason
        for request in tuple(self._requests.values()):
            request.fail(reason)
