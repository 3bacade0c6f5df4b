"""Whom each endpoint can open a connection to, as sets: a rule is asked about everybody at a time. PURE.

A set of parties is an integer, with a bit for each. It is said on the safe side: where rules let a part pass, it
passes, though an earlier rule may hold that very part back.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from controller.flow.packet import ICMP, ICMPV6
from controller.policy.firewall import Action, Decision, Peers, Rule, Service
from controller.policy.meaning.grouping import with_holders
from controller.policy.meaning.here import addresses
from controller.policy.meaning.rules import Party, groups_of, is_among, is_link_local
from controller.policy.meaning.tracking import tracked_networks
from controller.policy.model import OUTSIDE, Cidr, Endpoint, Mode, Network, Policy, Uplink
from controller.policy.rewrites import targets_of

Bits = int
Seat = tuple[str, str]
"""A network, and an endpoint in it, by name."""
BEYOND: Seat = (OUTSIDE, OUTSIDE)
"""Everybody beyond the uplinks, in a policy that has any."""

_WHOLE = Service()
_LACKING = {ICMPV6: 4, ICMP: 6}
"""The IP version in which a protocol does not occur."""


class Reach:
    """The answers for one policy. Parties that the same rules are about are asked for once.

    bits: which bit stands for whom; answers for policies that share it can be held against each other.
    """

    def __init__(self, policy: Policy, bits: dict[object, int]) -> None:
        self._policy = policy
        self._tracked = tracked_networks(policy)
        self._bits = bits
        self._parties: dict[int, Party] = {}
        self._seat_of: dict[int, Seat] = {}
        self._of_seat: dict[Seat, Bits] = {}
        self._of_endpoint: dict[str, Bits] = {}
        self._of_network: dict[str, Bits] = dict.fromkeys(policy.networks, 0)
        self._of_version: dict[int, Bits] = dict.fromkeys((0, 4, 6), 0)
        self._named: dict[str, Bits] = {}
        self._groups: dict[str, Bits] = dict.fromkeys(policy.groups, 0)
        rewrites = policy.rewrites.values()
        self._led_to = {(rewrite.network, to.endpoint) for rewrite in rewrites for to in targets_of(rewrite)}
        self._cidrs: dict[Cidr, Bits] = {}
        self._all = self._routed = self._going_out = self._let_in = 0
        for network in policy.networks.values():
            for member in policy.members[network.name]:
                for who in _parties(member, network):
                    self._seat((network.name, member.name), who)
        if policy.uplinks:
            self._seat(BEYOND, Party(None))
        self._outside = self._of_seat.get(BEYOND, 0)
        addressed = (name for name, group in policy.groups.items() if group.members.cidrs)
        self._by_address = with_holders(policy, addressed)
        self._among: dict[Peers, tuple[Bits, Bits]] = {}
        self._rows: dict[object, Bits] = {}
        self._reached: dict[Seat, Bits] = {}

    def _seat(self, seat: Seat, who: Party) -> None:
        number = self._bits.setdefault((*seat, who.address), len(self._bits))
        bit = 1 << number
        self._parties[number], self._seat_of[number] = who, seat
        self._of_seat[seat] = self._of_seat.get(seat, 0) | bit
        self._of_network[seat[0]] = self._of_network.get(seat[0], 0) | bit
        self._of_endpoint[seat[1]] = self._of_endpoint.get(seat[1], 0) | bit
        self._of_version[_version(who)] |= bit
        self._all |= bit
        if who.endpoint is not None:
            self._named[seat[1]] = self._named.get(seat[1], 0) | bit
        for name in groups_of(self._policy, who):
            self._groups[name] |= bit
        network = self._policy.networks.get(seat[0])
        if network is not None and network.routed and _is_routed(who):
            self._routed |= bit
            if network.uplink is not None and _version(who) in _versions(self._policy.uplinks[network.uplink]):
                self._going_out |= bit
                if network.mode is Mode.ROUTED or seat in self._led_to:
                    self._let_in |= bit

    # What is asked

    @property
    def seats(self) -> tuple[Seat, ...]:
        return tuple(self._of_seat)

    def seats_of(self, bits: Bits) -> Iterator[Seat]:
        """Whose the bits are, each once; they are of this policy."""
        yield from dict.fromkeys(self._seat_of[number] for number in _numbers(bits))

    def is_reached(self, source: Seat, target: Seat) -> bool:
        """Whether one of them can open anything to the other; neither need be there."""
        return bool(self.reached(source) & self._of_seat.get(target, 0))

    def reached(self, seat: Seat) -> Bits:
        """Everybody to whom an endpoint can open anything from one of its networks: in it, or through the router.

        To the outside who has an uplink for the IP version; from there to whom a rewrite leads, and to members of
        routed networks.
        """
        found = self._reached.get(seat)
        if found is None:
            found = 0
            here = self._of_network.get(seat[0], 0)
            for number in _numbers(self._of_seat.get(seat, 0)):
                who = self._parties[number]
                ways = here if seat[0] in self._tracked else 0
                if self._routed >> number & 1:
                    ways |= self._routed & ~here
                if self._going_out >> number & 1:
                    ways |= self._outside
                if seat == BEYOND:
                    ways |= self._let_in
                if ways:
                    found |= ways & self._meeting(who) & self._opened(number, who)
                if seat[0] not in self._tracked:
                    found |= here
            found &= ~self._of_endpoint.get(seat[1], 0)
            self._reached[seat] = found
        return found

    def _meeting(self, who: Party) -> Bits:
        """Those of the same IP version, and those of whom it is not known."""
        version = _version(who)
        return self._of_version[version] | self._of_version[0] if version else self._all

    # What rules decide

    def _opened(self, number: int, who: Party) -> Bits:
        """Those to whom rules and defaults let this party open anything, whether or not there is a way."""
        about: list[tuple[Rule, bool]] = []
        for rule in self._policy.rules.values():
            sure, maybe = self._those(rule.origin)
            if (sure | maybe) >> number & 1:
                about.append((rule, bool(sure >> number & 1)))
        kind = (who.network, _version(who), tuple((rule.name, sure) for rule, sure in about))
        if kind not in self._rows:
            self._rows[kind] = self._decide(who.network or OUTSIDE, _version(who), about)
        return self._rows[kind]

    def _decide(self, network: str, version: int, about: list[tuple[Rule, bool]]) -> Bits:
        """about: the rules that are about somebody, each with whether that is certain, in their order."""
        allowed, undecided = 0, self._all
        for tier in self._policy.tiers:
            asked, passed = undecided, 0
            for rule, is_sure in about:
                if rule.tier != tier or rule.action is Action.LOG:
                    continue
                sure, maybe = self._those(rule.target)
                met = asked & (sure | maybe) & self._with(rule.service, version)
                if rule.action is Action.ALLOW:
                    allowed |= met
                    undecided &= ~met
                    asked &= ~met
                    continue
                whole = met & sure if is_sure and rule.service == _WHOLE else 0
                if rule.action is Action.PASS:
                    passed |= met
                else:
                    undecided &= ~(whole & ~passed)
                asked &= ~whole
        return allowed | undecided & self._default(network)

    def _with(self, service: Service, version: int) -> Bits:
        """Those with whom a service's protocol occurs; version: of the one who opens, 0: not known."""
        lacking = _LACKING.get(service.protocol or 0)
        if lacking is None:
            return self._all
        if version:
            return 0 if version == lacking else self._all
        return self._all & ~self._of_version[lacking]

    def _default(self, network: str) -> Bits:
        """Those to whom defaults let a network's members, or the outside, open connections."""
        defaults, here = self._policy.defaults, self._of_network[network]
        if network == OUTSIDE:
            allowed = self._let_in
        else:
            allowed = self._outside | (here if defaults.intra_network is Decision.ALLOW else 0)
            if defaults.inter_network is Decision.ALLOW:
                allowed |= self._all & ~here
        for pair in reversed(defaults.pairs):  # the first one holds
            if pair.origin == network:
                there = self._of_network.get(pair.target, 0)
                allowed = allowed | there if pair.decision is Decision.ALLOW else allowed & ~there
        return allowed

    # Who is meant

    def _those(self, peers: Peers) -> tuple[Bits, Bits]:
        """Who is among peers for certain, and those of whom only their address tells, which is not known."""
        found = self._among.get(peers)
        if found is None:
            sure = self._all if peers.anybody else 0
            for name in peers.endpoints:
                sure |= self._named.get(name, 0)
            for name in (*peers.networks, *((OUTSIDE,) if peers.outside else ())):
                sure |= self._of_network.get(name, 0)
            for name in peers.groups:
                sure |= self._groups[name]
            for cidr in peers.cidrs:
                sure |= self._in(cidr)
            by_address = bool(peers.cidrs) or not self._by_address.isdisjoint(peers.groups)
            found = self._among[peers] = (sure, self._of_version[0] & ~sure if by_address else 0)
        return found

    def _in(self, cidr: Cidr) -> Bits:
        if cidr not in self._cidrs:
            held = (number for number, who in self._parties.items() if is_among(Peers(cidrs=(cidr,)), who, frozenset()))
            self._cidrs[cidr] = sum(1 << number for number in held)
        return self._cidrs[cidr]


def _numbers(bits: Bits) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        bits ^= lowest
        yield lowest.bit_length() - 1


def _parties(endpoint: Endpoint, network: Network) -> list[Party]:
    """An endpoint as rules know it, by each of its addresses; without any it is somebody in the network."""
    known = [
        (IPv4Address if v == 4 else IPv6Address)(ip) for v in (4, 6) for ip in sorted(addresses(endpoint, network, v))
    ]
    return [Party(network.name, endpoint, ip) for ip in known] or [Party(network.name)]


def _version(who: Party) -> int:
    """0: not known."""
    return 0 if who.address is None else who.address.version


def _versions(uplink: Uplink) -> frozenset[int]:
    """The IP versions that it leads anywhere in."""
    return frozenset(each.version for each in (*uplink.addresses, *(route.to for route in uplink.routes)))


def _is_routed(who: Party) -> bool:
    return who.address is not None and not is_link_local(who.address)
