"""Conntrack, as a value: what `ct` makes of a packet, and which connections stand afterwards. PURE.

As the userspace datapath of Open vSwitch 3.1 does it (lib/conntrack.c, ovs-fields(7) ct_state), which tests hold it
against; Linux agrees but where noted. A packet is +new until an answer was seen, committed or not; then +est, in both
directions. Not modelled: time, TCP's flags and sequence numbers (a segment always fits its connection), fragments,
helpers, ICMP identifiers (all pings from one address to another are one connection).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from controller.flow.actions import Nat
from controller.flow.fields import CtState
from controller.flow.packet import ETH_IPV4, ETH_IPV6, ICMP, ICMPV6, SCTP, TCP, UDP, Packet, is_icmp_error
from controller.proof.error import EvaluationError

_PORTS: Final = {TCP: ("tcp_src", "tcp_dst"), UDP: ("udp_src", "udp_dst"), SCTP: ("sctp_src", "sctp_dst")}
_ADDRESSES: Final = {ETH_IPV4: ("ip_src", "ip_dst"), ETH_IPV6: ("ipv6_src", "ipv6_dst")}
_ICMP_ANSWERS: Final = {8: 0, 13: 14, 15: 16}
_ICMPV6_ANSWERS: Final = {128: 129}
"""The requests that open a connection, and what answers them: echo, timestamp, information."""
_TRANSLATED: Final = CtState.SNAT | CtState.DNAT


@dataclass(frozen=True, slots=True)
class Tuple:
    """What tells connections of one zone apart. Of ICMP, src_port and dst_port are the type and that of the answer."""

    eth_type: int
    proto: int
    src: int
    dst: int
    src_port: int = 0
    dst_port: int = 0

    @property
    def reversed(self) -> Tuple:
        return Tuple(self.eth_type, self.proto, self.dst, self.src, self.dst_port, self.src_port)

    @property
    def is_icmp(self) -> bool:
        return (self.eth_type, self.proto) in ((ETH_IPV4, ICMP), (ETH_IPV6, ICMPV6))


@dataclass(frozen=True, slots=True)
class Connection:
    """original: the packet that opened it, before any translation. answer: what answers look like as they come in.

    nat: "src" or "dst" where it is translated, even if to what it was; "" where it is not.
    """

    zone: int
    original: Tuple
    answer: Tuple
    nat: str = ""
    mark: int = 0
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Connections:
    """All that are committed, in every zone. It does not change; `with_connection` makes another."""

    originals: Mapping[tuple[int, Tuple], Connection] = field(default_factory=lambda: MappingProxyType({}))
    answers: Mapping[tuple[int, Tuple], Tuple] = field(default_factory=lambda: MappingProxyType({}))

    def find(self, zone: int, seen: Tuple) -> tuple[Connection, bool] | None:
        """The connection that a packet is of, and whether it is an answer."""
        if (zone, seen) in self.originals:
            return self.originals[zone, seen], False
        original = self.answers.get((zone, seen))
        return None if original is None else (self.originals[zone, original], True)

    def with_connection(self, it: Connection) -> Connections:
        """With `it` added, or in place of the one with the same original tuple."""
        originals = {**self.originals, (it.zone, it.original): it}
        answers = {**self.answers, (it.zone, it.answer): it.original}
        return Connections(MappingProxyType(originals), MappingProxyType(answers))

    def __iter__(self) -> Iterator[Connection]:
        return iter(self.originals.values())

    def __len__(self) -> int:
        return len(self.originals)


NO_CONNECTIONS: Final = Connections()


@dataclass(frozen=True, slots=True)
class Tracked:
    """What conntrack last said of a packet; it stays with the packet, whatever flows see of it (ovs-fields(7)).

    state: `CtState` bits, 0 before conntrack was asked. original: of its connection, or of the packet itself if that is
    new; None if it is invalid: then mark and the ct_nw and ct_tp fields are 0.
    """

    state: int = 0
    zone: int = 0
    mark: int = 0
    original: Tuple | None = None


UNTRACKED: Final = Tracked()


@dataclass(frozen=True, slots=True)
class Ask:
    """What a `ct` action asks for, registers read. mark: (value, mask) of the bits of ct_mark to set.

    sctp_ports: whether this conntrack knows SCTP's ports. Linux does; the userspace datapath of 3.1 does not, and all
    SCTP between two addresses is one connection to it.
    """

    zone: int
    commit: bool = False
    nat: Nat | None = None
    mark: tuple[int, int] = (0, 0)
    sctp_ports: bool = True


def track(connections: Connections, packet: Packet, tracked: Tracked, ask: Ask) -> tuple[Packet, Tracked, Connections]:
    """The packet, what is said of it, and the connections, after `ct`. tracked: what was said of it before.

    Raises EvaluationError where what happens is left to the datapath: no free tuple, a tuple of two connections, and
    a commit of a new one with nat that names no address.
    """
    seen = _read(packet, ask.sctp_ports)
    zone = ask.zone
    if seen is None:
        return packet, Tracked(CtState.TRK | CtState.INV, zone), connections
    related = is_icmp_error(packet.get)
    before = tracked.state if tracked.zone == zone else 0
    found = _find(connections, zone, seen, bool(before & _TRANSLATED))
    if found is None and before & _TRANSLATED and ask.nat is None and tracked.original is not None:
        # Translated here and rewritten by flows since: it still is of the connection that translated it.
        found = connections.find(zone, tracked.original)
    if found is None and related:
        return packet, Tracked(CtState.TRK | CtState.INV, zone), connections
    if found is None:
        return _open(connections, packet, seen, ask)
    connection, is_answer = found
    state = before | CtState.TRK | (CtState.RPL if is_answer else 0)
    if related:
        state |= CtState.REL
    else:
        connection = replace(connection, answered=connection.answered or is_answer)
        state = state & ~CtState.NEW | CtState.EST if connection.answered else state | CtState.NEW
    if ask.nat is not None and connection.nat and not before & _TRANSLATED:
        packet, bit = _translate(packet, connection, is_answer)
        state |= bit
    connection = _marked(connection, ask)
    said = Tracked(state, zone, connection.mark, connection.original)
    return packet, said, connections.with_connection(connection)


def _find(connections: Connections, zone: int, seen: Tuple, translated: bool) -> tuple[Connection, bool] | None:
    """A packet that this zone has translated looks like the answer to what it is, turned around."""
    if translated and (found := connections.find(zone, seen.reversed)) is not None:
        return found[0], not found[1]
    return connections.find(zone, seen)


def _open(connections: Connections, packet: Packet, seen: Tuple, ask: Ask) -> tuple[Packet, Tracked, Connections]:
    if seen.is_icmp and seen.src_port not in (_ICMP_ANSWERS if seen.eth_type == ETH_IPV4 else _ICMPV6_ANSWERS):
        return packet, Tracked(CtState.TRK | CtState.INV, ask.zone), connections
    state: int = CtState.TRK | CtState.NEW
    if not ask.commit:
        return packet, Tracked(state, ask.zone, 0, seen), connections
    connection = Connection(ask.zone, seen, seen.reversed)
    if ask.nat is not None and not ask.nat.kind:
        # The userspace datapath then waits for answers from 0.0.0.0, and knows none of those that come.
        raise EvaluationError(f"{seen} is committed with nat, but to no address")
    if ask.nat is not None:
        answer = _choose(connections, ask.zone, seen, ask.nat)
        connection = replace(connection, answer=answer, nat=ask.nat.kind)
        packet, bit = _translate(packet, connection, False)
        state |= bit
    elif connections.find(ask.zone, connection.answer) is not None:
        raise EvaluationError(f"answers to {seen} in zone {ask.zone} are of another connection already")
    connection = _marked(connection, ask)
    return packet, Tracked(state, ask.zone, connection.mark, seen), connections.with_connection(connection)


def _marked(connection: Connection, ask: Ask) -> Connection:
    value, mask = ask.mark
    return replace(connection, mark=connection.mark & ~mask | value & mask)


# What a packet says


def _read(packet: Packet, sctp_ports: bool) -> Tuple | None:
    """The tuple that an IP packet is looked up by; of an ICMP error, that of an answer to what it is about.

    None for what conntrack takes for invalid: port 0, ICMP that is no request, answer or error, and errors about
    nothing, about errors, or about what their receiver has not sent.
    """
    if packet.eth_type not in _ADDRESSES:
        return None
    if not is_icmp_error(packet.get):
        return _read_plain(packet, sctp_ports)
    inner = packet.inner
    if inner is None or is_icmp_error(inner.get):
        return None
    src, dst = _ADDRESSES[packet.eth_type]
    about = _read_plain(inner, sctp_ports)
    return about.reversed if about is not None and inner.get(src) == packet.get(dst) else None


def _read_plain(packet: Packet, sctp_ports: bool) -> Tuple | None:
    eth_type, proto = packet.eth_type, packet.get("nw_proto")
    src, dst = (packet.get(name) for name in _ADDRESSES[eth_type])
    if (eth_type, proto) in ((ETH_IPV4, ICMP), (ETH_IPV6, ICMPV6)):
        word, answers = ("icmp", _ICMP_ANSWERS) if eth_type == ETH_IPV4 else ("icmpv6", _ICMPV6_ANSWERS)
        types = {**answers, **{answer: request for request, answer in answers.items()}}
        kind = packet.get(f"{word}_type")
        # Linux takes other codes, too.
        if kind not in types or packet.get(f"{word}_code"):
            return None
        return Tuple(eth_type, proto, src, dst, kind, types[kind])
    if proto not in _PORTS or (proto == SCTP and not sctp_ports):
        return Tuple(eth_type, proto, src, dst)
    src_port, dst_port = (packet.get(name) for name in _PORTS[proto])
    return Tuple(eth_type, proto, src, dst, src_port, dst_port) if src_port and dst_port else None


# Translation


def _translate(packet: Packet, it: Connection, is_answer: bool) -> tuple[Packet, int]:
    """The packet as it leaves, and the bit of ct_state for it. What an ICMP error is about is turned back."""
    end = (it.original if is_answer else it.answer).reversed
    side = int((it.nat == "dst") != is_answer)
    bit = CtState.DNAT if side else CtState.SNAT
    if not is_icmp_error(packet.get):
        return _with_end(packet, end, side), bit
    if packet.inner is not None:
        packet = packet.with_inner(_with_end(packet.inner, end.reversed, 1 - side))
    return packet.with_(**{_ADDRESSES[end.eth_type][side]: (end.src, end.dst)[side]}), bit


def _with_end(packet: Packet, end: Tuple, side: int) -> Packet:
    """The packet with the source (side 0) or destination (1) address of a tuple, and its ports."""
    changed = {_ADDRESSES[end.eth_type][side]: (end.src, end.dst)[side]}
    if end.proto in _PORTS and end.src_port:
        changed |= zip(_PORTS[end.proto], (end.src_port, end.dst_port), strict=True)
    return packet.with_(**changed)


def _choose(connections: Connections, zone: int, original: Tuple, nat: Nat) -> Tuple:
    """A tuple of answers that is free: the first address and port of those allowed, where a datapath takes any.

    A port that need not change stays, if that is free with any address; if not, the source port is another one.
    """
    plain = original.reversed
    for address in range(nat.first, nat.last + 1):
        for answer in _with_ports(plain, nat, address):
            if connections.find(zone, answer) is None:
                return answer
    if plain.proto in _PORTS and plain.dst_port and (nat.ports is None or nat.kind == "dst"):
        first = next(_with_ports(plain, nat, nat.first))
        for port in _others(first.dst_port):
            answer = replace(first, dst_port=port)
            if connections.find(zone, answer) is None:
                return answer
    raise EvaluationError(f"no free address or port for {original} in zone {zone}: {nat}")


def _with_ports(plain: Tuple, nat: Nat, address: int) -> Iterator[Tuple]:
    """plain, with that address for the translated end, and each of the ports that the action names."""
    at_address = replace(plain, dst=address) if nat.kind == "src" else replace(plain, src=address)
    if nat.ports is None or plain.proto not in _PORTS or not plain.src_port:
        yield at_address
        return
    for port in range(nat.ports[0], nat.ports[1] + 1):
        yield replace(at_address, dst_port=port) if nat.kind == "src" else replace(at_address, src_port=port)


def _others(port: int) -> Iterator[int]:
    """Source ports of the same kind as one: those above it first."""
    low, high = (1, 511) if port < 512 else (600, 1023) if port < 1024 else (1024, 65535)
    yield from range(port + 1, high + 1)
    yield from range(low, port)
