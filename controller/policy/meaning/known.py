"""What a switch knows from the packets it has seen: a value that goes from one judgement to the next. PURE.

It grows only: MACs that age, connections that end and translations that are forgotten are not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from controller.mac import Mac
from controller.policy.meaning.connections import FiveTuple
from controller.policy.model import Address

Learned = Mapping[tuple[str, Mac], int]
"""(network name, MAC) -> the ofport that MAC was last seen on."""
Realm = str
"""Where connections are told apart: the name of an isolated network, or `ROUTED` for all networks with a router."""
ROUTED: Final[Realm] = "*"
"""No network's name."""


@dataclass(frozen=True, slots=True)
class Connection:
    """answered: an answer was seen, which makes it an established one. keep: on_change of the rule that admitted it,
    for the last time before it was answered.
    """

    keep: bool = False
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """The mappings are never mutated.

    connections: those that were admitted, by the packet that opened them.
    leads: of connections to outside addresses, what they were opened as -> what they became, which is as rules see it.
    stands: of connections outwards, what they were opened as, as rules see it -> what they became.
    neighbors: (uplink, address on one of its segments) -> MAC.
    """

    learned: Learned = field(default_factory=lambda: MappingProxyType({}))
    connections: Mapping[tuple[Realm, FiveTuple], Connection] = field(default_factory=lambda: MappingProxyType({}))
    leads: Mapping[FiveTuple, FiveTuple] = field(default_factory=lambda: MappingProxyType({}))
    stands: Mapping[FiveTuple, FiveTuple] = field(default_factory=lambda: MappingProxyType({}))
    neighbors: Mapping[tuple[str, Address], Mac] = field(default_factory=lambda: MappingProxyType({}))

    def with_learned(self, network: str, mac: Mac, port: int) -> Known:
        return replace(self, learned=MappingProxyType({**self.learned, (network, mac): port}))

    def with_connection(self, realm: Realm, opened: FiveTuple, connection: Connection) -> Known:
        return replace(self, connections=MappingProxyType({**self.connections, (realm, opened): connection}))

    def with_lead(self, opened: FiveTuple, became: FiveTuple) -> Known:
        return replace(self, leads=MappingProxyType({**self.leads, opened: became}))

    def with_stand(self, opened: FiveTuple, became: FiveTuple) -> Known:
        return replace(self, stands=MappingProxyType({**self.stands, opened: became}))

    def with_neighbor(self, uplink: str, address: Address, mac: Mac) -> Known:
        return replace(self, neighbors=MappingProxyType({**self.neighbors, (uplink, address): mac}))


NOTHING_KNOWN: Final = Known()
