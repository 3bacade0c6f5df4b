"""Headers of match fields and single conditions on the wire. PURE.

An OXM header is class (16 bits), field (7), has-mask (1), length of what follows (8): OpenFlow 1.4 section 7.2.3.2.
Registers have the class of Open vSwitch's own fields (0x0001). Open vSwitch names some standard fields by their older
NXM header where an action copies or loads them; `FIELD_OF` knows both.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from controller.flow import fields
from controller.flow.fields import FIELDS, Field, Term


def header(field: Field) -> int:
    """The 32-bit header of the whole field, without a mask."""
    return field.oxm_class << 16 | field.oxm_field << 9 | field.n_bytes


HAS_MASK: Final = 1 << 8
HEADERS: Final[tuple[int, ...]] = tuple(header(field) for field in FIELDS)
"""By Field.index."""

NXM_OF_IN_PORT: Final = 0x00000002
"""in_port by Open vSwitch's own header: 16 bits wide."""

_NXM_NUMBERS: Final[dict[Field, tuple[int, int]]] = {
    fields.ETH_DST: (0, 1),
    fields.ETH_SRC: (0, 2),
    fields.ETH_TYPE: (0, 3),
    fields.IP_PROTO: (0, 6),
    fields.IPV4_SRC: (0, 7),
    fields.IPV4_DST: (0, 8),
    fields.TCP_SRC: (0, 9),
    fields.TCP_DST: (0, 10),
    fields.UDP_SRC: (0, 11),
    fields.UDP_DST: (0, 12),
    fields.ARP_OP: (0, 15),
    fields.ARP_SPA: (0, 16),
    fields.ARP_TPA: (0, 17),
    fields.ARP_SHA: (1, 17),
    fields.ARP_THA: (1, 18),
    fields.IPV6_SRC: (1, 19),
    fields.IPV6_DST: (1, 20),
    fields.ICMPV6_TYPE: (1, 21),
    fields.ICMPV6_CODE: (1, 22),
    fields.ND_TARGET: (1, 23),
    fields.ND_SLL: (1, 24),
    fields.ND_TLL: (1, 25),
    fields.ICMP_TYPE: (0, 13),
    fields.ICMP_CODE: (0, 14),
}

FIELD_OF: Final[dict[int, Field]] = {header(field): field for field in FIELDS} | {
    class_ << 16 | number << 9 | field.n_bytes: field for field, (class_, number) in _NXM_NUMBERS.items()
}
"""By header without a mask."""

XXREG3_PARTS: Final[dict[int, int]] = {1 << 16 | number << 9 | 4: 32 * (15 - number) for number in range(12, 16)}
"""Open vSwitch reports XXREG3 as registers 12 to 15. By header: how far left the bits of each stand in the whole."""


def split_match(data: bytes, start: int, length: int) -> Iterator[tuple[int, int, int]]:
    """(header without a mask, value, mask) of every condition of the ofp_match that begins at `start` with this length.

    Never raises and always ends, whatever the octets are.
    """
    offset, end = start + 4, start + length
    while offset < end:
        head = int.from_bytes(data[offset : offset + 4], "big")
        n_octets = head & 0xFF
        body = data[offset + 4 : offset + 4 + n_octets]
        offset += 4 + n_octets
        if head & HAS_MASK:
            n_octets //= 2
            value, mask = int.from_bytes(body[:n_octets], "big"), int.from_bytes(body[n_octets:], "big")
            yield head - HAS_MASK - n_octets, value, mask
        else:
            yield head, int.from_bytes(body, "big"), (1 << 8 * n_octets) - 1


_EXACT: Final = tuple((header(field).to_bytes(4, "big"), field.n_bytes, field.all_ones) for field in FIELDS)
"""By Field.index: the header without a mask, the value's octets, the widest value and mask."""


@lru_cache(maxsize=65536)
def encode_term(term: Term) -> bytes:
    """One condition. An exact one carries no mask. Raises OverflowError where the value does not fit the field."""
    index, value, mask = term
    head, n_bytes, all_ones = _EXACT[index]
    if value > all_ones or mask > all_ones:
        raise OverflowError(f"{value:#x}/{mask:#x} does not fit {FIELDS[index].name}")
    if mask == all_ones:
        return head + value.to_bytes(n_bytes, "big")
    masked = HEADERS[index] + HAS_MASK + n_bytes
    return masked.to_bytes(4, "big") + value.to_bytes(n_bytes, "big") + mask.to_bytes(n_bytes, "big")
