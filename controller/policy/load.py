"""From a document to a Policy, with every problem found on the way. PURE.

A document is what `parse` returns: dicts, lists, strings, numbers, booleans and None. Here each object is read by
itself, as `sections` says; what must hold between objects is for `check`, but for what a name means in a rule or group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from controller.errors import PolicyError, Problem
from controller.policy import sections
from controller.policy.document import LISTED
from controller.policy.fields import Fields, open_fields
from controller.policy.findings import Findings
from controller.policy.load_firewall import DEFAULTS_KEYS, PAIR_KEYS, read_defaults, read_tiers
from controller.policy.load_host import OVERLAY_KEYS, read_overlay
from controller.policy.load_peers import Names
from controller.policy.load_uplink import ROUTE_KEYS
from controller.policy.model import API_VERSION, EMPTY_POLICY, Policy
from controller.policy.sections import Section, read_object
from controller.policy.values import read_text, shown

T = TypeVar("T")

DOCUMENT_KEYS = (
    "apiVersion", "defaults", "hosts", "overlay", "networks", "uplinks", "endpoints", "groups", "tiers", "rules",
    "rewrites",
)  # fmt: skip
KEYS: Mapping[str, tuple[str, ...]] = {
    "": DOCUMENT_KEYS,
    "defaults": DEFAULTS_KEYS,
    "defaults.pairs": PAIR_KEYS,
    "overlay": OVERLAY_KEYS,
    **{kind: section.keys for kind, section in sections.ALL.items()},
    "uplinks.routes": ROUTE_KEYS,
}
"""Every key that a document may have, by where it stands. docs/POLICY.md is held against it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What could be read of a document. policy: the objects without a problem of their own; problems: of the others.

    names: every name that the document gives, so that a reference to an object that has a problem of its own is not
    called unknown.
    """

    policy: Policy
    problems: tuple[Problem, ...]
    names: Names


def load(document: object) -> Policy:
    """The policy of a document. Raises PolicyError with every problem that an object has by itself."""
    draft = read(document)
    if draft.problems:
        raise PolicyError(draft.problems)
    return draft.policy


def read(document: object) -> Draft:
    """As `load`, but what is sound is returned beside the problems. Raises nothing."""
    findings = Findings()
    fields = open_fields((), document, DOCUMENT_KEYS, findings)
    if fields is None:
        return Draft(EMPTY_POLICY, tuple(findings.problems), Names())
    _read_version(fields)
    given = {kind: fields.section(kind) for kind in sections.ALL if kind not in LISTED}
    names = Names(
        networks=frozenset(given["networks"]),
        endpoints=frozenset(given["endpoints"]),
        hosts=frozenset(given["hosts"]),
        uplinks=frozenset(given["uplinks"]),
        groups=frozenset(given["groups"]),
        tiers=read_tiers(fields),
    )
    policy = Policy(
        hosts=_read_section(sections.HOSTS, fields, given, names),
        networks=_read_section(sections.NETWORKS, fields, given, names),
        uplinks=_read_section(sections.UPLINKS, fields, given, names),
        endpoints=_read_section(sections.ENDPOINTS, fields, given, names),
        groups=_read_section(sections.GROUPS, fields, given, names),
        rules=_read_list(sections.RULES, fields, names),
        rewrites=_read_list(sections.REWRITES, fields, names),
        tiers=tuple(names.tiers),
        overlay=read_overlay(fields),
        defaults=read_defaults(fields),
    )
    return Draft(policy, tuple(findings.problems), names)


def _read_version(fields: Fields) -> None:
    version = fields.value.get("apiVersion")
    if "apiVersion" not in fields.value:
        fields.say("apiVersion is missing", f"write apiVersion: {API_VERSION}")
    elif version != API_VERSION:
        fields.say(f"{shown(version)} is not a version known here", f"write {API_VERSION}", "apiVersion")


def _read_section(
    section: Section[T], fields: Fields, given: Mapping[str, Mapping[str, object]], names: Names
) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in given[section.kind].items():
        at = (section.kind, name if isinstance(name, str) else shown(name))
        one = read_object(section, name, (at, value), names, fields.findings)
        if one is not None:
            found[name] = one
    return found


def _read_list(section: Section[T], fields: Fields, names: Names) -> dict[str, T]:
    """A section whose objects have their name among their keys, each another one."""
    found: dict[str, T] = {}
    taken: dict[str, int] = {}
    for index, value in enumerate(fields.listed(section.kind)):
        at = (section.kind, index)
        if not isinstance(value, dict) or "name" not in value:
            open_fields(at, value, section.keys, fields.findings)
            if isinstance(value, dict):
                fields.say(f"the {section.one} has no name", "add name, its own", *at)
            continue
        name = fields.attempt(read_text, value["name"], *at, "name")
        if name is not None and taken.setdefault(name, index) != index:
            words = f"the {section.one} number {taken[name] + 1} is called {shown(name)} already"
            fields.say(words, "give each a name of its own", *at, "name")
        one = read_object(section, name or "unnamed", (at, value), names, fields.findings)
        if one is not None and name is not None:
            found.setdefault(name, one)
    return found
