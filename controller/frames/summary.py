"""What a log line says of a packet. PURE; never raises."""

from __future__ import annotations

from dataclasses import dataclass

from controller.flow.packet import ICMP, ICMPV6, TCP, UDP
from controller.frames.ip_heads import Address, read_ip

SCTP = 132
_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6", SCTP: "sctp"}


@dataclass(frozen=True, slots=True)
class Summary:
    """protocol: its name, or its number in IANA's list. ports: of source and target; None where there are none.

    icmp: "type/code", or None.
    """

    protocol: str
    source: Address
    target: Address
    ports: tuple[int, int] | None = None
    icmp: str | None = None


def summarize(frame: bytes) -> Summary | None:
    """None where the frame is no IP packet, or is cut inside its IP head."""
    heads = read_ip(frame)
    if heads is None:
        return None
    segment = b"" if heads.fragment_at else heads.segment
    ports, icmp = None, None
    if heads.protocol in (TCP, UDP, SCTP) and len(segment) >= 4:
        ports = (int.from_bytes(segment[:2], "big"), int.from_bytes(segment[2:4], "big"))
    elif heads.protocol == (ICMP if heads.version == 4 else ICMPV6) and len(segment) >= 2:
        icmp = f"{segment[0]}/{segment[1]}"
    name = _NAMES.get(heads.protocol, str(heads.protocol))
    return Summary(name, heads.source, heads.target, ports, icmp)
