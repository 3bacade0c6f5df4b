"""From a document to a Policy, with every problem found on the way. PURE.

A document is what `parse` returns: dicts, lists, strings, numbers, booleans and None. Here each object is read by
itself; what must hold between objects is for `check`. Whole documents and single objects go through the same readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeVar, overload

from controller.errors import PolicyError, Problem
from controller.policy.fields import Fields, open_fields
from controller.policy.findings import Findings
from controller.policy.load_endpoint import ENDPOINT_KEYS, read_endpoint
from controller.policy.load_host import HOST_KEYS, OVERLAY_KEYS, read_host, read_overlay
from controller.policy.load_network import NETWORK_KEYS, read_network
from controller.policy.model import (
    API_VERSION,
    Endpoint,
    Host,
    Network,
    Overlay,
    Policy,
)
from controller.policy.values import (
    Unfit,
    choice,
    read_name,
    shown,
)

T = TypeVar("T")
Kind = Literal["networks", "endpoints", "hosts"]


class Allow(Enum):
    """What `defaults.intra_network` may be, in this version."""

    ALLOW = "allow"


class Drop(Enum):
    """What `defaults.inter_network` may be, in this version."""

    DROP = "drop"


class Strict(Enum):
    """What `defaults.port_security` may be, in this version."""

    STRICT = "strict"


DOCUMENT_KEYS = ("apiVersion", "defaults", "hosts", "overlay", "networks", "endpoints")
DEFAULTS_KEYS = ("intra_network", "inter_network", "port_security")


@dataclass(frozen=True, slots=True)
class Draft:
    """What could be read of a document. policy: the objects without a problem of their own; problems: of the others.

    networks, hosts: every name that the document gives to one, read or not, so that an endpoint's reference to an
    object that has a problem of its own is not called unknown.
    """

    policy: Policy
    problems: tuple[Problem, ...]
    networks: frozenset[str]
    hosts: frozenset[str]


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
    sections: dict[str, Mapping[str, object]] = {}
    if fields:
        _read_header(fields)
        for kind in ("hosts", "networks", "endpoints"):
            sections[kind] = fields.section(kind)
    networks, hosts = sections.get("networks", {}), sections.get("hosts", {})
    policy = Policy(
        networks=_read_all("networks", networks, findings),
        endpoints=_read_all("endpoints", sections.get("endpoints", {}), findings),
        hosts=_read_all("hosts", hosts, findings),
        overlay=read_overlay(fields) if fields else Overlay(),
    )
    return Draft(policy, tuple(findings.problems), frozenset(networks), frozenset(hosts))


@overload
def load_object(kind: Literal["networks"], name: str, value: object, findings: Findings) -> Network | None: ...
@overload
def load_object(kind: Literal["endpoints"], name: str, value: object, findings: Findings) -> Endpoint | None: ...
@overload
def load_object(kind: Literal["hosts"], name: str, value: object, findings: Findings) -> Host | None: ...


def load_object(kind: Kind, name: str, value: object, findings: Findings) -> Network | Endpoint | Host | None:
    """One named object; None where something is wrong: then `findings` says what, with paths in the whole document."""
    known = len(findings.problems)
    at = (kind, name if isinstance(name, str) else shown(name))
    try:
        read_name(name)
    except Unfit as unfit:
        findings.say(at, unfit.message, unfit.hint)
    fields = open_fields(at, value, _OBJECT_KEYS[kind], findings)
    if fields is None:
        return None
    found = _READERS[kind](name, fields)
    return found if len(findings.problems) == known else None


@overload
def _read_all(kind: Literal["networks"], section: Mapping[str, object], findings: Findings) -> dict[str, Network]: ...
@overload
def _read_all(kind: Literal["endpoints"], section: Mapping[str, object], findings: Findings) -> dict[str, Endpoint]: ...
@overload
def _read_all(kind: Literal["hosts"], section: Mapping[str, object], findings: Findings) -> dict[str, Host]: ...


def _read_all(kind: Kind, section: Mapping[str, object], findings: Findings) -> Mapping[str, object]:
    read_objects = ((name, load_object(kind, name, value, findings)) for name, value in section.items())
    return {name: found for name, found in read_objects if found is not None}


def _read_header(fields: Fields) -> None:
    version = fields.value.get("apiVersion")
    if "apiVersion" not in fields.value:
        fields.say("apiVersion is missing", f"write apiVersion: {API_VERSION}")
    elif version != API_VERSION:
        fields.say(f"{shown(version)} is not a version known here", f"write {API_VERSION}", "apiVersion")
    if "defaults" in fields.value:
        defaults = open_fields(("defaults",), fields.value["defaults"], DEFAULTS_KEYS, fields.findings)
        if defaults:
            defaults.take("intra_network", choice(Allow))
            defaults.take("inter_network", choice(Drop))
            defaults.take("port_security", choice(Strict))


_OBJECT_KEYS: Mapping[str, tuple[str, ...]] = {"networks": NETWORK_KEYS, "endpoints": ENDPOINT_KEYS, "hosts": HOST_KEYS}
_READERS: Mapping[str, Callable[[str, Fields], Network | Endpoint | Host]] = {
    "networks": read_network,
    "endpoints": read_endpoint,
    "hosts": read_host,
}
KEYS: Mapping[str, tuple[str, ...]] = {
    "": DOCUMENT_KEYS,
    "defaults": DEFAULTS_KEYS,
    "overlay": OVERLAY_KEYS,
    **_OBJECT_KEYS,
}
"""Every key that a document may have, by where it stands. docs/POLICY.md is held against it."""
