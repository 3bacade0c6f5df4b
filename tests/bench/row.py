"""One line of a benchmark's table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What was measured, what came out, what was to be reached, and whether it was."""

    what: str
    measured: str
    target: str
    ok: bool
