"""One frame on its way through a bridge: what was known before, and what has come of it so far. PURE.

Changes while one frame is judged, and is seen by nobody afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.flow.fields import Punt
from controller.flow.packet import Packet, is_icmp_error
from controller.policy.firewall import Decision
from controller.policy.meaning.connections import is_ip, is_link_scoped, source_of, target_of, tuple_of
from controller.policy.meaning.forwarding import form, refuse_target
from controller.policy.meaning.here import Here
from controller.policy.meaning.known import ROUTED, Connection, Known, Realm
from controller.policy.meaning.rules import Decided, decide, is_group_address, is_link_local, party
from controller.policy.meaning.tracking import tracked_networks
from controller.policy.model import Endpoint, Network, Policy


@dataclass(frozen=True, slots=True)
class Punted:
    """A packet that the controller is handed, to make something of it.

    rule: the name of the one that rejects or logs, else ""; "" too where a default rejects.
    packet: REJECT, LOG: as rules see it, on its way to the target. RESOLVE: as it leaves, but for the MAC that is not
    known. Others: as its sender sent it.
    """

    kind: Punt
    rule: str
    packet: Packet


@dataclass(slots=True)
class Course:
    policy: Policy
    bindings: Mapping[str, int]
    uplinks: Mapping[str, int]
    advertises: bool
    known: Known
    deliveries: set[tuple[int, Packet]] = field(default_factory=set)
    punts: set[Punted] = field(default_factory=set)
    why: list[str] = field(default_factory=list)

    def here(self, network: Network) -> Here:
        return Here(self.policy, self.bindings, network, self.known.learned, self.advertises)

    def drop(self, place: str, reason: str) -> None:
        """place: the network or uplink that the frame is in."""
        self.why.append(f"{place}: {reason}")

    def tell(self, kind: Punt, rule: str, packet: Packet) -> None:
        self.punts.add(Punted(kind, rule, packet))

    def hand(self, here: Here, target: Endpoint, packet: Packet) -> None:
        """To a member, if it is for that member."""
        reason = refuse_target(here, target, packet)
        if reason:
            self.drop(here.network.name, f"not to {target.name}: {reason}")
        else:
            self.deliveries.add(form(here, target, packet))

    def admit(self, network: Network, packet: Packet) -> bool:
        """Whether the packet may go on in a network, by the connection that it belongs to."""
        if network.name not in tracked_networks(self.policy) or not is_ip(packet) or is_link_scoped(packet):
            return True
        realm = self.realm(network, packet)
        seen, connections = tuple_of(packet), self.known.connections
        is_error = is_icmp_error(packet.get)
        is_answer = seen is not None and (realm, seen.reversed()) in connections and (realm, seen) not in connections
        if seen is None or not (is_answer or (realm, seen) in connections or (seen.opens and not is_error)):
            self.drop(network.name, "it belongs to no connection, and opens none")
            return False
        opened = seen.reversed() if is_answer else seen
        connection = connections.get((realm, opened))
        if connection is not None and is_answer and not is_error:
            connection = Connection(connection.keep, answered=True)
            self.known = self.known.with_connection(realm, opened, connection)
        is_established = connection is not None and connection.answered
        if connection is not None and connection.keep and (is_established or is_error):
            return True
        here, is_local = self.here(network), realm != ROUTED
        ends = (party(here, end, is_local=is_local) for end in (opened.source, opened.target))
        decided = decide(self.policy, opened, *ends)
        if decided.decision is not Decision.ALLOW:
            self._refuse(network, packet, decided)
        elif not is_error and not is_established:
            self.known = self.known.with_connection(realm, opened, Connection(decided.keep))
        if not is_error and not is_established:
            for rule in decided.logged:
                self.tell(Punt.LOG, rule, packet)
        return decided.decision is Decision.ALLOW

    def realm(self, network: Network, packet: Packet) -> Realm:
        """Where its connection is told from others: by its addresses, whatever MAC it is sent to.

        What is for many, or for the link, is so in its network.
        """
        is_local = is_group_address(target_of(packet), network)
        is_local = is_local or any(is_link_local(end) for end in (source_of(packet), target_of(packet)))
        return ROUTED if network.routed and not is_local else network.name

    def _refuse(self, network: Network, packet: Packet, decided: Decided) -> None:
        by = f"rule {decided.rule}" if decided.rule else "what holds where no rule decides"
        self.drop(network.name, f"{by} says {decided.decision.value}")
        # RFC 1122 section 3.2.2: no errors about errors, nor about what was sent to many.
        is_many = packet.is_multicast or is_group_address(target_of(packet), network)
        is_told = not is_icmp_error(packet.get) and not is_many
        if decided.decision is Decision.REJECT and is_told:
            self.tell(Punt.REJECT, decided.rule, packet)

    def is_answer(self, network: Network, packet: Packet) -> bool:
        """Whether a packet that was admitted goes back to the one who opened its connection."""
        realm = self.realm(network, packet)
        seen = tuple_of(packet)
        return seen is not None and (realm, seen) not in self.known.connections
