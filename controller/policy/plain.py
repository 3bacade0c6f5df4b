"""What a plain document is, whatever it was written in. PURE.

Dicts with string keys, lists, strings, numbers, booleans and None; bounded in depth, every number finite, every string
text that can be written as UTF-8. So what walks through a document, a store or an encoder, needs no bounds of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite

from controller.errors import Problem, pointer
from controller.policy.values import shown

DEPTH_MAX = 32
"""Levels of lists and mappings; a policy has five."""

Path = tuple[str | int, ...]


def containers(document: object) -> Iterator[tuple[dict[object, object] | list[object], Path]]:
    """Every list and mapping of a document with its path, down to one level more than it may have. Not recursive."""
    waiting: list[tuple[object, Path]] = [(document, ())]
    while waiting:
        container, path = waiting.pop()
        if not isinstance(container, (dict, list)):
            continue
        yield container, path
        if len(path) < DEPTH_MAX:
            for key, value in items_of(container):
                if isinstance(value, (dict, list)):
                    waiting.append((value, (*path, step(key))))


def audit(document: object) -> list[Problem]:
    """What keeps a value from being a plain document, sorted by path; whether it is a mapping at all is not asked."""
    problems: list[Problem] = []
    for container, path in containers(document):
        if len(path) >= DEPTH_MAX:
            problems.append(too_deep(path))
            continue
        is_mapping = isinstance(container, dict)
        for key, value in items_of(container):
            if is_mapping and (wrong := _wrong_with_key(key)):
                hint = "" if isinstance(key, str) else "put it in quotes"
                problems.append(Problem(pointer(*path, step(key)), wrong, hint))
            if wrong := _wrong_with(value):
                problems.append(Problem(pointer(*path, step(key)), f"{shown(value)} is {wrong}"))
    return sorted(problems)


def items_of(container: dict[object, object] | list[object]) -> Iterable[tuple[object, object]]:
    return container.items() if isinstance(container, dict) else enumerate(container)


def step(key: object) -> str | int:
    """A key as part of a path, also where it is none that a document may have."""
    return key if isinstance(key, int) or (isinstance(key, str) and _is_text(key)) else shown(key)


def too_deep(path: Path) -> Problem:
    message = f"lists and mappings stand in one another more than {DEPTH_MAX} deep"
    return Problem(pointer(*path), message, "a policy has five levels")


def key_twice(path: Path, key: str, first: int, second: int) -> Problem:
    """first, second: lines, the first of the document being 1."""
    message = f"the key {shown(key)} is written twice, in line {first} and in line {second}"
    return Problem(pointer(*path, step(key)), message, "keep one of them")


def _wrong_with(value: object) -> str:
    kind = type(value)
    if kind is str:
        return "" if value.isascii() or _is_text(value) else "not text that can be written as UTF-8"  # type: ignore[attr-defined,arg-type]
    if kind is float:
        return "" if isfinite(value) else "not a finite number"  # type: ignore[arg-type]
    return "" if value is None or kind in (int, bool, dict, list) else "nothing that a document can hold"


def _wrong_with_key(key: object) -> str:
    if not isinstance(key, str):
        return f"the key {shown(key)} is not a string"
    return "" if _is_text(key) else f"the key {shown(key)} is not text that can be written as UTF-8"


def _is_text(text: str) -> bool:
    """False for half of a surrogate pair, which JSON's \\u can write and UTF-8 cannot."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
