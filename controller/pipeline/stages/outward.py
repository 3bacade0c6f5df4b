"""Under which address packets leave: answers under the one asked for, connections under the uplink's. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Ct, Nat, SetField
from controller.flow.fields import (
    ADMITTED,
    ANSWERING,
    ASKED,
    DNATED,
    ETH_TYPE,
    IP_FRAG,
    IP_PROTO,
    IPV4_SRC,
    IPV6_SRC,
    NETWORK,
    ORIGIN_NETWORK,
    SCTP_SRC,
    TCP_SRC,
    UDP_SRC,
    Field,
    Term,
)
from controller.flow.flow import Flow
from controller.pipeline.ip_fields import BY_VERSION, FRAGMENT, fields_of
from controller.pipeline.protocols import SCTP, TCP, UDP
from controller.pipeline.router_view import Exchange, Inward, UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.policy.tracking import DNAT_ZONE, SNAT_ZONE

_SOURCE_PORT: dict[int, Field] = {TCP: TCP_SRC, UDP: UDP_SRC, SCTP: SCTP_SRC}


def _undnat(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    back = (Ct(DNAT_ZONE, emit.table("snat"), nat=Nat()),)
    for inward in view.inward:
        for address, l4_port in dict.fromkeys(inward.targets):
            fields = fields_of(address)
            source: tuple[Term, ...] = (fields.is_it, fields.source(int(address)))
            port: tuple[Term, ...] = ()
            if inward.protocol is not None:
                port_field = _SOURCE_PORT[inward.protocol]
                port = (IP_PROTO(inward.protocol), port_field(l4_port or inward.l4_port or 0))
            yield emit(
                "answer",
                (*source, *port, ANSWERING(1)),
                back,
                origin=inward.origin,
                why="an answer to a connection that was led here gets the address that was asked",
            )
            if port:
                yield emit(
                    "fragment",
                    (*source, FRAGMENT, ANSWERING(1)),
                    back,
                    origin=inward.origin,
                    why="a fragment, which has no port, may be of an answer to a connection that was led here",
                )
            # ICMP errors about the connection, of the target's or of ours in its name, tell by their content.
            for marked in (ANSWERING(1), ADMITTED(1)):
                yield emit(
                    "error",
                    (*source, IP_PROTO(_ICMP_OF[address.version]), marked),
                    back,
                    origin=inward.origin,
                    why="an ICMP error may be about a connection that was led here",
                )
            if port:
                yield emit(
                    "answer",
                    (*source, *port, ADMITTED(1)),
                    back,
                    origin=inward.origin,
                    why="a reset in the name of the target is for a connection that was led here",
                )


_ICMP_OF = {4: 1, 6: 58}

UNDNAT = Stage(
    name="undnat",
    purpose="Answers of members that a rewrite led to leave under the address that was asked.",
    matches=frozenset(
        {ADMITTED.field, ANSWERING.field, ETH_TYPE, IPV4_SRC, IPV6_SRC, IP_FRAG, IP_PROTO, SCTP_SRC, TCP_SRC, UDP_SRC}
    ),
    next=("snat",),
    priorities={
        "answer": Priority(200, "from where a rewrite leads"),
        "fragment": Priority(150, "fragments from there"),
        "error": Priority(100, "ICMP from there"),
    },
    miss=Miss("no rewrite led here", goto="snat"),
    tracks=True,
    uplink=_undnat,
)


def _snat(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    here = NETWORK(view.number)
    for exchange in view.exchanges:
        fields = fields_of(exchange.member)
        yield emit(
            "exchange",
            (here, fields.is_it, fields.source(int(exchange.member))),
            (SetField(fields.source, int(exchange.address)),),
            goto="leave",
            origin=exchange.origin,
            why="outside, this address stands for the member, packet by packet",
        )
        yield emit(
            "exchange",
            (ASKED(1), ANSWERING(1), fields.is_it, fields.source(int(exchange.member))),
            (SetField(fields.source, int(exchange.address)),),
            goto="leave",
            origin=exchange.origin,
            why="who asked for this address from inside is answered from there",
        )
        yield from _hairpin(emit, exchange)
    for outward in view.outward:
        fields = fields_of(outward.first)
        match: tuple[Term, ...] = (here, ORIGIN_NETWORK(outward.network), ANSWERING(0), ADMITTED(0), fields.is_it)
        if outward.member is not None:
            match = (*match, fields.source(int(outward.member)))
        nat = Nat("src", fields.version, int(outward.first), int(outward.last))
        yield emit(
            "network" if outward.member is None else "member",
            match,
            (Ct(SNAT_ZONE, emit.table("leave"), commit=True, nat=nat),),
            origin=outward.origin,
            why="connections of this network leave under an address of the uplink",
        )
    for inward in view.inward:
        yield from _hairpin(emit, inward)


def _hairpin(emit: Emit, inward: Inward | Exchange) -> Iterator[Flow]:
    """A member that was led to a member gets the answers by way of the router, or would not know them."""
    fields = BY_VERSION[inward.hairpin.version]
    led = (NETWORK(inward.network), DNATED(1), fields.is_it)
    yield emit(
        "outsider",
        (*led, ORIGIN_NETWORK(0)),
        goto="leave",
        origin=inward.origin,
        why="who comes from outside keeps the address",
    )
    source = int(inward.hairpin)
    yield emit(
        "hairpin",
        (*led, ANSWERING(0)),
        (Ct(SNAT_ZONE, emit.table("leave"), commit=True, nat=Nat("src", fields.version, source, source)),),
        origin=inward.origin,
        why="a member that asked for an outside address is answered from there",
    )


SNAT = Stage(
    name="snat",
    purpose="Connections outwards leave under the address that the network has outside.",
    matches=frozenset(
        {
            ADMITTED.field,
            ANSWERING.field,
            ASKED.field,
            DNATED.field,
            ETH_TYPE,
            IPV4_SRC,
            IPV6_SRC,
            NETWORK.field,
            ORIGIN_NETWORK.field,
        }
    ),
    writes=frozenset({IPV4_SRC, IPV6_SRC}),
    next=("leave",),
    priorities={
        "exchange": Priority(500, "a member that an outside address stands for, without conntrack"),
        "member": Priority(400, "a member with an outside address of its own"),
        "outsider": Priority(300, "from outside, led to a member"),
        "hairpin": Priority(200, "from a member, led to a member by an outside address"),
        "network": Priority(100, "any other member"),
    },
    miss=Miss("the address stays as it is", goto="leave"),
    tracks=True,
    uplink=_snat,
)
