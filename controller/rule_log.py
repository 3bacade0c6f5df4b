"""The log of rules: at most as many events as each rule's rate allows, the last ones kept, and those who read them.

State; the clocks come from outside. It never waits for a reader: one that is slow finds numbers missing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from controller.control import RuleEvent, TooManyReaders
from controller.loop import Loop, Waiter
from controller.policy.firewall import LogRate

LOG = logging.getLogger("tripoint.rules")

KEPT = 1000
HEARTBEAT_S = 15.0
"""A reader that follows is told every so often that nothing has happened."""
FOLLOWERS = 64
"""How many may follow at a time: each takes one of the places that REST has for clients."""
TWICE_WITHIN_S = 1.0
"""The same packet passes rules on every bridge on its way; within this time only the first bridge's event counts."""
BUCKETS = 10_000


@dataclass(slots=True)
class Bucket:
    """Lets `rate.count` events through in `rate.per_s` seconds, as many at once; counts those it holds back."""

    rate: LogRate
    tokens: float
    filled_s: float
    suppressed: int = 0

    def take(self, now_s: float) -> bool:
        refill = (now_s - self.filled_s) * self.rate.count / self.rate.per_s
        self.tokens, self.filled_s = min(self.rate.count, self.tokens + refill), now_s
        if self.tokens < 1:
            self.suppressed += 1
            return False
        self.tokens -= 1
        return True


class RuleLog:
    """Of all bridges."""

    def __init__(self, loop: Loop, wall_clock: Callable[[], datetime]) -> None:
        self._loop = loop
        self._wall_clock = wall_clock
        self._events: deque[RuleEvent] = deque(maxlen=KEPT)
        self._number = 0
        self._buckets: dict[str, Bucket] = {}
        self._seen: dict[tuple[object, ...], tuple[str, float]] = {}
        """What was seen lately -> on which bridge, and when; oldest first."""
        self._waiting: set[Waiter] = set()
        self._followers = 0

    def note(self, event: RuleEvent, rate: LogRate) -> None:
        """Write an event down, if its rule's rate allows. Its number, time and suppressed are filled in."""
        now_s = self._loop.now()
        if self._elsewhere(event, now_s):
            return
        bucket = self._buckets.get(event.rule)
        if bucket is None or bucket.rate != rate:
            suppressed = 0 if bucket is None else bucket.suppressed
            bucket = self._buckets[event.rule] = Bucket(rate, rate.count, now_s, suppressed)
            if len(self._buckets) > BUCKETS:  # of rules that are long gone, for a policy has fewer
                del self._buckets[next(iter(self._buckets))]
        if not bucket.take(now_s):
            return
        self._number += 1
        time = self._wall_clock().isoformat(timespec="milliseconds")
        event = replace(event, number=self._number, time=time, suppressed=bucket.suppressed)
        bucket.suppressed = 0
        self._events.append(event)
        LOG.info("%s", _line(event))
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            waiter.set()

    def read(self, follow: bool = False) -> Reader:
        """Raises TooManyReaders."""
        if follow and self._followers >= FOLLOWERS:
            raise TooManyReaders(f"{FOLLOWERS} readers follow the log already")
        self._followers += follow
        return Reader(self, follow)

    def since(self, number: int) -> list[RuleEvent]:
        """The events that are kept, from a number on."""
        if not self._events or number > self._number:
            return []
        return list(islice(self._events, max(number - self._events[0].number, 0), None))

    def wait(self, number: int) -> bool:
        """Until there is an event of this number, or a later one; False where nothing happened for a while."""
        waiter = self._loop.waiter()
        self._waiting.add(waiter)
        try:
            return number <= self._number or waiter.wait(HEARTBEAT_S)
        finally:
            self._waiting.discard(waiter)

    def leave(self) -> None:
        """A reader that followed has gone."""
        self._followers -= 1

    def _elsewhere(self, event: RuleEvent, now_s: float) -> bool:
        """Whether another bridge has just told of the same packet."""
        key = (event.rule, event.protocol, event.source_ip, event.target_ip, event.source_port, event.target_port,
               event.icmp)  # fmt: skip
        dpid, seen_s = self._seen.get(key, (event.dpid, now_s))
        if dpid != event.dpid and now_s - seen_s < TWICE_WITHIN_S:
            return True
        self._seen.pop(key, None)
        self._seen[key] = (event.dpid, now_s)
        if len(self._seen) > KEPT:
            del self._seen[next(iter(self._seen))]
        return False


class Reader:
    """Implements `control.LogReader`: a place in the log. It never holds more events than the log keeps."""

    def __init__(self, log: RuleLog, follow: bool) -> None:
        self._log = log
        self._follow = follow
        self._closed = False
        self._next = 1
        self._batch: list[RuleEvent] = []

    def __iter__(self) -> Iterator[RuleEvent | None]:
        return self

    def __next__(self) -> RuleEvent | None:
        while not self._batch:
            if self._closed:
                raise StopIteration
            self._batch = self._log.since(self._next)[::-1]
            if self._batch:
                break
            if not self._follow:
                raise StopIteration
            if not self._log.wait(self._next):
                return None
        event = self._batch.pop()
        self._next = event.number + 1
        return event

    def close(self) -> None:
        """Once or more often; from then on there is nothing to read."""
        if self._follow and not self._closed:
            self._log.leave()
        self._closed, self._batch = True, []


def _line(event: RuleEvent) -> str:
    """key=value, in one line; what is not there is left out."""
    pairs = [
        ("rule", event.rule), ("action", event.action), ("dpid", event.dpid), ("network", event.network),
        ("target_network", event.target_network), ("from", event.origin), ("to", event.target),
        ("proto", event.protocol), ("source", event.source_ip), ("source_port", event.source_port),
        ("target", event.target_ip), ("target_port", event.target_port), ("icmp", event.icmp),
        ("suppressed", event.suppressed or None),
    ]  # fmt: skip
    return " ".join(f"{key}={value}" for key, value in pairs if value is not None)
