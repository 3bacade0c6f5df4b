"""Reading a document value by value: every problem is kept with its path, and reading goes on. PURE."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
E = TypeVar("E", bound=Enum)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. path: JSON pointer, "" for the whole file. hint: what would be right, or ""."""

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.path or '(file)'}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class LabFileError(Exception):
    """The text is not a lab. problems: all of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class Reader:
    """Reads on after a problem, so that all are found; what could not be read is left out of the result."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def bad(self, path: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(path, message, hint))

    # -- values ------------------------------------------------------------------------------------------------------

    def mapping(
        self, value: object, path: str, known: Iterable[str] | None, required: Iterable[str] = ()
    ) -> dict[str, Any]:
        """A mapping with the known keys (None: any name) and at least the required ones."""
        if not isinstance(value, dict):
            self.bad(path, f"{shown(value)} is not a mapping")
            return {}
        kept: dict[str, Any] = {}
        for key, item in value.items():
            if known is None or key in set(known):
                kept[str(key)] = item
            else:
                near = difflib.get_close_matches(str(key), list(known), 1)
                hint = f"did you mean {near[0]!r}?" if near else "known here: " + ", ".join(known)
                self.bad(below(path, key), f"unknown key {key!r}", hint)
        for key in required:
            if key not in value:
                self.bad(path, f"{key!r} is missing")
        return kept

    def several(self, value: object, path: str) -> list[tuple[Any, str]]:
        """(item, path) of a list."""
        if value is None:
            return []
        if not isinstance(value, list):
            self.bad(path, f"{shown(value)} is not a list")
            return []
        return [(item, below(path, i)) for i, item in enumerate(value)]

    def one_or_more(self, value: object, path: str) -> list[tuple[Any, str]]:
        """(item, path) of a list, or of a single value as of a list of one."""
        return self.several(value, path) if isinstance(value, list) else [(value, path)]

    def text(self, value: object, path: str, shape: re.Pattern[str] | None = None, hint: str = "") -> str:
        if not isinstance(value, str) or (shape and not shape.fullmatch(value)):
            self.bad(path, f"{shown(value)} is not {'a text' if shape is None else 'a valid name'}", hint)
            return ""
        return value

    def flag(self, value: object, path: str) -> bool:
        if not isinstance(value, bool):
            self.bad(path, f"{shown(value)} is neither true nor false")
        return bool(value)

    def choice(self, value: object, path: str, kind: type[E]) -> E | None:
        words = [str(member.value) for member in kind]
        if isinstance(value, str) and value in words:
            return kind(value)
        near = difflib.get_close_matches(str(value), words, 1)
        self.bad(
            path, f"{shown(value)} is unknown", f"did you mean {near[0]!r}?" if near else "one of " + ", ".join(words)
        )
        return None

    def parsed(self, value: object, path: str, parser: Callable[[str], T], what: str) -> T | None:
        try:
            if isinstance(value, str):
                return parser(value)
        except ValueError:
            pass
        self.bad(path, f"{shown(value)} is not {what}")
        return None

    def mac(self, value: object, path: str) -> str:
        mac = value.lower().replace("-", ":") if isinstance(value, str) else ""
        if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1:
            self.bad(
                path, f"{shown(value)} is not a unicast MAC address", 'six octets in quotes, as in "02:00:00:00:00:01"'
            )
        return mac


def below(path: str, *parts: object) -> str:
    """The JSON pointer (RFC 6901) of something below `path`."""
    return path + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def shown(value: object) -> str:
    """As a message quotes it: never long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def mappings(document: Mapping[str, object] | None, section: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, object) of a section of a policy document, without what is no mapping."""
    objects = document.get(section) if document is not None else None
    for name, value in objects.items() if isinstance(objects, dict) else ():
        if isinstance(value, dict):
            yield str(name), value


def near(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or ""."""
    found = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {found[0]!r}?" if found else ""
