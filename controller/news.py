"""Whether all that was heard of something is taken into account. PURE, but for its own counts."""

from __future__ import annotations


class News:
    """What happens is counted by whoever hears of it; whoever takes it into account says up to which count.

    So what happens while it is being taken into account is not lost.
    """

    __slots__ = ("_taken", "count")

    def __init__(self) -> None:
        self.count = 0
        self._taken = 0

    def hear(self) -> None:
        self.count += 1

    def take(self, count: int) -> None:
        """What was heard when `count` was read is taken into account."""
        self._taken = count

    @property
    def pending(self) -> bool:
        return self._taken != self.count
