"""ARP and neighbor solicitations for declared members are answered here, by the switch. PURE.

The question is turned into its answer in place and goes back to the port it came from, through egress and deliver like
any frame. Its ingress port is cleared, because Open vSwitch sends nothing back to it (ovs-actions(7) output).
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Action, Load, Move, SetField
from controller.flow.fields import (
    ARP_OP,
    ARP_SHA,
    ARP_SPA,
    ARP_THA,
    ARP_TPA,
    ETH_DST,
    ETH_SRC,
    ETH_TYPE,
    FROM_HOST,
    ICMPV6_CODE,
    ICMPV6_TYPE,
    IN_PORT,
    IP_PROTO,
    IPV6_DST,
    IPV6_SRC,
    ND_RESERVED,
    ND_SLL,
    ND_TARGET,
    NETWORK,
    OUT_PORT,
    PUNTED,
    SENDER_SET,
    Punt,
    whole,
)
from controller.flow.flow import Flow
from controller.mac import Mac
from controller.pipeline.protocols import (
    ARP,
    ARP_REPLY,
    ARP_REQUEST,
    GROUP_BIT,
    ICMPV6,
    IPV6,
    NEIGHBOR_ADVERTISEMENT,
    NEIGHBOR_SOLICITATION,
    ROUTER_SOLICITED_OVERRIDE,
    SOLICITED_OVERRIDE,
)
from controller.pipeline.punting import hand_over
from controller.pipeline.router_view import UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import BridgeView, MemberView, NetworkView
from controller.policy.model import Address, Members

_REQUEST = (ETH_TYPE(ARP), ARP_OP(ARP_REQUEST))
_SOLICITATION = (ETH_TYPE(IPV6), IP_PROTO(ICMPV6), ICMPV6_TYPE(NEIGHBOR_SOLICITATION), ICMPV6_CODE(0))
_TO_GROUP = ETH_DST(GROUP_BIT, GROUP_BIT)


def _bridge(emit: Emit, _: BridgeView) -> Iterator[Flow]:
    for conditions, why in (
        ((*_REQUEST, ARP_SPA(0)), "an ARP probe is for the one who has the address, not for the switch to answer"),
        ((*_SOLICITATION, IPV6_SRC(0)), "duplicate address detection is for the one who has the address"),
        ((*_SOLICITATION, ND_SLL(0)), "a solicitation that names no MAC cannot be answered by the switch"),
    ):
        yield emit("pass", conditions, goto="unsnat", origin="", why=why)


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    if view.router is not None:
        for gateway in view.router.gateways:
            router = view.router
            yield from _router(emit, (view.network.number, gateway), router.mac, view.origin, router.advertises)
    if view.network.members is Members.OPEN:
        return
    for question in (_REQUEST, _SOLICITATION):
        yield emit(
            "nobody",
            (NETWORK(view.network.number), *question, _TO_GROUP),
            origin=view.origin,
            why="no member that is present has the address asked for",
        )


def _router(emit: Emit, at: tuple[int, Address], mac: Mac, origin: str, advertises: bool) -> Iterator[Flow]:
    """Questions for an address of the router, to all or to its MAC: nobody else could answer. at: where it has it."""
    number, address = at
    why = "the router has this address, and the switch answers"
    if address.version == 4:
        match = (NETWORK(number), *_REQUEST, ARP_TPA(int(address)))
        yield emit("router", match, _arp_reply(mac, int(address)), goto="egress", origin=origin, why=why)
        return
    asked = (NETWORK(number), *_SOLICITATION, ND_TARGET(int(address)))
    if not advertises:
        why = "the router has this address, this datapath cannot say so, and the controller answers"
        yield emit("router", asked, hand_over(Punt.SOLICITATION), origin=origin, why=why)
        return
    told = _advertisement(mac, int(address), ROUTER_SOLICITED_OVERRIDE)
    yield emit("router", asked, told, goto="advertise", origin=origin, why=why)


def _uplink(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    for address in view.answered():
        yield from _router(emit, (view.number, address), view.mac, view.origin, view.advertises)
    for question in (_REQUEST, _SOLICITATION):
        yield emit(
            "nobody",
            (NETWORK(view.number), *question),
            origin=view.origin,
            why="the question is not for an address of the router",
        )


def _member(emit: Emit, member: MemberView) -> Iterator[Flow]:
    if member.mac is None:
        return
    network = NETWORK(member.number)
    for ip in member.ipv4:
        yield emit(
            "pass",
            (network, *_REQUEST, ARP_SPA(ip), ARP_TPA(ip)),
            goto="unsnat",
            origin=member.origin,
            why="an announcement of the member's own address is for all (RFC 5227 section 2.3)",
        )
        yield emit(
            "answer",
            (network, *_REQUEST, _TO_GROUP, ARP_TPA(ip)),
            _arp_reply(member.mac, ip),
            goto="egress",
            origin=member.origin,
            why="the switch knows who has this IPv4 address and answers",
        )
    for ip in member.ipv6:
        asked = (network, *_SOLICITATION, _TO_GROUP, ND_TARGET(ip))
        if member.bridge.advertises:
            yield emit(
                "answer",
                asked,
                _advertisement(member.mac, ip),
                goto="advertise",
                origin=member.origin,
                why="the switch knows who has this IPv6 address and answers",
            )
        else:
            yield emit(
                "answer",
                asked,
                (SetField(OUT_PORT.field, member.port),),
                goto="egress",
                origin=member.origin,
                why="this datapath cannot answer: the question goes to the member that has the address only",
            )


def _to_asker(mac: Mac) -> tuple[Action, ...]:
    return (
        Move(whole(IN_PORT), OUT_PORT),
        SetField(IN_PORT, 0),
        SetField(SENDER_SET.field, 0),
        Load(FROM_HOST, 0),
        Move(whole(ETH_SRC), whole(ETH_DST)),
        SetField(ETH_SRC, mac.value),
    )


def _arp_reply(mac: Mac, ip: int) -> tuple[Action, ...]:
    return (
        *_to_asker(mac),
        SetField(ARP_OP, ARP_REPLY),
        Move(whole(ARP_SHA), whole(ARP_THA)),
        Move(whole(ARP_SPA), whole(ARP_TPA)),
        SetField(ARP_SHA, mac.value),
        SetField(ARP_SPA, ip),
    )


def _advertisement(mac: Mac, ip: int, flags: int = SOLICITED_OVERRIDE) -> tuple[Action, ...]:
    return (
        *_to_asker(mac),
        Move(whole(IPV6_SRC), whole(IPV6_DST)),
        SetField(IPV6_SRC, ip),
        SetField(ND_RESERVED, flags),
        SetField(ICMPV6_TYPE, NEIGHBOR_ADVERTISEMENT),
    )


ANSWER = Stage(
    name="answer",
    purpose="Who has this address? The switch answers for declared members, to the one who asked and nobody else. "
    "Where the datapath cannot make an advertisement, a solicitation goes to the one member asked.",
    matches=frozenset(
        {
            ARP_OP,
            ARP_SPA,
            ARP_TPA,
            ETH_DST,
            ETH_TYPE,
            ICMPV6_CODE,
            ICMPV6_TYPE,
            IP_PROTO,
            IPV6_SRC,
            ND_SLL,
            ND_TARGET,
            NETWORK.field,
        }
    ),
    reads=frozenset({ARP_SHA, ARP_SPA, ETH_SRC, IN_PORT, IPV6_SRC}),
    writes=frozenset(
        {
            ARP_OP,
            ARP_SHA,
            ARP_SPA,
            ARP_THA,
            ARP_TPA,
            ETH_DST,
            ETH_SRC,
            FROM_HOST.field,
            ICMPV6_TYPE,
            IN_PORT,
            IPV6_DST,
            IPV6_SRC,
            ND_RESERVED,
            OUT_PORT.field,
            PUNTED.field,
            SENDER_SET.field,
        }
    ),
    next=("advertise", "unsnat", "egress"),
    priorities={
        "router": Priority(400, "a question for an address of the router"),
        "pass": Priority(300, "probes, announcements and solicitations that are for the members themselves"),
        "answer": Priority(200, "a question to all for the address of a declared member"),
        "nobody": Priority(100, "any other question to all, in a network whose members are all declared"),
    },
    miss=Miss("no question to all: replies, and questions to one member", goto="unsnat"),
    punts=True,
    bridge=_bridge,
    network=_network,
    member=_member,
    uplink=_uplink,
)
