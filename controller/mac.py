"""A 48-bit Ethernet address (IEEE 802). PURE."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address

_TEXT = re.compile(r"[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}")


@dataclass(frozen=True, slots=True, order=True)
class Mac:
    """value: 0 to 2**48 - 1, the first octet on the wire is the most significant."""

    value: int

    @classmethod
    def parse(cls, text: str) -> Mac:
        """Six hexadecimal octets with `:` or `-` between them. Raises ValueError for anything else."""
        if not _TEXT.fullmatch(text):
            raise ValueError(f"{text!r} is not a MAC address")
        return cls(int(text.replace(":", "").replace("-", ""), 16))

    @property
    def is_multicast(self) -> bool:
        """The group bit (I/G) is set; broadcast included."""
        return bool(self.value >> 40 & 1)

    @property
    def link_local(self) -> IPv6Address:
        """fe80::/64 with the modified EUI-64 of this address (RFC 4291 appendix A)."""
        eui = (self.value >> 24 << 40 | 0xFFFE << 24 | self.value & 0xFFFFFF) ^ 1 << 57
        return IPv6Address(0xFE80 << 112 | eui)

    def __str__(self) -> str:
        return ":".join(f"{self.value:012x}"[i : i + 2] for i in range(0, 12, 2))


BROADCAST = Mac(0xFFFFFFFFFFFF)
