"""Who opened the connection, and to whom: the networks and the classes of its two ends, by their addresses. PURE.

The addresses are those of the packet that opened the connection, so that an answer is judged as what it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from controller.flow.actions import Action, SetField
from controller.flow.fields import (
    CT_IPV6_DST,
    CT_IPV6_SRC,
    CT_NW_DST,
    CT_NW_SRC,
    CT_STATE,
    ETH_TYPE,
    ORIGIN_CLASS,
    ORIGIN_NETWORK,
    TARGET_CLASS,
    TARGET_NETWORK,
    ZONE,
    Field,
    Slice,
)
from controller.flow.flow import Flow
from controller.pipeline.ip_fields import BY_VERSION, TRACKED, IpFields, fields_of, prefix
from controller.pipeline.router_view import RealmView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import MemberView
from controller.policy.tracking import REALM_ZONE

LONGEST = 128


def _end(
    name: str, network: Slice, class_: Slice, of: Callable[[IpFields], Field], fields: tuple[Field, ...], onward: str
) -> Stage:
    def realm(emit: Emit, view: RealmView) -> Iterator[Flow]:
        for cidr, number in view.prefixes:
            version = fields_of(cidr)
            yield emit(
                "prefix",
                (TRACKED, version.is_it, *prefix(of(version), cidr)),
                (SetField(class_.field, number),),
                goto=onward,
                rank=cidr.prefixlen,
                origin="/rules",
                why="rules name this prefix",
            )

    def member(emit: Emit, member: MemberView) -> Iterator[Flow]:
        if member.judged is None:
            return
        for version, addresses in ((4, member.ipv4), (6, member.ipv6)):
            for address in addresses:
                number = member.classes.get((version, address), 0)
                told: tuple[Action, ...] = (SetField(class_.field, number),)
                match = (TRACKED, BY_VERSION[version].is_it, of(BY_VERSION[version])(address))
                if member.classes:
                    why = "this member is known by its address"
                    here = (ZONE(member.judged.zone), *match)
                    yield emit("member", here, told, goto=onward, origin=member.origin, why=why)
                if member.router is not None and not _is_link_local(version, address):
                    why = "this member of a routed network is known by its address"
                    there = (ZONE(REALM_ZONE), *match)
                    told = (SetField(network.field, member.number), *told)
                    yield emit("member", there, told, goto=onward, origin=member.origin, why=why)

    return Stage(
        name=name,
        purpose={
            "origin": "Who opened the connection: its network, and which rules may be about it.",
            "target": "To whom the connection was opened: its network, and which rules may be about it.",
        }[name],
        matches=frozenset({CT_STATE, ETH_TYPE, ZONE.field, *fields}),
        writes=frozenset({network.field, class_.field}),
        next=(onward,),
        priorities={
            "member": Priority(300, "an address of a declared member"),
            "prefix": Priority(100, "a prefix that rules name, longer ones first", LONGEST + 1),
        },
        miss=Miss("no rule names the address", goto=onward),
        realm=realm,
        member=member,
    )


def _is_link_local(version: int, address: int) -> bool:
    return version == 6 and address >> 118 == 0xFE80 >> 6


ORIGIN = _end("origin", ORIGIN_NETWORK, ORIGIN_CLASS, lambda fields: fields.origin, (CT_NW_SRC, CT_IPV6_SRC), "target")
TARGET = _end("target", TARGET_NETWORK, TARGET_CLASS, lambda fields: fields.target, (CT_NW_DST, CT_IPV6_DST), "rules_1")
