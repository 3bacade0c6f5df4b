"""Collects what is wrong with a document, and finds the name that was meant. PURE.

One `Findings` lives as long as one reading of a document.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from controller.errors import PolicyError, Problem, pointer

_COMPARISONS = 20_000
_LONGEST = 64


class Nearest:
    """Finds the known name that is most like an unknown one.

    Comparing is slow, and a document may be wrong 100,000 times: each word is looked up once, and after 20,000
    comparisons, words too long to be names apart, no more suggestions are made. What is found stays the same.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], str] = {}
        self._left = _COMPARISONS

    def hint(self, kind: str, word: str, known: Collection[str]) -> str:
        """A question that names it, "" where nothing known is like the word. kind: tells sets of known names apart."""
        key = (kind, word)
        if key not in self._found:
            if len(word) > _LONGEST or self._left < len(known):
                return ""
            self._left -= len(known)
            close = get_close_matches(word, known, n=1) or [name for name in known if name.lower() == word.lower()]
            self._found[key] = f"did you mean {close[0]!r}?" if close else ""
        return self._found[key]


class Findings:
    """The problems of a document, in the order in which they were found."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.nearest = Nearest()

    def say(self, at: tuple[str | int, ...], message: str, hint: str = "") -> None:
        self.problems.append(Problem(pointer(*at), message, hint))

    def raise_any(self) -> None:
        """Raises PolicyError with all problems, if there are any."""
        if self.problems:
            raise PolicyError(self.problems)
