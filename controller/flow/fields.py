"""The fields a flow may match or set, and what each register bit means. PURE.

One line a field: its name in ovs-ofctl(8) syntax, its NXM name, its OXM header (ovs-fields(7)), its width and form.
One line a register slice: two that overlap are refused at import. No other file writes a register number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import count

Term = tuple[int, int, int]
"""One condition of a match: (Field.index, value, mask). Canonical: value & ~mask == 0 and mask != 0."""


LOCAL_PORT = 0xFFFFFFFE
"""OFPP_LOCAL: the bridge itself, as a network device of its host."""


class Form(Enum):
    """How a value is written in ovs-ofctl(8) syntax. PORT: a number, but the name of the local port."""

    DECIMAL = "decimal"
    PORT = "port"
    HEX = "hex"
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
        """The condition `field == value` under mask (None: every bit), in canonical form."""
        if mask is None:
            return (self.index, value, (1 << self.n_bits) - 1)
        return (self.index, value & mask, mask)


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

REGISTERS: tuple[Slice, ...] = (NETWORK, OUT_PORT, LEARNED, FROM_HOST, SENDER_SET)


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
