"""What others had changed and was set right: the sentences, and how often it may be done. PURE.

Two who each set right what the other has set would go on for ever; a few times at once are done at once, then slowly.
"""

from __future__ import annotations

AT_ONCE = 10
EVERY_S = 1.0
KEPT = 50
TOLD_AT_ONCE = 20


class Corrections:
    """sentences: the last of them, newest last."""

    def __init__(self) -> None:
        self.sentences: tuple[str, ...] = ()
        self._left = float(AT_ONCE)
        self._counted_at = 0.0

    def wait_s(self, now: float) -> float:
        """How long until the next one may be done; 0 for at once."""
        self._count(now)
        return 0.0 if self._left >= 1 else (1 - self._left) * EVERY_S

    def note(self, now: float, changed: tuple[str, ...]) -> None:
        """One has been done."""
        self._count(now)
        self._left -= 1
        told, more = changed[:TOLD_AT_ONCE], len(changed) - TOLD_AT_ONCE
        if more > 0:
            told += (f"and {more} more at the same time",)
        self.sentences = (self.sentences + told)[-KEPT:]

    def _count(self, now: float) -> None:
        self._left = min(float(AT_ONCE), self._left + max(0.0, now - self._counted_at) / EVERY_S)
        self._counted_at = now
