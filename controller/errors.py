"""What can go wrong, in one place. PURE.

Every error of ours derives from `TripointError`. A `Problem` is one finding in something a user wrote; it says
where (an RFC 6901 JSON pointer into the document), what is wrong, and what would be right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class TripointError(Exception):
    """The root of every error that Tripoint raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding in a document.

    path: JSON pointer (RFC 6901) to the offending value, "" for the document itself.
    message: what is wrong, one sentence.
    hint: what would be right, one sentence; "" where nothing useful can be said.
    """

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = self.path or "(document)"
        return f"{where}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class PolicyError(TripointError):
    """A document is not a policy. Carries every problem found, never only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("; ".join(str(p) for p in self.problems))


class CompileError(TripointError):
    """The pipeline broke one of its own declarations, or two flows contradict each other: a defect of ours."""


class SwitchError(TripointError):
    """A switch refused a change, or went away while it was being asked."""


class StoreError(TripointError):
    """The store cannot be read or written; nothing may be acknowledged."""


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901) from its unescaped parts."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
