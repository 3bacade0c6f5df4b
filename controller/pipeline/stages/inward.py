"""Packets for an outside address are led to the member that it stands for. PURE.

Two look-ups: first whether the packet is an answer to a connection whose source was rewritten (unsnat), then whether a
rewrite leads it to a member (dnat). Both look at the packet as conntrack reassembled it, so that fragments cannot evade
the port. Packets from members go the same way (hairpin).
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Action, Ct, Load, Nat, SetField
from controller.flow.fields import (
    ASKED,
    CT_IPV6_DST,
    CT_NW_DST,
    CT_NW_PROTO,
    CT_STATE,
    CT_TP_DST,
    CT_TP_SRC,
    DNATED,
    ETH_DST,
    ETH_TYPE,
    FROM_HOST,
    IPV4_DST,
    IPV6_DST,
    NETWORK,
    Term,
)
from controller.flow.flow import Flow
from controller.pipeline.ip_fields import TRACKED, fields_of, prefix
from controller.pipeline.router_view import Inward, UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import NetworkView
from controller.policy.model import Address
from controller.policy.tracking import DNAT_ZONE, SNAT_ZONE

BUCKETS = 16
"""Several targets share connections by the low four bits of the source port."""

_ASKED_HERE: tuple[Action, ...] = (Load(ASKED, 1), Load(FROM_HOST, 0))
"""What a member on another host sent here comes from here now, and may go on to any host."""


def _for(view: UplinkView, address: Address) -> tuple[Term, ...]:
    fields = fields_of(address)
    return (ETH_DST(view.router_mac.value), fields.is_it, fields.destination(int(address)))


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    if view.place.router_mac is not None:
        yield emit(
            "elsewhere",
            (NETWORK(view.network.number), ETH_DST(view.place.router_mac.value)),
            goto="forward",
            origin=view.origin,
            why="this network has no router: here the MAC of other networks' routers is one like any other",
        )


def _unsnat(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    for address in view.elsewhere:
        yield emit(
            "elsewhere",
            (NETWORK(view.number), *_for(view, address)),
            origin=view.origin,
            why="this address is at another uplink",
        )
    for address in view.outside_addresses():
        yield emit(
            "outside",
            _for(view, address),
            (*_ASKED_HERE, Ct(SNAT_ZONE, emit.table("dnat"), nat=Nat())),
            origin=view.origin,
            why="the packet may be an answer to a connection that left under this address",
        )


def _dnat(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    for exchange in view.exchanges:
        fields = fields_of(exchange.address)
        yield emit(
            "exchange",
            _for(view, exchange.address),
            (*_ASKED_HERE, Load(DNATED, 1), SetField(fields.destination, int(exchange.member))),
            goto="route",
            origin=exchange.origin,
            why="this outside address stands for the member, packet by packet",
        )
    for inward in view.inward:
        yield from _lead(emit, view, inward)
    for address in view.outside_addresses():
        yield emit(
            "other",
            _for(view, address),
            (Load(DNATED, 1), Ct(DNAT_ZONE, emit.table("route"), nat=Nat())),
            origin=view.origin,
            why="an ICMP error may be about a connection that was led to a member",
        )

    here = (NETWORK(view.number), ETH_DST(view.router_mac.value), ASKED(0))
    for cidr in view.known:
        fields = fields_of(cidr)
        yield emit(
            "known",
            (*here, fields.is_it, *prefix(fields.destination, cidr)),
            goto="route",
            origin=view.origin,
            why="members of this network have their own addresses at this uplink",
        )
    yield emit("hidden", here, origin=view.origin, why="from here nothing leads to this address, but for rewrites")


def _lead(emit: Emit, view: UplinkView, inward: Inward) -> Iterator[Flow]:
    fields = fields_of(inward.address)
    match: tuple[Term, ...] = (
        TRACKED,
        *_for(view, inward.address),
        fields.target(int(inward.address)),
    )
    if inward.protocol is not None:
        match = (*match, CT_NW_PROTO(inward.protocol), CT_TP_DST(inward.l4_port or 0))
    several = len(inward.targets) > 1
    for bucket in range(BUCKETS if several else 1):
        address, l4_port = inward.targets[bucket % len(inward.targets)]
        nat = Nat("dst", address.version, int(address), int(address), None if l4_port is None else (l4_port, l4_port))
        yield emit(
            "port" if inward.protocol is not None else "address",
            (*match, CT_TP_SRC(bucket, BUCKETS - 1)) if several else match,
            (Load(DNATED, 1), Ct(DNAT_ZONE, emit.table("route"), commit=True, nat=nat)),
            origin=inward.origin,
            why="the rewrite leads this connection to a member",
        )


_HEADERS = frozenset({ETH_DST, ETH_TYPE, IPV4_DST, IPV6_DST})

UNSNAT = Stage(
    name="unsnat",
    purpose="Answers to connections whose source was rewritten on the way out get their member's address back.",
    matches=_HEADERS | {NETWORK.field},
    writes=frozenset({ASKED.field, FROM_HOST.field}),
    next=("dnat", "forward"),
    priorities={
        "elsewhere": Priority(200, "what is for the router of other networks, or of another uplink"),
        "outside": Priority(100, "a packet for an outside address of a rewrite"),
    },
    miss=Miss("the packet is for no such address", goto="dnat"),
    tracks=True,
    network=_network,
    uplink=_unsnat,
)

DNAT = Stage(
    name="dnat",
    purpose="What comes for an outside address is led to the member that a rewrite names.",
    matches=_HEADERS
    | {ASKED.field, NETWORK.field, CT_IPV6_DST, CT_NW_DST, CT_NW_PROTO, CT_STATE, CT_TP_DST, CT_TP_SRC},
    writes=frozenset({ASKED.field, DNATED.field, FROM_HOST.field, IPV4_DST, IPV6_DST}),
    next=("route",),
    priorities={
        "exchange": Priority(400, "an outside address that stands for a member without conntrack"),
        "port": Priority(300, "a port that leads to a member"),
        "address": Priority(200, "an address that leads to a member"),
        "other": Priority(100, "anything else for an outside address of a rewrite"),
        "known": Priority(60, "from outside to a network that is known there"),
        "hidden": Priority(50, "from outside to any other address"),
    },
    miss=Miss("the packet is for no outside address any more, or never was", goto="route"),
    tracks=True,
    uplink=_dnat,
)
