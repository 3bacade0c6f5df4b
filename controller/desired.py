"""What is desired of every bridge and host: the policy, where its endpoints are, and all that comes of both. State.

A draft is computed from what is there, and is in effect once it is put in effect. All of it computes for long: call it
in a thread, one call at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain

from controller.bridge import Bridge
from controller.carriers import NO_CARRIERS, find_carriers
from controller.control import SHOWN, Change, Document, Stored
from controller.diff import Difference
from controller.errors import PolicyError, Problem, StoreError
from controller.flow.connections import Connections
from controller.flow.flow import Flow
from controller.host_plan import plan_hosts
from controller.hosts import HostDatabases
from controller.inventory import NO_STRANGERS, Bindings, bind, find_strangers, labels_of
from controller.mtu import underlay_mtus
from controller.pipeline.compile import NOTHING, Compiled, compile_bridge
from controller.pipeline.rule_view import RuleViews
from controller.pipeline.rulebook import Rulebook, make_rulebook, require_room
from controller.pipeline.translated import translated
from controller.plan_report import Draft
from controller.policy.advice import Adviser
from controller.policy.check import Checker
from controller.policy.document import as_written
from controller.policy.edit import apply_change
from controller.policy.load import load
from controller.policy.model import Dpid, Policy
from controller.revisions import Revisions


class Desired:
    """stored: the revision in effect. bindings, carriers, hosts: what was made of it and of the ports observed.

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
        self.stored = Stored(number, document, policy)
        self.bindings = Bindings()
        self.hosts = plan_hosts(policy, self.bindings, ())

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
        self.bindings, self._carriers, self._book, self.hosts = draft.bindings, draft.carriers, draft.book, draft.hosts
        for dpid, compiled in draft.compiled.items():
            if bridge := self._bridges.get(dpid):  # one that carries nobody may have been forgotten meanwhile
                if bridge.compiled is NOTHING and draft.bindings.uplinks[dpid]:
                    bridge.forget |= self._given_up_last(draft.bindings.uplinks[dpid])
                seats, changes = draft.bindings.seats[dpid], draft.differences[dpid]
                bridge.replace(seats, compiled, changes, forgetting=revision is not None)
        if revision is not None:
            self.stored = Stored(revision, draft.document, draft.policy)

    def _given_up_last(self, uplinks: Mapping[str, int]) -> frozenset[Connections]:
        """What the revision before the stored one translated at these uplinks. A controller that went down right after
        that was stored may not have had a bridge forget what it translates no more; `Bridge.replace` keeps the rest.
        """
        try:
            policy = load(self._revisions.read(max(self.stored.revision - 1, 0)))
        except (PolicyError, StoreError):
            return frozenset()  # of an older version, say; it was not right before this one then
        known = {name: port for name, port in uplinks.items() if name in policy.uplinks}
        compiled = compile_bridge(policy, {}, uplinks=known)
        return translated(chain.from_iterable(compiled.uplinks.values()))

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
        bindings = bind(policy, observed, self.bindings)
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
        hosts = plan_hosts(policy, bindings, tuple(seen.values()), self.hosts)
        return Draft(document, policy, bindings, carriers, book, compiled, differences, hosts)
