"""Packets that wait for the MAC of their next hop. State, but no I/O and no clock: `now_s` is passed in.

RFC 4861 section 7.2.2: few packets a next hop, the newest ones; asked at most once a second; given up after three
seconds. What is kept is bounded: a scan of a segment's addresses from inside costs no more than that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from controller.mac import Mac
from controller.policy.model import Address

WAIT_S = 3.0
"""How long a packet waits, and how long an answer is remembered for packets that were under way when it came."""
ASK_EVERY_S = 1.0
PACKETS_EACH = 3
MOST_HOPS = 100
MOST_BYTES = 1 << 20
"""Of all packets that wait on one bridge."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A next hop: the number of an uplink, and an address on its segment."""

    uplink: int
    address: Address


@dataclass(slots=True)
class _Waiting:
    since_s: float
    asked_s: float
    frames: deque[bytes] = field(default_factory=deque)


class NextHops:
    """Of one bridge. dropped: packets that were given up so far."""

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: dict[Hop, _Waiting] = {}
        """Oldest first."""
        self._heard: dict[Hop, tuple[Mac, float]] = {}
        """Oldest first: the answers of the last seconds."""
        self._bytes = 0

    def known(self, hop: Hop, now_s: float) -> Mac | None:
        """The MAC that was heard for a hop in the last seconds."""
        mac, heard_s = self._heard.get(hop, (None, 0.0))
        return mac if now_s - heard_s < WAIT_S else None

    def hold(self, hop: Hop, frame: bytes, now_s: float) -> bool:
        """Keep a packet until its next hop is heard; whether to ask for it now."""
        waiting = self._waiting.get(hop)
        is_new = waiting is None
        if waiting is None:
            if len(self._waiting) >= MOST_HOPS:
                self._give_up(next(iter(self._waiting)))
            waiting = self._waiting[hop] = _Waiting(now_s, now_s)
        waiting.frames.append(frame)
        self._bytes += len(frame)
        if len(waiting.frames) > PACKETS_EACH:
            self._drop_oldest(waiting)
        while self._bytes > MOST_BYTES:
            self._give_up(next(iter(self._waiting)))
        return is_new and hop in self._waiting

    def hear(self, hop: Hop, mac: Mac, now_s: float) -> tuple[bytes, ...]:
        """The packets that may go now; none where nobody waits for this hop."""
        waiting = self._waiting.pop(hop, None)
        if waiting is None:
            return ()
        self._heard.pop(hop, None)
        self._heard[hop] = (mac, now_s)
        if len(self._heard) > MOST_HOPS:
            del self._heard[next(iter(self._heard))]
        frames = tuple(waiting.frames)
        self._bytes -= sum(map(len, frames))
        return frames

    def due(self, now_s: float) -> tuple[Hop, ...]:
        """The hops to be asked for again now; those that have not answered for too long are given up."""
        for hop in [hop for hop, waiting in self._waiting.items() if now_s - waiting.since_s >= WAIT_S]:
            self._give_up(hop)
        again = tuple(hop for hop, waiting in self._waiting.items() if now_s - waiting.asked_s >= ASK_EVERY_S)
        for hop in again:
            self._waiting[hop].asked_s = now_s
        return again

    def due_s(self) -> float | None:
        """When `due` has something to do next; None where nothing waits."""
        times = (min(w.since_s + WAIT_S, w.asked_s + ASK_EVERY_S) for w in self._waiting.values())
        return min(times, default=None)

    def _drop_oldest(self, waiting: _Waiting) -> None:
        self._bytes -= len(waiting.frames.popleft())
        self.dropped += 1

    def _give_up(self, hop: Hop) -> None:
        waiting = self._waiting.pop(hop)
        while waiting.frames:
            self._drop_oldest(waiting)
