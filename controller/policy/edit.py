"""One change of a stored policy: the new document and the new Policy, or every reason why not. PURE.

A change of one object reads that object only; documents and policies are never altered, but share what is unchanged
with their successors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar, assert_never, cast

from controller.control import Change, DeleteObject, Document, Kind, NoSuchObject, PutObject, PutPolicy, Stored
from controller.errors import PolicyError, Problem, pointer
from controller.policy.check import Checker, Known
from controller.policy.findings import Findings
from controller.policy.load import load_object, read
from controller.policy.model import API_VERSION, Policy

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
        across = Checker().check(draft.policy, Known(draft.networks, draft.hosts))
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
    )
    _raise_any(checker.check(policy), document)
    return document, policy


def _keep(new: Mapping[str, T], old: Mapping[str, T]) -> Mapping[str, T]:
    """The new objects, each as the old one where that is equal: who remembers results for it finds it by identity."""
    return {name: old[name] if name in old and old[name] == value else value for name, value in new.items()}


def _put_object(stored: Stored, change: PutObject) -> tuple[Document, Policy]:
    findings = Findings()
    policy = stored.policy
    match change.kind:
        case "networks":
            network = load_object("networks", change.name, change.value, findings)
            if network is not None:
                policy = replace(policy, networks={**policy.networks, change.name: network})
        case "endpoints":
            endpoint = load_object("endpoints", change.name, change.value, findings)
            if endpoint is not None:
                policy = replace(policy, endpoints={**policy.endpoints, change.name: endpoint})
        case "hosts":
            host = load_object("hosts", change.name, change.value, findings)
            if host is not None:
                policy = replace(policy, hosts={**policy.hosts, change.name: host})
        case _:
            assert_never(change.kind)
    findings.raise_any()
    section = _section(stored.document, change.kind)
    # Both values have been read, so that they cannot be equal as 1 and true are.
    if change.name in section and section[change.name] == change.value:
        return stored.document, stored.policy
    return _with(stored.document, change.kind, {**section, change.name: change.value}), policy


def _delete_object(stored: Stored, change: DeleteObject) -> tuple[Document, Policy]:
    section = _section(stored.document, change.kind)
    if change.name not in section:
        raise NoSuchObject(f"there is no {change.kind[:-1]} {change.name!r}")
    policy = stored.policy
    match change.kind:
        case "networks":
            policy = replace(policy, networks=_without(policy.networks, change.name))
        case "endpoints":
            policy = replace(policy, endpoints=_without(policy.endpoints, change.name))
        case "hosts":
            policy = replace(policy, hosts=_without(policy.hosts, change.name))
        case _:
            assert_never(change.kind)
    if users := _users(stored.policy, change.kind, change.name):
        _raise_any(users, stored.document)
    return _with(stored.document, change.kind, _without(section, change.name)), policy


def _users(policy: Policy, kind: Kind, name: str) -> list[Problem]:
    """The endpoints that stand in the way of deleting a network or a host."""
    problems: list[Problem] = []
    for endpoint in policy.endpoints.values():
        at = ("endpoints", endpoint.name)
        if kind == "networks" and name in endpoint.networks:
            where = ("networks", endpoint.networks.index(name)) if endpoint.shared else ("network",)
            message = f"endpoint {endpoint.name!r} is a member of network {name!r}, which was to be deleted"
            problems.append(Problem(pointer(*at, *where), message, "take it out of the network first"))
        elif kind == "hosts" and name == endpoint.host:
            message = f"endpoint {endpoint.name!r} is on host {name!r}, which was to be deleted"
            problems.append(Problem(pointer(*at, "host"), message, "move it to another host first"))
    return problems


def _section(document: Document, kind: Kind) -> dict[str, object]:
    """A section of a document that has been loaded before, which is why it is a mapping."""
    return cast("dict[str, object]", document.get(kind, {}))


def _with(document: Document, kind: Kind, section: Mapping[str, object]) -> Document:
    """The document with another section; a new store's empty one gets its apiVersion by the way."""
    header: Document = {} if "apiVersion" in document else {"apiVersion": API_VERSION}
    return {**header, **document, kind: section}


def _without(mapping: Mapping[str, T], name: str) -> dict[str, T]:
    return {key: value for key, value in mapping.items() if key != name}


def _raise_any(problems: tuple[Problem, ...] | list[Problem], document: object) -> None:
    """Raises PolicyError if there are problems, with paths that exist in the document as it is written."""
    if problems:
        raise PolicyError(_as_written(problem, document) for problem in problems)


def _as_written(problem: Problem, document: object) -> Problem:
    """A Policy does not tell `network: green` from `networks: [green]`; the document does."""
    parts = problem.path.split("/")
    if len(parts) == 4 and parts[1] == "endpoints" and parts[3] == "network" and isinstance(document, dict):
        endpoints = document.get("endpoints")
        endpoint = endpoints.get(parts[2]) if isinstance(endpoints, dict) else None
        if isinstance(endpoint, dict) and "network" not in endpoint:
            return Problem(problem.path + "s/0", problem.message, problem.hint)
    return problem
