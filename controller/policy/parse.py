"""From the bytes of a request or file to a plain document: JSON, YAML or msgpack. PURE.

A plain document is made of dicts with string keys, lists, strings, numbers, booleans and None; it is at most 32 levels
deep, no key is written twice, and every number is finite. Whether it is a policy is for `load` to say.
"""

from __future__ import annotations

import json
import re
from bisect import bisect
from collections.abc import Iterable
from enum import Enum

import msgpack

from controller.errors import PolicyError, Problem, pointer
from controller.policy.plain import audit, containers, key_twice, step, too_deep
from controller.policy.values import shown
from controller.policy.yaml_text import read_yaml


class Format(Enum):
    """How a document is written."""

    JSON = "JSON"
    YAML = "YAML"
    MSGPACK = "msgpack"


MEDIA_TYPES = {
    "application/json": Format.JSON,
    "text/json": Format.JSON,
    "application/yaml": Format.YAML,
    "application/x-yaml": Format.YAML,
    "text/yaml": Format.YAML,
    "text/x-yaml": Format.YAML,
    "application/msgpack": Format.MSGPACK,
    "application/x-msgpack": Format.MSGPACK,
    "application/vnd.msgpack": Format.MSGPACK,
}
"""RFC 8259, RFC 9512, and what was in use before there were registrations."""

UNTOLD = frozenset(
    ("", "*/*", "application/octet-stream", "application/x-www-form-urlencoded", "binary/octet-stream", "text/plain")
)
"""Types that say nothing about a policy; curl sends one of them unless told otherwise. Then the bytes decide."""

KEY_MAX = 255
"""Characters of a key. Every problem below a key repeats it in its path, so that a long one would be multiplied."""

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def parse_document(body: bytes, media_type: str | None) -> dict[str, object]:
    """The document in `body`. media_type: as in Content-Type, parameters tolerated; None where nobody said.

    Raises PolicyError: with line and column where the text cannot be read, with paths where it can.
    """
    essence = (media_type or "").partition(";")[0].strip().lower()
    if essence in MEDIA_TYPES:
        chosen = MEDIA_TYPES[essence]
    elif essence in UNTOLD:
        chosen = _guess(body)
    else:
        hint = "send application/yaml, application/json or application/msgpack"
        raise PolicyError([Problem("", f"{shown(essence)} is not a type that a policy is written in", hint)])
    if chosen is Format.MSGPACK:
        document, problems = _read_msgpack(body)
    else:
        text = _decode(body)
        document, problems = _read_json(text) if chosen is Format.JSON else read_yaml(text)
    _require_short(key for container, _ in containers(document) if isinstance(container, dict) for key in container)
    problems = [*problems, *audit(document)]
    if problems:
        raise PolicyError(problems)
    if not isinstance(document, dict):
        what = "empty" if document is None else f"{shown(document)}, not a mapping"
        raise PolicyError([Problem("", f"the document is {what}", "it begins with apiVersion")])
    return document


def _require_short(keys: Iterable[object]) -> None:
    """Raises PolicyError for the first key that is longer than any may be."""
    for key in keys:
        if isinstance(key, str) and len(key) > KEY_MAX:
            raise PolicyError([Problem("", f"the key {shown(key)} has {len(key)} characters", f"at most {KEY_MAX}")])


def _guess(body: bytes) -> Format:
    """A msgpack map begins with a byte that no text does (fixmap), or with one and a length below 256 entries."""
    if (body[:1] and 0x80 <= body[0] <= 0x8F) or body[:2] in (b"\xde\x00", b"\xdf\x00"):
        return Format.MSGPACK
    if body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":
        return Format.YAML
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return Format.YAML
    return Format.JSON


def _decode(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = body.count(b"\n", 0, error.start) + 1, error.start - body.rfind(b"\n", 0, error.start)
        message = f"the byte {body[error.start]:#04x} in line {line}, byte {column} is not UTF-8 text"
        raise PolicyError([Problem("", message, "write the document in UTF-8")]) from error


def _read_json(text: str) -> tuple[object, list[Problem]]:
    twice = False

    def build(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal twice
        found = dict(pairs)
        _require_short(found)
        twice = twice or len(found) != len(pairs)
        return found

    try:
        document = json.loads(text, object_pairs_hook=build)
    except json.JSONDecodeError as error:
        message = f"not JSON in line {error.lineno}, column {error.colno}: {error.msg}"
        raise PolicyError([Problem("", message)]) from error
    except RecursionError as error:
        raise PolicyError([too_deep(())]) from error
    except ValueError as error:
        raise PolicyError([Problem("", "a number has thousands of digits")]) from error
    return document, _json_keys_twice(text) if twice else []


def _json_keys_twice(text: str) -> list[Problem]:
    """Both places of every key that one object has twice. text: sound JSON."""
    problems: list[Problem] = []
    ends = [match.start() for match in re.finditer("\n", text)]
    # One entry a level: the line of each key of an object and the key last read, or None and the index in an array.
    stack: list[tuple[dict[str, int] | None, list[str | int]]] = []
    expect_key = False
    for token in _TOKEN.finditer(text):
        match word := token.group():
            case "{" | "[":
                stack.append(({}, [""]) if word == "{" else (None, [0]))
                expect_key = word == "{"
            case "}" | "]":
                stack.pop()
                expect_key = False
            case ",":
                lines, place = stack[-1]
                expect_key = lines is not None
                if isinstance(place[0], int):
                    place[0] += 1
            case _ if expect_key:
                lines, place = stack[-1]
                assert lines is not None
                key, line = json.loads(word), bisect(ends, token.start()) + 1
                place[0] = key
                if key in lines:
                    problems.append(key_twice(tuple(at[0] for _, at in stack[:-1]), key, lines[key], line))
                lines.setdefault(key, line)
                expect_key = False
    return problems


def _read_msgpack(body: bytes) -> tuple[object, list[Problem]]:
    faults: list[tuple[dict[object, object], object]] = []

    def build(pairs: list[tuple[object, object]]) -> dict[object, object]:
        found: dict[object, object] = {}
        for key, value in pairs:
            if isinstance(key, (dict, list)) or key in found:
                faults.append((found, key))
            else:
                found[key] = value
        _require_short(found)
        return found

    try:
        document = msgpack.unpackb(body, raw=False, strict_map_key=False, object_pairs_hook=build)
    except msgpack.exceptions.StackError as error:
        raise PolicyError([too_deep(())]) from error
    except (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException) as error:
        message = str(error).rstrip(".") or "the bytes make no sense"
        if "exceeds max_" in message:
            message = "it ends before all that it announces"
        raise PolicyError([Problem("", f"not msgpack: {message}")]) from error
    return document, _place_faults(document, faults) if faults else []


def _place_faults(document: object, faults: list[tuple[dict[object, object], object]]) -> list[Problem]:
    """Keys that one msgpack map has twice, or that are no keys, with their paths. Those in a value that a later key
    replaced have none, and the later key tells enough."""
    by_map: dict[int, list[object]] = {}
    for found, key in faults:
        by_map.setdefault(id(found), []).append(key)
    problems: list[Problem] = []
    for container, path in containers(document):
        for key in by_map.get(id(container), ()):
            if isinstance(key, str):
                problems.append(Problem(pointer(*path, step(key)), f"the key {shown(key)} is there twice", "keep one"))
            else:
                problems.append(Problem(pointer(*path), f"{shown(key)} stands where a key must", "keys are strings"))
    return problems
