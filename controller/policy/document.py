"""Named objects of a document as it is written: looked up, put, taken out. PURE.

A document is never altered; what does not change is shared with the new one. Nothing here asks whether the document is
a policy, only that each section is the mapping or list that its kind is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from controller.control import Document, Kind
from controller.errors import Problem

LISTED = frozenset(("rules", "rewrites"))
"""Sections that are lists, whose objects have their name among their keys."""


def section_of(document: Document, kind: Kind) -> dict[str, object] | list[dict[str, object]]:
    """A section as it is written; empty where the document does not mention it."""
    empty: object = [] if kind in LISTED else {}
    return cast("dict[str, object] | list[dict[str, object]]", document.get(kind) or empty)


def objects_of(document: Document, kind: Kind) -> dict[str, object]:
    """The objects of a kind by name, as they are written."""
    section = section_of(document, kind)
    return {str(each["name"]): each for each in section} if isinstance(section, list) else section


def named(kind: Kind, name: str, value: object) -> object:
    """An object as its section holds it: with its name first where that is one of its keys and was left out."""
    if kind in LISTED and isinstance(value, dict) and "name" not in value:
        return {"name": name, **value}
    return value


def with_object(document: Document, kind: Kind, name: str, value: object, *, before: str | None = None) -> Document:
    """The document with an object in the place of the one of this name, or last in its section.

    before: another object of a list; this one comes right before it, wherever it was.
    """
    value = named(kind, name, value)
    section = section_of(document, kind)
    if not isinstance(section, list):
        return {**document, kind: {**section, name: value}}
    index = index_of(document, kind, name, before)
    others = [each for each in section if each["name"] != name]
    return {**document, kind: [*others[:index], value, *others[index:]]}


def without_object(document: Document, kind: Kind, name: str) -> Document:
    """The document without an object, which it has."""
    section = section_of(document, kind)
    if isinstance(section, list):
        return {**document, kind: [each for each in section if each["name"] != name]}
    return {**document, kind: {key: value for key, value in section.items() if key != name}}


def index_of(document: Document, kind: Kind, name: str, before: str | None = None) -> int:
    """The place of a named object in a list; one after the last where there is none of this name.

    before: another one; the place that the first one has right before it.
    """
    names = [cast(Document, each)["name"] for each in section_of(document, kind)]
    if before is not None:
        names = [each for each in names if each != name]
    wanted = name if before is None else before
    return names.index(wanted) if wanted in names else len(names)


def as_written(problem: Problem, document: object) -> Problem:
    """A problem of a Policy, whose path is right for the document that the Policy was made of.

    A Policy does not tell `network: green` from `networks: [green]`, has rules and rewrites by name where the document
    has a list, and several gateways where there may be one.
    """
    parts = problem.path.split("/")
    if len(parts) < 3 or not isinstance(document, dict):
        return problem
    section = document.get(parts[1])
    if parts[1] in LISTED and isinstance(section, list):
        for index, each in enumerate(section):
            if isinstance(each, dict) and each.get("name") == parts[2]:
                parts[2] = str(index)
                break
    elif len(parts) >= 4 and isinstance(section, dict):
        one = section.get(parts[2])
        if parts[1] == "endpoints" and parts[3] == "network" and isinstance(one, dict) and "network" not in one:
            parts[3:] = ["networks", "0"]
        elif parts[1] == "networks" and parts[3] == "gateway" and not isinstance(_under(one, "gateway"), list):
            parts = parts[:4]
    return replace(problem, path="/".join(parts))


def _under(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None
