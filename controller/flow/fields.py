"""The fields a flow may match or set, and what each register bit means. PURE.

One line a field: its name in ovs-ofctl(8) syntax, its NXM name, its OXM header (ovs-fields(7)), its width and form.
One line a register slice: two that overlap are refused at import. No other file writes a register number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from itertools import count

Term = tuple[int, int, int]
"""One condition of a match: (Field.index, value, mask). Canonical: value & ~mask == 0 and mask != 0."""


LOCAL_PORT = 0xFFFFFFFE
"""OFPP_LOCAL: the bridge itself, as a network device of its host."""


class Form(Enum):
    """How a value is written in ovs-ofctl(8) syntax.

    PORT: a number, but the name of the local port. CT_STATE: flags, `+trk-inv`. FRAGMENT: a word for value and mask.
    """

    DECIMAL = "decimal"
    PORT = "port"
    HEX = "hex"
    CT_STATE = "ct_state"
    FRAGMENT = "fragment"
    MAC = "mac"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A packet or metadata field; one object a field, compared by identity.

    index: its place in FIELDS, which is the order in which Open vSwitch wants prerequisites on the wire.
    name, nxm: as a match or set_field writes it; as move, load and learn write it.
    oxm_class, oxm_field: of the OXM header. n_bits: width; on the wire a value takes n_bytes octets.
    """

    index: int
    name: str
    nxm: str
    oxm_class: int
    oxm_field: int
    n_bits: int
    form: Form

    @property
    def n_bytes(self) -> int:
        return (self.n_bits + 7) // 8

    @property
    def all_ones(self) -> int:
        return (1 << self.n_bits) - 1

    def __call__(self, value: int, mask: int | None = None) -> Term:
        """The condition `field == value` under mask (None: every bit), in canonical form: of plain ints, no flags."""
        if mask is None:
            return (self.index, int(value), (1 << self.n_bits) - 1)
        return (self.index, int(value & mask), int(mask))


_OXM = 0x8000
_NXM_0 = 0x0000
_NXM_1 = 0x0001
_ERICSSON = 0x1000

_next = count()


def _field(name: str, nxm: str, oxm_class: int, oxm_field: int, n_bits: int, form: Form) -> Field:
    return Field(next(_next), name, nxm, oxm_class, oxm_field, n_bits, form)


REG0 = _field("reg0", "NXM_NX_REG0", _NXM_1, 0, 32, Form.HEX)
REG1 = _field("reg1", "NXM_NX_REG1", _NXM_1, 1, 32, Form.HEX)
REG2 = _field("reg2", "NXM_NX_REG2", _NXM_1, 2, 32, Form.HEX)
REG3 = _field("reg3", "NXM_NX_REG3", _NXM_1, 3, 32, Form.HEX)
IN_PORT = _field("in_port", "OXM_OF_IN_PORT", _OXM, 0, 32, Form.PORT)
ETH_DST = _field("eth_dst", "NXM_OF_ETH_DST", _OXM, 3, 48, Form.MAC)
ETH_SRC = _field("eth_src", "NXM_OF_ETH_SRC", _OXM, 4, 48, Form.MAC)
ETH_TYPE = _field("eth_type", "NXM_OF_ETH_TYPE", _OXM, 5, 16, Form.HEX)
VLAN_VID = _field("vlan_vid", "OXM_OF_VLAN_VID", _OXM, 6, 13, Form.HEX)
"""0x1000 | VID where a tag is present (OFPVID_PRESENT), 0 where none is."""
IP_PROTO = _field("nw_proto", "NXM_OF_IP_PROTO", _OXM, 10, 8, Form.DECIMAL)
IPV4_SRC = _field("ip_src", "NXM_OF_IP_SRC", _OXM, 11, 32, Form.IPV4)
IPV4_DST = _field("ip_dst", "NXM_OF_IP_DST", _OXM, 12, 32, Form.IPV4)
TCP_SRC = _field("tcp_src", "NXM_OF_TCP_SRC", _OXM, 13, 16, Form.DECIMAL)
TCP_DST = _field("tcp_dst", "NXM_OF_TCP_DST", _OXM, 14, 16, Form.DECIMAL)
UDP_SRC = _field("udp_src", "NXM_OF_UDP_SRC", _OXM, 15, 16, Form.DECIMAL)
UDP_DST = _field("udp_dst", "NXM_OF_UDP_DST", _OXM, 16, 16, Form.DECIMAL)
ARP_OP = _field("arp_op", "NXM_OF_ARP_OP", _OXM, 21, 16, Form.DECIMAL)
ARP_SPA = _field("arp_spa", "NXM_OF_ARP_SPA", _OXM, 22, 32, Form.IPV4)
ARP_TPA = _field("arp_tpa", "NXM_OF_ARP_TPA", _OXM, 23, 32, Form.IPV4)
ARP_SHA = _field("arp_sha", "NXM_NX_ARP_SHA", _OXM, 24, 48, Form.MAC)
ARP_THA = _field("arp_tha", "NXM_NX_ARP_THA", _OXM, 25, 48, Form.MAC)
IPV6_SRC = _field("ipv6_src", "NXM_NX_IPV6_SRC", _OXM, 26, 128, Form.IPV6)
IPV6_DST = _field("ipv6_dst", "NXM_NX_IPV6_DST", _OXM, 27, 128, Form.IPV6)
ICMPV6_TYPE = _field("icmpv6_type", "NXM_NX_ICMPV6_TYPE", _OXM, 29, 8, Form.DECIMAL)
ICMPV6_CODE = _field("icmpv6_code", "NXM_NX_ICMPV6_CODE", _OXM, 30, 8, Form.DECIMAL)
ND_TARGET = _field("nd_target", "NXM_NX_ND_TARGET", _OXM, 31, 128, Form.IPV6)
ND_SLL = _field("nd_sll", "NXM_NX_ND_SLL", _OXM, 32, 48, Form.MAC)
ND_TLL = _field("nd_tll", "NXM_NX_ND_TLL", _OXM, 33, 48, Form.MAC)
ND_RESERVED = _field("nd_reserved", "ERICOXM_OF_ICMPV6_ND_RESERVED", _ERICSSON, 1, 32, Form.DECIMAL)
"""The 32 bits before the target: router, solicited and override flags of an advertisement (RFC 4861 section 4.4)."""
ND_OPTIONS_TYPE = _field("nd_options_type", "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE", _ERICSSON, 2, 8, Form.DECIMAL)
TUN_ID = _field("tun_id", "NXM_NX_TUN_ID", _OXM, 38, 64, Form.HEX)
"""The key of the tunnel that a packet came through, or leaves by: the vni."""
REG4 = _field("reg4", "NXM_NX_REG4", _NXM_1, 4, 32, Form.HEX)
REG5 = _field("reg5", "NXM_NX_REG5", _NXM_1, 5, 32, Form.HEX)
REG6 = _field("reg6", "NXM_NX_REG6", _NXM_1, 6, 32, Form.HEX)
REG7 = _field("reg7", "NXM_NX_REG7", _NXM_1, 7, 32, Form.HEX)
REG8 = _field("reg8", "NXM_NX_REG8", _NXM_1, 8, 32, Form.HEX)
REG9 = _field("reg9", "NXM_NX_REG9", _NXM_1, 9, 32, Form.HEX)
REG11 = _field("reg11", "NXM_NX_REG11", _NXM_1, 11, 32, Form.HEX)
XXREG3 = _field("xxreg3", "NXM_NX_XXREG3", _NXM_1, 114, 128, Form.HEX)
"""Registers 12 to 15 as one."""
CONJ_ID = _field("conj_id", "NXM_NX_CONJ_ID", _NXM_1, 37, 32, Form.DECIMAL)
CT_STATE = _field("ct_state", "NXM_NX_CT_STATE", _NXM_1, 105, 32, Form.CT_STATE)
"""What conntrack says of the packet, 0 before it was asked; the bits are `CtState` (ovs-fields(7) ct_state)."""
CT_MARK = _field("ct_mark", "NXM_NX_CT_MARK", _NXM_1, 107, 32, Form.HEX)
"""Kept with the connection; written in the exec of a commit only."""
CT_NW_PROTO = _field("ct_nw_proto", "NXM_NX_CT_NW_PROTO", _NXM_1, 119, 8, Form.DECIMAL)
CT_NW_SRC = _field("ct_nw_src", "NXM_NX_CT_NW_SRC", _NXM_1, 120, 32, Form.IPV4)
CT_NW_DST = _field("ct_nw_dst", "NXM_NX_CT_NW_DST", _NXM_1, 121, 32, Form.IPV4)
CT_IPV6_SRC = _field("ct_ipv6_src", "NXM_NX_CT_IPV6_SRC", _NXM_1, 122, 128, Form.IPV6)
CT_IPV6_DST = _field("ct_ipv6_dst", "NXM_NX_CT_IPV6_DST", _NXM_1, 123, 128, Form.IPV6)
CT_TP_SRC = _field("ct_tp_src", "NXM_NX_CT_TP_SRC", _NXM_1, 124, 16, Form.DECIMAL)
CT_TP_DST = _field("ct_tp_dst", "NXM_NX_CT_TP_DST", _NXM_1, 125, 16, Form.DECIMAL)
"""The packet that opened the connection, as conntrack saw it: of an answer and of a related ICMP error, too. For ICMP
ct_tp_src is the type and ct_tp_dst the code. 0 before conntrack was asked, and in packets that it calls invalid."""
NW_TTL = _field("nw_ttl", "NXM_NX_IP_TTL", _NXM_1, 29, 8, Form.DECIMAL)
"""Time to live, or hop limit."""
ICMP_TYPE = _field("icmp_type", "NXM_OF_ICMP_TYPE", _OXM, 19, 8, Form.DECIMAL)
ICMP_CODE = _field("icmp_code", "NXM_OF_ICMP_CODE", _OXM, 20, 8, Form.DECIMAL)
SCTP_SRC = _field("sctp_src", "OXM_OF_SCTP_SRC", _OXM, 17, 16, Form.DECIMAL)
SCTP_DST = _field("sctp_dst", "OXM_OF_SCTP_DST", _OXM, 18, 16, Form.DECIMAL)
IP_FRAG = _field("ip_frag", "NXM_NX_IP_FRAG", _NXM_1, 26, 8, Form.FRAGMENT)
"""Bit 0: the packet is a fragment. Bit 1: not the first one, so that it has no ports."""
# A new field goes to the end: a flow's cookie is a hash over the numbers of its fields.

FIELDS: tuple[Field, ...] = tuple(
    sorted((value for value in globals().values() if isinstance(value, Field)), key=lambda field: field.index)
)


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """Bits low .. low + n_bits - 1 of a field, under a name of ours."""

    name: str
    field: Field
    low: int
    n_bits: int

    @property
    def nxm(self) -> str:
        """In the syntax of move, load and learn: FIELD[] or FIELD[low..high] (ovs-actions(7))."""
        if self.n_bits == self.field.n_bits:
            return f"{self.field.nxm}[]"
        if self.n_bits == 1:
            return f"{self.field.nxm}[{self.low}]"
        return f"{self.field.nxm}[{self.low}..{self.low + self.n_bits - 1}]"

    def __call__(self, value: int) -> Term:
        """The condition `slice == value`."""
        return self.field(value << self.low, ((1 << self.n_bits) - 1) << self.low)


def whole(field: Field) -> Slice:
    """All bits of a field, for move, load and learn."""
    return Slice(field.name, field, 0, field.n_bits)


NETWORK = Slice("network", REG0, 0, 32)
"""The network a packet is in: Network.number. 0: none yet."""
OUT_PORT = Slice("out_port", REG1, 0, 32)
"""The ofport a packet is on its way to. 0: none yet."""
LEARNED = Slice("learned", REG2, 0, 1)
"""1: the source MAC stands in the table of learned MACs."""
FROM_HOST = Slice("from_host", REG2, 1, 1)
"""1: the packet came from another host, over a trunk."""
SENDER_SET = Slice("sender_set", REG3, 0, 32)
"""Which networks a frame of an untagged shared member is admitted to, as a hash of their numbers. 0: one only."""

ORIGIN_NETWORK = Slice("origin_network", REG4, 0, 32)
"""The network of the one who opened the connection, as NETWORK has it. 0: the outside, or not known yet."""
TARGET_NETWORK = Slice("target_network", REG5, 0, 32)
"""The network of the one to whom the connection was opened."""
ORIGIN_CLASS = Slice("origin_class", REG6, 0, 32)
"""Which selectors of rules take in the one who opened the connection: the number of that set of selectors. 0: none."""
TARGET_CLASS = Slice("target_class", REG7, 0, 32)
"""The same of the one to whom it was opened."""
ZONE = Slice("zone", REG8, 0, 16)
"""The conntrack zone that rules look at. 0: the packet is not tracked."""
TO_GROUP = Slice("to_group", REG8, 16, 1)
"""1: for the members of the network that it was flooded to: OUT_PORT is not known before the copies are made."""
ADMITTED = Slice("admitted", REG8, 17, 1)
"""1: made by the controller, as the answer to a packet that rules have seen: not for rules again."""
ANSWERING = Slice("answering", REG8, 18, 1)
"""1: of a tracked connection, in the direction of the answers."""
KEEP = Slice("keep", REG8, 19, 1)
"""1: the rule that admits the connection lets it live on when it no longer does (on_change: keep)."""
DNATED = Slice("dnated", REG8, 20, 1)
"""1: a forward has led the packet to a member, or would have, had its connection not been led there before."""
ASKED = Slice("asked", REG8, 21, 1)
"""1: for an outside address, so that translations were asked: where it is for a member now, they have led it there."""
PUNTED = Slice("punted", REG8, 24, 4)
"""Why the packet goes to the controller: a `Punt`."""
CAME_IN = Slice("came_in", REG9, 0, 32)
"""NETWORK before the packet was routed: where an answer to its sender goes."""
NEXT_HOP = Slice("next_hop", REG11, 0, 32)
"""The IPv4 address on the uplink's segment that the packet is for next."""
NEXT_HOP6 = Slice("next_hop6", XXREG3, 0, 128)
"""The same for IPv6."""
KEPT = Slice("kept", CT_MARK, 0, 1)
"""KEEP, as it stays with the connection."""

REGISTERS: tuple[Slice, ...] = (
    NETWORK,
    OUT_PORT,
    LEARNED,
    FROM_HOST,
    SENDER_SET,
    ORIGIN_NETWORK,
    TARGET_NETWORK,
    ORIGIN_CLASS,
    TARGET_CLASS,
    ZONE,
    TO_GROUP,
    ADMITTED,
    ANSWERING,
    KEEP,
    DNATED,
    ASKED,
    PUNTED,
    CAME_IN,
    NEXT_HOP,
    NEXT_HOP6,
    KEPT,
)


class CtState(IntFlag):
    """Bits of ct_state (ovs-fields(7))."""

    NEW = 0x01
    EST = 0x02
    REL = 0x04
    RPL = 0x08
    INV = 0x10
    TRK = 0x20
    SNAT = 0x40
    DNAT = 0x80


class Punt(IntEnum):
    """Why a packet is handed to the controller. Each has a meter of its own, whose number it is."""

    REJECT = 1
    LOG = 2
    TTL_EXCEEDED = 3
    RESOLVE = 4
    NEIGHBOR = 5
    UNREACHABLE = 6
    SOLICITATION = 7
    RESOLVE_ROUTER = 8


def refuse_overlaps(slices: tuple[Slice, ...]) -> None:
    """Raise ValueError where two slices share a bit or one leaves its field."""
    taken: dict[tuple[str, int], str] = {}
    for part in slices:
        if part.low < 0 or part.low + part.n_bits > part.field.n_bits:
            raise ValueError(f"{part.name} leaves {part.field.name}")
        for bit in range(part.low, part.low + part.n_bits):
            other = taken.setdefault((part.field.name, bit), part.name)
            if other != part.name:
                raise ValueError(f"{part.name} and {other} share bit {bit} of {part.field.name}")


refuse_overlaps(REGISTERS)
