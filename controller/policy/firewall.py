"""What a user may say about connections: groups and rules. PURE: frozen values.

A rule is about connections, by the one who opens them: `origin` (the document's `from`) opens, `target` (`to`) is
opened to. Answers, and the ICMP errors that a connection causes, go with their connection. Addresses are those that
members really have: a rule sees a packet after the target was translated and before the source is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

DEFAULT_TIER = "default"


class Decision(Enum):
    """What becomes of a packet where nothing more is asked. REJECT: dropped, and the sender is told."""

    ALLOW = "allow"
    DROP = "drop"
    REJECT = "reject"


class Action(Enum):
    """What a rule does with a connection that it is about.

    ALLOW, DROP, REJECT: that, and no further rule is looked at. PASS: the rest of the tier is passed over.
    LOG: a line is written, and the next rule is looked at.
    """

    ALLOW = "allow"
    DROP = "drop"
    REJECT = "reject"
    PASS = "pass"
    LOG = "log"


class OnChange(Enum):
    """What becomes of an established connection that a later revision does not allow any more.

    CUT: it stops at once. KEEP: it may go on to its end, if the rule that allowed it said so.
    """

    CUT = "cut"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Peers:
    """Who a rule is about, on one side; the union of all that is named. Nothing named at all: anybody.

    endpoints, networks, groups: names. outside: everything beyond the uplinks. cidrs: whoever has such an address.
    A broadcast or multicast packet is for a network, and for the cidrs that hold its address, but for no endpoint.
    """

    endpoints: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    outside: bool = False
    cidrs: tuple[IPv4Network | IPv6Network, ...] = ()

    @property
    def anybody(self) -> bool:
        return not (self.endpoints or self.networks or self.groups or self.outside or self.cidrs)


ANYBODY = Peers()


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints and addresses under one name; the union of its parts.

    members: endpoints, networks (all of their members, and whoever else is there), and groups; no cycles.
    selector: endpoints that have all of these labels; () selects nobody.
    excluded: addresses in `members.cidrs` that are not meant by them (the document's `except`).
    """

    name: str
    members: Peers = ANYBODY
    selector: tuple[tuple[str, str], ...] = ()
    excluded: tuple[IPv4Network | IPv6Network, ...] = ()


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports first to last, both included, 0 to 65535."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class IcmpType:
    """An ICMP or ICMPv6 type, with a code or with any (None)."""

    type: int
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """What of a connection a rule is about: its protocol, and its ports or ICMP types.

    protocol: the IP protocol number (IANA), None: any; 1 is ICMP in IPv4, 58 ICMPv6 in IPv6, and each occurs in its
    own IP version only. ports, source_ports: of TCP, UDP and SCTP, of the packet that opens the connection; () : any.
    icmp: types of the packet that opens the connection; (): any. All ranges are sorted, apart and not adjacent.
    """

    protocol: int | None = None
    ports: tuple[PortRange, ...] = ()
    source_ports: tuple[PortRange, ...] = ()
    icmp: tuple[IcmpType, ...] = ()


@dataclass(frozen=True, slots=True)
class LogRate:
    """At most `count` lines in `per_s` seconds."""

    count: int
    per_s: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One sentence about connections. log: how often a line is written; None: never (a LOG rule always has one)."""

    name: str
    action: Action
    tier: str = DEFAULT_TIER
    origin: Peers = ANYBODY
    target: Peers = ANYBODY
    service: Service = Service()
    log: LogRate | None = None
    on_change: OnChange = OnChange.CUT
