"""What a switch is told to send in reply to a packet that it handed over: frame and actions. PURE.

A reply is not for rules again (ADMITTED): they have seen the packet that it is about. Where that packet had been
routed to a member already, its frame is no longer the sender's: the reply is then handed to the router, as if the
target had sent it, and finds its way by address, translations included. Else it goes back to the port that the packet
came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from controller.directory import Directory, PuntView
from controller.flow.actions import Action, Load, Output, Resubmit, SetField
from controller.flow.fields import (
    ADMITTED,
    ASKED,
    CAME_IN,
    ETH_SRC,
    LOCAL_PORT,
    NETWORK,
    NEXT_HOP,
    NEXT_HOP6,
    OUT_PORT,
    PUNTED,
    Punt,
)
from controller.flow.packet import ETH_IPV4, ETH_IPV6
from controller.frames.answers import reject, time_exceeded, unreachable
from controller.frames.neighbors import answer_for
from controller.mac import Mac
from controller.policy.model import Address
from controller.switch import PacketIn

MAX_OFPORT = 0xFF00
"""Ports above it are reserved (OFPP_MAX as Open vSwitch has it): nothing is sent back to those, but for LOCAL."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A frame, and what the switch does with it; its in_port is the controller."""

    actions: tuple[Action, ...]
    frame: bytes


def reason_of(packet: PacketIn) -> Punt | None:
    """Why the packet was handed over; None where the pipeline says nothing like it."""
    number = packet.read(PUNTED)
    return Punt(number) if number in frozenset(Punt) else None


def came_in(packet: PacketIn) -> int:
    """The number of the network, or of the uplink, that the packet came from."""
    return packet.read(CAME_IN) or packet.read(NETWORK)


def version_of(frame: bytes) -> int | None:
    """The IP version by the ethertype of an untagged frame."""
    return {ETH_IPV4: 4, ETH_IPV6: 6}.get(int.from_bytes(frame[12:14], "big"))


def next_hop_of(packet: PacketIn) -> Address | None:
    """The next hop that the pipeline chose for the packet; None where it chose none."""
    match version_of(packet.frame):
        case 4:
            number = packet.read(NEXT_HOP)
            return IPv4Address(number) if number else None
        case 6:
            number = packet.read(NEXT_HOP6)
            return IPv6Address(number) if number else None
        case _:
            return None


def reply_to(packet: PacketIn, view: PuntView) -> Sending | None:
    """The reply to a packet that wants one from the controller; None where nothing may be said, or to nobody."""
    match reason_of(packet):
        case Punt.REJECT:
            return _reject(packet, view)
        case Punt.TTL_EXCEEDED:
            return _by_router(packet, view, time_exceeded)
        case Punt.UNREACHABLE:
            return _by_router(packet, view, unreachable)
        case Punt.SOLICITATION:
            return _back(packet, view, answer_for(packet.frame, _mac(packet, view)))
        case _:
            return None


def _reject(packet: PacketIn, view: PuntView) -> Sending | None:
    network, router_mac = packet.read(NETWORK), view.directory.policy.defaults.router_mac
    if not _is_routed(packet, router_mac):
        return _back(packet, view, reject(packet.frame))
    answer = reject(packet.frame, router_mac)
    if answer is None:
        return None
    return Sending((SetField(NETWORK.field, network), Load(ADMITTED, 1), Resubmit(view.tables["route"])), answer)


def _is_routed(packet: PacketIn, router_mac: Mac) -> bool:
    """Whether this bridge has routed it to a member, so that the frame is the router's.

    What is for the outside gets its frame only after rules have been asked.
    """
    return packet.read(CAME_IN) != 0 and packet.frame[6:12] == router_mac.value.to_bytes(6, "big")


def _by_router(packet: PacketIn, view: PuntView, say: Callable[[bytes, Address], bytes | None]) -> Sending | None:
    # What a rewrite has led on bears addresses that its sender never wrote: an error about it would tell them, and the
    # sender could make nothing of it.
    router = None if packet.read(ASKED) else _router(packet, view.directory)
    return None if router is None else _back(packet, view, say(packet.frame, router))


def _mac(packet: PacketIn, view: PuntView) -> Mac:
    """What the router has where the packet came from."""
    uplink = view.directory.uplink(came_in(packet))
    return view.directory.policy.defaults.router_mac if uplink is None else view.directory.router_mac(uplink)


def _router(packet: PacketIn, directory: Directory) -> Address | None:
    version = version_of(packet.frame)
    return None if version is None else directory.router(came_in(packet), version)


def _back(packet: PacketIn, view: PuntView, answer: bytes | None) -> Sending | None:
    port, network = packet.in_port, came_in(packet)
    if answer is None or not (0 < port < MAX_OFPORT or port == LOCAL_PORT):
        return None
    uplink = view.directory.uplink(network)
    if uplink is not None:  # beyond it there are no members to check for
        return Sending((SetField(ETH_SRC, view.directory.router_mac(uplink).value), Output(port)), answer)
    into = (SetField(NETWORK.field, network), SetField(OUT_PORT.field, port), Load(ADMITTED, 1))
    return Sending((*into, Resubmit(view.tables["egress"])), answer)
