"""One change of a stored policy: the new document and the new Policy, or every reason why not. PURE.

A change of one object reads that object only; documents and policies are never altered, but share what is unchanged
with their successors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar, assert_never, cast

from controller.control import Change, DeleteObject, Document, NoSuchObject, PutObject, PutPolicy, Stored
from controller.errors import PolicyError, Problem
from controller.policy import sections
from controller.policy.check import Checker
from controller.policy.document import LISTED, as_written, index_of, named, objects_of, with_object, without_object
from controller.policy.findings import Findings
from controller.policy.load import read
from controller.policy.load_peers import names_of
from controller.policy.model import API_VERSION, Policy
from controller.policy.sections import Section, read_object
from controller.policy.users import sharers_of, users_of
from controller.policy.values import shown

T = TypeVar("T")


def apply_change(stored: Stored, change: Change, checker: Checker | None = None) -> tuple[Document, Policy]:
    """What `stored` becomes; its very own document and policy where the change changes nothing.

    checker: the one that checked `stored`, so that only what the change touches is checked again; without it, all is.
    Raises PolicyError with every problem, each with its path in the whole document, and NoSuchObject.
    """
    checker = checker or Checker()
    match change:
        case PutPolicy():
            return _put_policy(stored, change, checker)
        case PutObject():
            document, policy = _put_object(stored, change)
        case DeleteObject():
            document, policy = _delete_object(stored, change)
        case _:
            assert_never(change)
    if document is not stored.document:
        _raise_any(checker.check(policy), document)
    return document, policy


def _put_policy(stored: Stored, change: PutPolicy, checker: Checker) -> tuple[Document, Policy]:
    draft = read(change.document)
    if draft.problems:
        # What is sound is checked all the same, so that the user sees all problems at once.
        across = Checker().check(draft.policy, draft.names)
        _raise_any((*draft.problems, *across), change.document)
    document = cast(Document, change.document)
    if document == stored.document:
        return stored.document, stored.policy
    old = stored.policy
    policy = Policy(
        networks=_keep(draft.policy.networks, old.networks),
        endpoints=_keep(draft.policy.endpoints, old.endpoints),
        hosts=_keep(draft.policy.hosts, old.hosts),
        overlay=draft.policy.overlay,
        uplinks=_keep(draft.policy.uplinks, old.uplinks),
        groups=_keep(draft.policy.groups, old.groups),
        tiers=draft.policy.tiers,
        rules=_keep(draft.policy.rules, old.rules),
        rewrites=_keep(draft.policy.rewrites, old.rewrites),
        defaults=draft.policy.defaults,
    )
    _raise_any(checker.check(policy), document)
    return document, policy


def _keep(new: Mapping[str, T], old: Mapping[str, T]) -> Mapping[str, T]:
    """The new objects, each as the old one where that is equal: who remembers results for it finds it by identity."""
    return {name: old[name] if name in old and old[name] == value else value for name, value in new.items()}


def _put_object(stored: Stored, change: PutObject) -> tuple[Document, Policy]:
    policy, name = stored.policy, change.name
    match change.kind:
        case "networks":
            network = _read_object(sections.NETWORKS, stored, change)
            policy = replace(policy, networks=_put(policy.networks, name, network))
        case "endpoints":
            endpoint = _read_object(sections.ENDPOINTS, stored, change)
            policy = replace(policy, endpoints=_put(policy.endpoints, name, endpoint))
        case "hosts":
            policy = replace(policy, hosts=_put(policy.hosts, name, _read_object(sections.HOSTS, stored, change)))
        case "uplinks":
            uplink = _read_object(sections.UPLINKS, stored, change)
            policy = replace(policy, uplinks=_put(policy.uplinks, name, uplink))
        case "groups":
            policy = replace(policy, groups=_put(policy.groups, name, _read_object(sections.GROUPS, stored, change)))
        case "rules":
            rule = _read_object(sections.RULES, stored, change)
            policy = replace(policy, rules=_put(policy.rules, name, rule, change.before))
        case "rewrites":
            rewrite = _read_object(sections.REWRITES, stored, change)
            policy = replace(policy, rewrites=_put(policy.rewrites, name, rewrite, change.before))
        case _:
            assert_never(change.kind)
    objects = objects_of(stored.document, change.kind)
    # Both values have been read, so that they cannot be equal as 1 and true are.
    if name in objects and objects[name] == named(change.kind, name, change.value) and not _moves(stored, change):
        return stored.document, stored.policy
    if name not in objects:
        _raise_any(sharers_of(stored.policy, change.kind, name), stored.document)
    return _headed(with_object(stored.document, change.kind, name, change.value, before=change.before)), policy


def _moves(stored: Stored, change: PutObject) -> bool:
    """Whether an object that is there gets another place."""
    if change.before is None:
        return False
    document, kind, name = stored.document, change.kind, change.name
    return index_of(document, kind, name) != index_of(document, kind, name, change.before)


def _put(mapping: Mapping[str, T], name: str, value: T, before: str | None = None) -> Mapping[str, T]:
    """A value that is equal to the one before is that one, as in `_keep`."""
    if name in mapping and mapping[name] == value:
        value = mapping[name]
    if before is None:
        return {**mapping, name: value}
    found: dict[str, T] = {}
    for key, each in mapping.items():
        if key == before:
            found[name] = value
        if key != name:
            found[key] = each
    return found


def _read_object(section: Section[T], stored: Stored, change: PutObject) -> T:
    """The object of a change, by itself. Raises PolicyError with paths in the whole document."""
    kind, name, findings = change.kind, change.name, Findings()
    value = named(kind, name, change.value)
    at = (kind, index_of(stored.document, kind, name, change.before) if kind in LISTED else name)
    _check_before(stored, change, at, findings)
    if kind in LISTED and isinstance(value, dict) and value["name"] != name:
        hint = "leave name out, or write the same"
        findings.say((*at, "name"), f"{shown(value['name'])} is not {shown(name)}, which was to be put", hint)
    names = names_of(stored.policy)
    if kind == "groups":  # which may name itself, and is told that it is in itself
        names = replace(names, groups={*names.groups, name})
    found = read_object(section, name, (at, value), names, findings)
    findings.raise_any()
    assert found is not None
    return found


def _check_before(stored: Stored, change: PutObject, at: tuple[str | int, ...], findings: Findings) -> None:
    kind, before = change.kind, change.before
    if before is None:
        return
    others = [name for name in objects_of(stored.document, kind) if name != change.name]
    if kind not in LISTED:
        findings.say(at, f"{kind} have no order, so that none can come before {shown(before)}", "leave before out")
    elif before == change.name:
        findings.say(at, f"{shown(before)} cannot come before itself", "name another one, or leave before out")
    elif before not in others:
        hint = findings.nearest.hint(kind, before, others)
        findings.say(at, f"there is no {kind[:-1]} {shown(before)} that this one could come before", hint)


def _delete_object(stored: Stored, change: DeleteObject) -> tuple[Document, Policy]:
    kind, name = change.kind, change.name
    if name not in objects_of(stored.document, kind):
        raise NoSuchObject(f"there is no {kind[:-1]} {name!r}")
    _raise_any(users_of(stored.policy, kind, name), stored.document)
    policy = stored.policy
    match kind:
        case "networks":
            policy = replace(policy, networks=_without(policy.networks, name))
        case "endpoints":
            policy = replace(policy, endpoints=_without(policy.endpoints, name))
        case "hosts":
            policy = replace(policy, hosts=_without(policy.hosts, name))
        case "uplinks":
            policy = replace(policy, uplinks=_without(policy.uplinks, name))
        case "groups":
            policy = replace(policy, groups=_without(policy.groups, name))
        case "rules":
            policy = replace(policy, rules=_without(policy.rules, name))
        case "rewrites":
            policy = replace(policy, rewrites=_without(policy.rewrites, name))
        case _:
            assert_never(kind)
    return _headed(without_object(stored.document, kind, name)), policy


def _headed(document: Document) -> Document:
    """The document with its apiVersion, which a new store's empty one does not have."""
    return document if "apiVersion" in document else {"apiVersion": API_VERSION, **document}


def _without(mapping: Mapping[str, T], name: str) -> dict[str, T]:
    return {key: value for key, value in mapping.items() if key != name}


def _raise_any(problems: tuple[Problem, ...] | list[Problem], document: object) -> None:
    """Raises PolicyError if there are problems, with paths that exist in the document as it is written."""
    if problems:
        raise PolicyError(as_written(problem, document) for problem in problems)
