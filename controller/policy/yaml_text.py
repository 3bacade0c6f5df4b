"""YAML text to a plain document, with the places of what is wrong. PURE.

Built on the events of PyYAML's parser (the one in C where there is one) and not on its loaders: so the depth is bounded
without recursion, keys written twice are seen, and scalars are read as YAML 1.2 means them. Unquoted true, false, null,
~ (also True, TRUE, Null, NULL), decimal whole numbers and decimal fractions are special; all else is a string, like
52:54:00:56:44:32, no, on, 010, 0x10 and 2024-01-01. Anchors and aliases work, within bounds; merge keys do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn

import yaml

from controller.errors import PolicyError, Problem, pointer
from controller.policy.plain import DEPTH_MAX, Path, key_twice, step, too_deep
from controller.policy.values import shown

try:
    from yaml.cyaml import CParser as _Parser
except ImportError:  # PyYAML built without libyaml: the same events, twenty times slower
    from yaml import SafeLoader as _Parser

ALIASED_MAX = 100_000
"""How many values the aliases of a document may stand for, together: so the text is about as large as its meaning."""

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_STRING_TAGS = ("!", "tag:yaml.org,2002:str")
_PLAIN_TAGS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_NO_KEY = ()
"""Stands for a key that cannot be one, so that its value is read and forgotten."""


def read_yaml(text: str) -> tuple[object, list[Problem]]:
    """The one document in the text, None where there is none, and what is wrong with its keys, tags and numbers.

    Raises PolicyError where it cannot be read to its end: syntax (with line and column), depth, aliases.
    """
    builder = _Builder()
    try:
        parser = _Parser(text)
        try:
            while not builder.done:
                builder.take(parser.get_event())
        finally:
            parser.dispose()
    except yaml.MarkedYAMLError as error:
        raise PolicyError([_syntax(error, text)]) from error
    except yaml.reader.ReaderError as error:
        raise PolicyError([_unreadable(error, text)]) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the parser in Python lets a bad escape through so
        raise PolicyError([Problem("", f"not YAML: {shown(str(error))}")]) from error
    return builder.root, builder.problems


def _syntax(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = error.problem or error.context or "it cannot be read"
    if mark is None:
        return Problem("", f"not YAML: {what}")
    lines = text.split("\n")
    line = lines[mark.line] if mark.line < len(lines) else ""
    hint = ""
    if "\t" in line[: mark.column + 1]:
        hint = "indent with blanks, not with tabs"
    elif "::" in line:
        hint = "put an IPv6 address that begins or ends with '::' in quotes"
    return Problem("", f"not YAML in line {mark.line + 1}, column {mark.column + 1}: {what}", hint)


def _unreadable(error: yaml.reader.ReaderError, text: str) -> Problem:
    """A character that YAML does not allow, such as a control character."""
    letter = chr(error.character) if isinstance(error.character, int) else str(error.character)
    at = max(text.find(letter), 0)
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return Problem("", f"not YAML in line {line}, column {column}: {shown(letter)} is not a character that YAML allows")


@dataclass(slots=True)
class _Level:
    """A list or mapping that is being filled. key: what the next value belongs to, None before a key.

    lines: where each key stands. first: how many values there were before it.
    """

    value: dict[str, object] | list[object]
    anchor: str | None
    first: int
    key: object = None
    lines: dict[str, int] = field(default_factory=dict)


class _Builder:
    """Takes the events of one document."""

    def __init__(self) -> None:
        self.root: object = None
        self.done = False
        self.problems: list[Problem] = []
        self._levels: list[_Level] = []
        self._documents = 0
        self._values = 0
        self._aliased = 0
        self._anchors: dict[str, tuple[object, int] | None] = {}
        """What an anchor names and how many values that is; None while it is still being filled."""

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._values += 1
                value = self._scalar(event)
                if event.anchor is not None:
                    self._anchors[event.anchor] = (value, 1)
                self._place(value, event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._open(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                level = self._levels.pop()
                if level.anchor is not None:
                    self._anchors[level.anchor] = (level.value, self._values - level.first)
                self._place(level.value, event)
            case yaml.AliasEvent():
                self._place(self._follow(event), event)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    line = event.start_mark.line + 1
                    self._give_up(f"a second document begins in line {line}", "one policy is one document")
            case yaml.StreamEndEvent():
                self.done = True

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        if len(self._levels) >= DEPTH_MAX:
            raise PolicyError([too_deep(self._path())])
        if event.tag not in _PLAIN_TAGS:
            self._say(f"the tag {shown(event.tag)} means nothing here", "leave it out")
        value: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._levels.append(_Level(value, event.anchor, self._values))
        self._values += 1
        if event.anchor is not None:
            self._anchors[event.anchor] = None

    def _follow(self, event: yaml.AliasEvent) -> object:
        line = event.start_mark.line + 1
        if event.anchor not in self._anchors:
            self._give_up(f"the alias *{event.anchor} in line {line} names no anchor before it")
        found = self._anchors[event.anchor]
        if found is None:
            self._give_up(f"the alias *{event.anchor} in line {line} stands inside what it names")
        value, size = found
        self._values += size
        self._aliased += size
        if self._aliased > ALIASED_MAX:
            self._give_up(f"the aliases up to line {line} stand for more than {ALIASED_MAX} values", "write them out")
        return value

    def _place(self, value: object, event: yaml.Event) -> None:
        if not self._levels:
            self.root = value
            return
        level = self._levels[-1]
        if isinstance(level.value, list):
            level.value.append(value)
        elif level.key is None:
            level.key = self._key(level, value, event)
        else:
            if isinstance(level.key, str):
                level.value[level.key] = value
            level.key = None

    def _key(self, level: _Level, value: object, event: yaml.Event) -> object:
        """The key to use, or _NO_KEY where the value cannot be one."""
        line = event.start_mark.line + 1
        if not isinstance(value, str):
            written = event.value if isinstance(event, yaml.ScalarEvent) else shown(value)
            at = pointer(*self._path(), step(written))
            hint = f'put it in quotes: "{written}"' if isinstance(event, yaml.ScalarEvent) else "keys are strings"
            self.problems.append(Problem(at, f"the key {shown(value)} in line {line} is not a string", hint))
            return _NO_KEY
        if value == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            message = f"the merge key << in line {line} is not part of YAML 1.2"
            self.problems.append(Problem(pointer(*self._path(), "<<"), message, "write the keys out"))
            return _NO_KEY
        if value in level.lines:
            self.problems.append(key_twice(self._path(), value, level.lines[value], line))
        else:
            level.lines[value] = line
        return value

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        text: str = event.value
        if not event.implicit[0] or event.tag is not None:
            if event.tag is not None and event.tag not in _STRING_TAGS:
                self._say(f"the tag {shown(event.tag)} means nothing here", "leave it out, or write !!str for a string")
            return text
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in "+-.0123456789":
            return text
        if _INT.fullmatch(text):
            return self._int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _NOT_FINITE.fullmatch(text):
            self._say(f"{text} is not a finite number", "put it in quotes if it is a string")
        return text

    def _int(self, text: str) -> object:
        try:
            return int(text)
        except ValueError:  # Python reads no number of more than 4,300 digits
            self._say("a number has thousands of digits")
            return 0

    def _path(self) -> Path:
        """Where the next value goes; the mapping itself where a key comes next."""
        return tuple(
            len(level.value) if isinstance(level.value, list) else "?" if level.key is _NO_KEY else step(level.key)
            for level in self._levels
            if isinstance(level.value, list) or level.key is not None
        )

    def _say(self, message: str, hint: str = "") -> None:
        self.problems.append(Problem(pointer(*self._path()), message, hint))

    def _give_up(self, message: str, hint: str = "") -> NoReturn:
        raise PolicyError([Problem(pointer(*self._path()), message, hint)])
