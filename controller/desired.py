"""What is desired of every bridge and host: the policy, where its endpoints are, and all that comes of both. State.

A draft is computed from what is there, and is in effect once it is put in effect. All of it computes for long: call it
in a thread, one call at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from controller.bridge import Bridge
from controller.carriers import NO_CARRIERS, find_carriers
from controller.control import SHOWN, Change, Document, Stored
from controller.diff import Difference
from controller.errors import PolicyError, Problem, StoreError
from controller.flow.connections import Connections
from controller.flow.flow import Flow
from controller.host_plan import HostPlan, plan_hosts
from controller.hosts import HostDatabases
from controller.inventory import NO_STRANGERS, Bindings, bind, find_strangers, labels_of
from controller.mtu import underlay_mtus
from controller.pipeline.compile import Compiled, compile_bridge
from controller.pipeline.rule_view import RuleViews
from controller.pipeline.rulebook import Rulebook, make_rulebook, require_room
from controller.pipeline.translated import translated
from controller.plan_report import Draft
from controller.policy.advice import Adviser
from controller.policy.check import Checker
from controller.policy.document import as_written
from controller.policy.edit import apply_change
from controller.policy.load import load
from controller.policy.model import EMPTY_POLICY, Dpid, Policy
from controller.revisions import Revisions


@dataclass(frozen=True, slots=True)
class InEffect:
    """stored: the revision. bindings, hosts: what was made of it, and of what is observed."""

    stored: Stored
    bindings: Bindings
    hosts: HostPlan


class Desired:
    """in_effect: what others may look at, at any time: a new one takes its place as a whole.

    bridges: all that are known, of which each keeps its own flows.
    """

    def __init__(
        self,
        revisions: Revisions,
        bridges: Mapping[Dpid, Bridge],
        databases: HostDatabases,
        now: Callable[[], float],
    ) -> None:
        """Raises StoreError and PolicyError where the stored policy cannot be read: then nothing may be touched."""
        number, document = revisions.latest()
        policy = load(document)
        self._checker = Checker()
        self._checker.check(policy)
        self._adviser = Adviser()
        self._bridges = bridges
        self._databases = databases
        self._now = now
        self._strangers = NO_STRANGERS
        self._carriers = NO_CARRIERS
        self._book = make_rulebook(policy, Rulebook(rules=RuleViews(ranks=revisions.ranks())))
        self._revisions = revisions
        self._first = number
        stored, nowhere = Stored(number, document, policy), Bindings()
        self.in_effect = InEffect(stored, nowhere, plan_hosts(policy, nowhere, ()))

    @property
    def stored(self) -> Stored:
        return self.in_effect.stored

    def draft(self, change: Change) -> Draft:
        """What a change would make of everything. Raises PolicyError, NoSuchObject and CompileError."""
        document, policy = apply_change(self.stored, change, self._checker)
        return self._compile(document, policy)

    def draft_again(self) -> Draft:
        """The same policy, with ports and databases as they are now. Raises CompileError."""
        return self._compile(self.stored.document, self.stored.policy)

    def advise(self, draft: Draft) -> tuple[Problem, ...]:
        """What is odd about a draft's policy. May be called while other methods are under way, one call at a time."""
        found = self._adviser.advise(draft.policy, draft.book.groups)
        return tuple(as_written(each, draft.document) for each in found[:SHOWN])

    def put_in_effect(self, draft: Draft, revision: int | None = None) -> None:
        """revision: what a draft of another policy was stored as: what that one translates no more is forgotten."""
        for dpid, compiled in draft.compiled.items():
            if bridge := self._bridges.get(dpid):  # one that carries nobody may have been forgotten meanwhile
                if bridge.ports and not bridge.given_up.looked_back:
                    bridge.given_up.look_back(self._translated_last(bridge.ports))
                seats, changes = draft.bindings.seats[dpid], draft.differences[dpid]
                bridge.replace(seats, compiled, changes, forgetting=revision is not None)
        self._carriers, self._book = draft.carriers, draft.book
        stored = self.stored if revision is None else Stored(revision, draft.document, draft.policy)
        self.in_effect = InEffect(stored, draft.bindings, draft.hosts)

    def _translated_last(self, ports: Mapping[str, int]) -> frozenset[Connections]:
        """What the revision before the one that there was at the start translated at uplinks on these ports. Who was
        there before may have gone down when that one was stored, and nothing was forgotten yet.
        """
        uplinks = {uplink.name: ports[uplink.port] for uplink in self._last.uplinks.values() if uplink.port in ports}
        if not uplinks:
            return frozenset()
        compiled = compile_bridge(self._last, {}, uplinks=uplinks)
        return translated(chain.from_iterable(compiled.uplinks.values()))

    @cached_property
    def _last(self) -> Policy:
        try:
            document = self._revisions.read(max(self._first - 1, 0))
            return load(document) if document.get("uplinks") else EMPTY_POLICY
        except (PolicyError, StoreError):
            return EMPTY_POLICY  # of an older version, say; it was not right before this one then

    def read_host_facts(self) -> object:
        """What binding depends on of all that databases show: equal values mean that nothing needs to be done again."""
        seen = self._databases.seen()
        labels = labels_of(self.stored.policy, self._databases.shown(), seen)
        self._strangers = find_strangers(self.stored.policy, seen.values(), self._strangers)
        return (labels, self._strangers.by_bridge, underlay_mtus(seen.values()))

    def _compile(self, document: Document, policy: Policy) -> Draft:
        bridges = dict(self._bridges)  # one may connect meanwhile; it is bound when its ports are read
        now_s, seen = self._now(), self._databases.seen()
        labels = labels_of(policy, self._databases.shown(), seen)
        self._strangers = find_strangers(policy, seen.values(), self._strangers)
        strangers = self._strangers.by_bridge
        observed = [
            bridge.observe(now_s, labels.get(dpid, {}), strangers.get(dpid, frozenset()))
            for dpid, bridge in bridges.items()
        ]
        bindings = bind(policy, observed, self.in_effect.bindings)
        carriers = find_carriers(policy, observed, bindings, self._carriers)
        book = self._book
        if policy is not self.stored.policy:
            book = make_rulebook(policy, book)
            require_room(book)
        compiled: dict[Dpid, Compiled] = {}
        differences: dict[Dpid, Difference[int, Flow]] = {}
        for dpid, bridge in bridges.items():
            compiled[dpid] = compile_bridge(
                policy,
                bindings.seats[dpid],
                bridge.compiled,
                carriers.by_bridge.get(dpid, {}),
                bridge=bridge.view,
                book=book,
                uplinks=bindings.uplinks[dpid],
            )
            differences[dpid] = bridge.tally.difference(bridge.compiled, compiled[dpid])
        hosts = plan_hosts(policy, bindings, tuple(seen.values()), self.in_effect.hosts)
        return Draft(document, policy, bindings, carriers, book, compiled, differences, hosts)
