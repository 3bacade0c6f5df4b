"""One mapping of a document while it is read: hands out its keys, and says where a problem is. PURE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from controller.policy.findings import Findings
from controller.policy.rules import Rule
from controller.policy.values import Unfit, shown

T = TypeVar("T")

LATER = frozenset(("filters",))
"""Keys of the whole design that this version does not have."""

At = tuple[str | int, ...]
"""Where something stands in a document: the unescaped parts of a JSON pointer."""


class Fields:
    """One mapping of the document while it is being read: hands out its keys and says where a problem is."""

    __slots__ = ("at", "findings", "value")

    def __init__(self, at: At, value: Mapping[str, object], findings: Findings) -> None:
        self.at = at
        self.value = value
        self.findings = findings

    def say(self, message: str, hint: str = "", *key: str | int) -> None:
        self.findings.say((*self.at, *key), message, hint)

    def take(self, key: str, reader: Callable[[object], T]) -> T | None:
        """The value of a key; None where it is missing or has a problem."""
        if key not in self.value:
            return None
        return self.attempt(reader, self.value[key], key)

    def require(self, key: str, reader: Callable[[object], T]) -> T | None:
        """As `take`; that the key is missing is said."""
        if key not in self.value:
            self.say(f"{key} is missing", f"add {key}")
        return self.take(key, reader)

    def tell(self, rule: Rule, at: At, suggestion: str = "", **found: object) -> None:
        """Say that a rule between objects is broken. at: below this mapping."""
        self.findings.problems.append(rule.problem((*self.at, *at), suggestion, **found))

    def listed(self, key: str) -> list[object]:
        """The list under a key; empty where it is missing or not one."""
        value = self.value.get(key, [])
        if isinstance(value, list):
            return value
        plain = isinstance(value, int) or (isinstance(value, str) and value.isprintable() and len(value) < 64)
        example = f"write [{shown(value) if isinstance(value, bool) else value}]" if plain else ""
        self.say(f"{shown(value)} is not a list", example, key)
        return []

    def mappings(self, key: str, known: tuple[str, ...]) -> Iterator[Fields]:
        """The mappings in the list under a key, with their unknown keys reported."""
        for index, item in enumerate(self.listed(key)):
            fields = open_fields((*self.at, key, index), item, known, self.findings)
            if fields is not None:
                yield fields

    def take_list(self, key: str, reader: Callable[[object], T]) -> tuple[T, ...]:
        """The sound items of a list; () where it is missing."""
        found: dict[T, None] = {}
        for index, item in enumerate(self.listed(key)):
            value = self.attempt(reader, item, key, index)
            if value is None:
                continue
            if value in found:
                self.say(f"{item} stands in the list twice", "write it once", key, index)
            found[value] = None
        return tuple(found)

    def section(self, key: str) -> Mapping[str, object]:
        """The mapping under a key; empty where it is missing or not one."""
        value = self.value.get(key, {})
        if not isinstance(value, dict):
            hint = "write {} for none, or leave the key out" if value is None else "a mapping from names to objects"
            self.say(f"{shown(value)} is not a mapping", hint, key)
            return {}
        return value

    def attempt(self, reader: Callable[[object], T], value: object, *key: str | int) -> T | None:
        """What the reader makes of a value; None where it is unfit, which is then said."""
        try:
            return reader(value)
        except Unfit as unfit:
            self.say(unfit.message, unfit.hint, *key)
            return None


def open_fields(at: At, value: object, keys: tuple[str, ...], findings: Findings) -> Fields | None:
    """A mapping with its unknown keys reported; None where it is none."""
    if not isinstance(value, dict):
        what = " of ".join(("a mapping", ", ".join(keys)))
        findings.say(at, f"{shown(value)} is not a mapping", what)
        return None
    for key in value:
        if key not in keys:
            if not isinstance(key, str):
                findings.say((*at, str(shown(key))), f"the key {shown(key)} is not a string", "put it in quotes")
                continue
            hint = findings.nearest.hint(" ".join(keys), key, keys) or f"known are: {', '.join(keys)}"
            if key in LATER:
                hint = "this version does not have it yet"
            findings.say((*at, key), f"the key {shown(key)} is unknown", hint)
    return Fields(at, value, findings)
