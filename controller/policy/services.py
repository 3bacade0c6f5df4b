"""What of a connection a rule is about, and how often it is logged: scalars of `proto`, `ports`, `icmp`, `log`. PURE.

Numbers are IANA's: assigned protocol numbers, RFC 792 and RFC 1256 for ICMP, RFC 4443, RFC 2710, RFC 4861 for ICMPv6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from controller.policy.firewall import IcmpType, LogRate, PortRange
from controller.policy.values import Unfit, shown

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132

PROTOCOLS: Mapping[str, int] = {"tcp": TCP, "udp": UDP, "sctp": SCTP, "icmp": ICMP, "icmpv6": ICMPV6}
WITH_PORTS = frozenset((TCP, UDP, SCTP))
PORT_MAX = 65535
DEFAULT_RATE = LogRate(3, 60)
"""How often a rule with `action: log` writes, unless it says."""
LOG_MAX = 10_000

ICMP_TYPES: Mapping[str, IcmpType] = {
    "echo-reply": IcmpType(0),
    "destination-unreachable": IcmpType(3),
    "network-unreachable": IcmpType(3, 0),
    "host-unreachable": IcmpType(3, 1),
    "protocol-unreachable": IcmpType(3, 2),
    "port-unreachable": IcmpType(3, 3),
    "fragmentation-needed": IcmpType(3, 4),
    "redirect": IcmpType(5),
    "echo-request": IcmpType(8),
    "router-advertisement": IcmpType(9),
    "router-solicitation": IcmpType(10),
    "time-exceeded": IcmpType(11),
    "parameter-problem": IcmpType(12),
    "timestamp-request": IcmpType(13),
    "timestamp-reply": IcmpType(14),
}
ICMPV6_TYPES: Mapping[str, IcmpType] = {
    "destination-unreachable": IcmpType(1),
    "no-route": IcmpType(1, 0),
    "address-unreachable": IcmpType(1, 3),
    "port-unreachable": IcmpType(1, 4),
    "packet-too-big": IcmpType(2),
    "time-exceeded": IcmpType(3),
    "parameter-problem": IcmpType(4),
    "echo-request": IcmpType(128),
    "echo-reply": IcmpType(129),
}

_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_TYPE = re.compile(r"([0-9]{1,3})(?:/([0-9]{1,3}))?")
_RATE = re.compile(r"([1-9][0-9]{0,4})/(s|min|hour|day)")
_SECONDS = {"s": 1, "min": 60, "hour": 3600, "day": 86400}


def read_protocol(value: object) -> int:
    """An IP protocol by name or number (IANA)."""
    if isinstance(value, str):
        if value in PROTOCOLS:
            return PROTOCOLS[value]
        hint = f"write {' or '.join(PROTOCOLS)}, or a number from 0 to 255"
        if value == "any":
            hint = "leave the key out for every protocol"
        elif value.isascii() and value.isdigit() and len(value) < 4:
            hint = f"drop the quotes: {value}"
        raise Unfit(f"{shown(value)} is not a protocol", hint)
    if type(value) is not int or not 0 <= value <= 255:
        raise Unfit(f"{shown(value)} is not a protocol", f"{', '.join(PROTOCOLS)} or a number from 0 to 255")
    return value


def read_port_range(value: object) -> PortRange:
    """A port, or several from first to last: 80, or "8000-8080"."""
    hint = f"a number from 0 to {PORT_MAX}, or a range like 8000-8080"
    if type(value) is int:
        first = last = value
    else:
        found = _RANGE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6:
                hint = f"drop the quotes: {value}"
            raise Unfit(f"{shown(value)} is not a port", hint)
        first, last = int(found[1]), int(found[2])
    if not 0 <= first <= PORT_MAX or not 0 <= last <= PORT_MAX:
        raise Unfit(f"{shown(value)} is not a port", hint)
    if first > last:
        raise Unfit(f"{shown(value)} ends before it begins", f"write {last}-{first}")
    return PortRange(first, last)


def merged(ranges: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """The same ports in ranges that are sorted, apart and not adjacent."""
    found: list[PortRange] = []
    for each in sorted(ranges, key=lambda each: (each.first, each.last)):
        if found and each.first <= found[-1].last + 1:
            found[-1] = PortRange(found[-1].first, max(found[-1].last, each.last))
        else:
            found.append(each)
    return tuple(found)


def icmp_reader(protocol: int) -> Callable[[object], IcmpType]:
    """A reader of the types of ICMP or ICMPv6: by name, by number, or type and code as "3/1"."""
    known = ICMPV6_TYPES if protocol == ICMPV6 else ICMP_TYPES
    other = ICMP_TYPES if protocol == ICMPV6 else ICMPV6_TYPES

    def read(value: object) -> IcmpType:
        if isinstance(value, str) and value in known:
            return known[value]
        if type(value) is int and 0 <= value <= 255:
            return IcmpType(value)
        name = "ICMPv6" if protocol == ICMPV6 else "ICMP"
        found = _TYPE.fullmatch(value) if isinstance(value, str) else None
        if found is not None and int(found[1]) <= 255 and int(found[2] or 0) <= 255:
            if found[2] is None:
                raise Unfit(f"{shown(value)} is a number in quotes", f"drop the quotes: {int(found[1])}")
            return IcmpType(int(found[1]), int(found[2]))
        if isinstance(value, str) and value in other:
            names = ", ".join(known)
            raise Unfit(f"{name} has no type {shown(value)}", f"known are: {names}; or a number, or type/code")
        raise Unfit(f"{shown(value)} is not a type of {name}", "echo-request, a number, or type/code as 3/1")

    return read


def without_covered(types: Iterable[IcmpType]) -> tuple[IcmpType, ...]:
    """The same types sorted, those with a code left out whose type is there with any."""
    wanted = set(types)
    whole = {each.type for each in wanted if each.code is None}
    kept = (each for each in wanted if each.code is None or each.type not in whole)
    return tuple(sorted(kept, key=lambda each: (each.type, -1 if each.code is None else each.code)))


def read_rate(value: object) -> LogRate:
    """How often a line may be written: 3/min."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[1]) > LOG_MAX:
        hint = f"a count up to {LOG_MAX} and a unit: 10/s, 3/min, 60/hour or 100/day"
        raise Unfit(f"{shown(value)} is not a rate", hint)
    return LogRate(int(found[1]), _SECONDS[found[2]])
