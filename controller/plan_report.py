"""A change as people read it before it is made. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import nsmallest

from controller.carriers import Carriers
from controller.control import SHOWN, BridgePlan, Document, HostPlanned, Pair, PlanReport, Stored
from controller.diff import Difference
from controller.errors import Problem
from controller.flow.flow import Flow
from controller.host_plan import HostPlan
from controller.inventory import Bindings
from controller.pipeline.compile import Compiled
from controller.pipeline.rulebook import Rulebook
from controller.policy.meaning import changed_pairs
from controller.policy.model import Dpid, Policy


@dataclass(frozen=True, slots=True)
class Draft:
    """What a change would make of everything: computed, not in effect. warnings: with paths in the document."""

    document: Document
    policy: Policy
    bindings: Bindings
    carriers: Carriers
    book: Rulebook
    compiled: Mapping[Dpid, Compiled]
    differences: Mapping[Dpid, Difference[int, Flow]]
    hosts: HostPlan
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """What a draft is held against. names, installed: of bridges, installed by cookie. hosts: what differs there."""

    names: Mapping[Dpid, str]
    installed: Mapping[Dpid, Mapping[int, Flow]]
    hosts: tuple[HostPlanned, ...]


def report_plan(stored: Stored, draft: Draft, standing: Standing) -> PlanReport:
    """A draft as people read it: flows per bridge, members, and pairs that become reachable or stop being so."""
    old, new = stored.policy, draft.policy
    added = tuple(name for name in new.endpoints if name not in old.endpoints)
    removed = tuple(name for name in old.endpoints if name not in new.endpoints)
    changed = tuple(
        name for name in new.endpoints if name in old.endpoints and new.endpoints[name] != old.endpoints[name]
    )
    gained, lost = changed_pairs(old, new)
    bridges = tuple(
        BridgePlan(
            dpid=f"{dpid:016x}",
            name=standing.names[dpid],
            add=len(changes.add),
            remove=len(changes.remove),
            added=tuple(str(flow) for flow in changes.add[:SHOWN]),
            removed=tuple(str(standing.installed[dpid][cookie]) for cookie in changes.remove[:SHOWN]),
        )
        for dpid, changes in sorted(draft.differences.items())
    )
    return PlanReport(
        revision=stored.revision,
        bridges=bridges,
        hosts=standing.hosts,
        members_added=added,
        members_removed=removed,
        members_changed=changed,
        reachable_count=len(gained),
        unreachable_count=len(lost),
        reachable=tuple(Pair(*pair) for pair in nsmallest(SHOWN, gained)),
        unreachable=tuple(Pair(*pair) for pair in nsmallest(SHOWN, lost)),
        warnings=draft.warnings,
    )
