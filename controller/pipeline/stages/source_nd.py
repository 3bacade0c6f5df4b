"""What neighbor discovery claims: only the member's own address and MAC; no member is a router. PURE. RFC 4861."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import SetField
from controller.flow.fields import (
    ETH_SRC,
    ETH_TYPE,
    ICMPV6_CODE,
    ICMPV6_TYPE,
    IN_PORT,
    IP_PROTO,
    IPV6_SRC,
    LEARNED,
    ND_SLL,
    ND_TARGET,
    ND_TLL,
    NETWORK,
    SENDER_SET,
    Term,
)
from controller.flow.flow import Flow
from controller.pipeline.protocols import (
    ICMPV6,
    IPV6,
    NEIGHBOR_ADVERTISEMENT,
    NEIGHBOR_SOLICITATION,
    REDIRECT,
    ROUTER_ADVERTISEMENT,
)
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import BridgeView, MemberView

ABSENT = 0
"""What Open vSwitch puts into nd_sll and nd_tll where the message has no such option."""


UNREAD = 0
"""What Open vSwitch reads where the ICMPv6 header is not in the first fragment; no message has this type (RFC 4443)."""


def _icmpv6(kind: int) -> tuple[Term, ...]:
    return (ETH_TYPE(IPV6), IP_PROTO(ICMPV6), ICMPV6_TYPE(kind))


def _nd(kind: int) -> tuple[Term, ...]:
    return (*_icmpv6(kind), ICMPV6_CODE(0))


def _bridge(emit: Emit, _: BridgeView) -> Iterator[Flow]:
    for kind in (NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT):
        yield emit(
            "never",
            (*_nd(kind), ND_TARGET(0)),
            origin="",
            why="the message is about nothing, or has an option twice, which Open vSwitch does not read and others may",
        )
    for kind, why in (
        (UNREAD, "the type of this message is hidden in a later fragment, where a check cannot see it"),
        (ROUTER_ADVERTISEMENT, "no member of an isolated network is a router"),
        (REDIRECT, "no member of an isolated network is a router that could redirect"),
    ):
        yield emit("never", _icmpv6(kind), origin="", why=why)
    for kind, goto in ((NEIGHBOR_SOLICITATION, "answer"), (NEIGHBOR_ADVERTISEMENT, "unsnat")):
        yield emit(
            "own",
            (LEARNED(1), *_nd(kind)),
            goto=goto,
            origin="",
            why="a port that learns may claim any address that is not declared for another",
        )
    yield emit(
        "probe",
        (*_nd(NEIGHBOR_SOLICITATION), IPV6_SRC(0)),
        origin="",
        why="the probe is for an address that is not the member's own, and would make its owner give it up",
    )
    yield emit(
        "silent",
        (*_nd(NEIGHBOR_SOLICITATION), ND_SLL(ABSENT)),
        goto="answer",
        origin="",
        why="a solicitation without a link-layer option claims no MAC",
    )
    for kind, why in (
        (NEIGHBOR_SOLICITATION, "the solicitation names another MAC as its sender"),
        (NEIGHBOR_ADVERTISEMENT, "the advertisement names an address or a MAC that is not the member's own"),
    ):
        yield emit("other", _icmpv6(kind), origin="", why=why)


def _member(emit: Emit, member: MemberView) -> Iterator[Flow]:
    if member.mac is None or not member.ipv6:
        return
    here: tuple[Term, ...] = (IN_PORT(member.port), NETWORK(member.number))
    if member.remote:
        here = (*here, ETH_SRC(member.mac.value))  # others share the port that leads to its host
    yield emit(
        "question",
        (*here, *_nd(NEIGHBOR_SOLICITATION), ND_SLL(member.mac.value)),
        goto="answer",
        origin=member.origin,
        why="the solicitation names the member's own MAC",
    )
    for ip in member.ipv6:
        yield emit(
            "own",
            (*here, *_nd(NEIGHBOR_SOLICITATION), IPV6_SRC(0), ND_SLL(ABSENT), ND_TARGET(ip)),
            () if member.shared is None else (SetField(SENDER_SET.field, member.shared.with_ipv6(ip).number),),
            goto="answer",
            origin=member.origin,
            why="the member probes for its own address before it uses it (RFC 4862 section 5.4)",
        )
        for mac in (member.mac.value, ABSENT):
            yield emit(
                "own",
                (*here, *_nd(NEIGHBOR_ADVERTISEMENT), ND_TARGET(ip), ND_TLL(mac)),
                goto="unsnat",
                origin=member.origin,
                why="the advertisement names the member's own address, and its own MAC or none",
            )


SOURCE_ND = Stage(
    name="source_nd",
    purpose="Neighbor discovery claims only what is the member's own. Other IPv6 passes through.",
    matches=frozenset(
        {
            ETH_SRC,
            ETH_TYPE,
            ICMPV6_CODE,
            ICMPV6_TYPE,
            IN_PORT,
            IP_PROTO,
            IPV6_SRC,
            LEARNED.field,
            ND_SLL,
            ND_TARGET,
            ND_TLL,
            NETWORK.field,
        }
    ),
    writes=frozenset({SENDER_SET.field}),
    next=("answer", "unsnat"),
    priorities={
        "never": Priority(500, "messages that no member sends, and malformed ones"),
        "own": Priority(400, "an advertisement or a probe for the member's own address"),
        "probe": Priority(300, "any other probe"),
        "question": Priority(250, "a solicitation with the member's own MAC"),
        "silent": Priority(200, "a message that claims nothing"),
        "other": Priority(100, "every other neighbor discovery message that claims something"),
    },
    miss=Miss("IPv6 that is not neighbor discovery", goto="unsnat"),
    bridge=_bridge,
    member=_member,
)
