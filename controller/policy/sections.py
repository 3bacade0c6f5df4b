"""The sections of a document that hold named objects, and how one of these is read. PURE.

Most are mappings from names; `rules` and `rewrites`, where order speaks, are lists of objects that have their name
among their keys. `document` changes both kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from controller.policy.document import LISTED
from controller.policy.fields import At, Fields, open_fields
from controller.policy.findings import Findings
from controller.policy.firewall import Group, Rule
from controller.policy.load_endpoint import ENDPOINT_KEYS, read_endpoint
from controller.policy.load_firewall import GROUP_KEYS, RULE_KEYS, read_group, read_rule
from controller.policy.load_host import HOST_KEYS, read_host
from controller.policy.load_network import NETWORK_KEYS, read_network
from controller.policy.load_peers import RESERVED, Names
from controller.policy.load_rewrites import REWRITE_KEYS, read_rewrite
from controller.policy.load_uplink import UPLINK_KEYS, read_uplink
from controller.policy.model import Endpoint, Host, Network, Uplink
from controller.policy.rewrites import Rewrite
from controller.policy.values import Unfit, read_name

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Section(Generic[T]):
    """kind: its key in the document; one: what people call one of its objects; keys: those of an object."""

    kind: str
    one: str
    keys: tuple[str, ...]
    read: Callable[[str, Fields, Names], T]


def _alone(read: Callable[[str, Fields], T]) -> Callable[[str, Fields, Names], T]:
    """The reader of an object that names others without asking what they are."""
    return lambda name, fields, _: read(name, fields)


NETWORKS: Final[Section[Network]] = Section("networks", "network", NETWORK_KEYS, _alone(read_network))
ENDPOINTS: Final[Section[Endpoint]] = Section("endpoints", "endpoint", ENDPOINT_KEYS, _alone(read_endpoint))
HOSTS: Final[Section[Host]] = Section("hosts", "host", HOST_KEYS, _alone(read_host))
UPLINKS: Final[Section[Uplink]] = Section("uplinks", "uplink", UPLINK_KEYS, _alone(read_uplink))
GROUPS: Final[Section[Group]] = Section("groups", "group", GROUP_KEYS, read_group)
RULES: Final[Section[Rule]] = Section("rules", "rule", RULE_KEYS, read_rule)
REWRITES: Final[Section[Rewrite]] = Section("rewrites", "rewrite", REWRITE_KEYS, _alone(read_rewrite))

ALL: Mapping[str, Section[Any]] = {
    section.kind: section for section in (HOSTS, NETWORKS, UPLINKS, ENDPOINTS, GROUPS, RULES, REWRITES)
}


def read_object(
    section: Section[T], name: str, placed: tuple[At, object], names: Names, findings: Findings
) -> T | None:
    """One named object; None where something is wrong: then `findings` says what. placed: where it stands, and it."""
    known = len(findings.problems)
    at, value = placed
    where = (*at, "name") if section.kind in LISTED else at
    try:
        read_name(name)
    except Unfit as unfit:
        findings.say(where, unfit.message, unfit.hint)
    if name in RESERVED and section.one in ("network", "endpoint", "group"):
        findings.say(at, f"{name} has a meaning of its own in rules", "another name")
    fields = open_fields(at, value, section.keys, findings)
    if fields is None:
        return None
    found = section.read(name, fields, names)
    return found if len(findings.problems) == known else None
