"""What a switch is told to send in reply to a packet that it handed over: frame and actions. PURE.

A reply is not for rules again (ADMITTED): they have seen the packet that it is about. Where that packet had been routed
already, its frame is no longer the sender's: the reply is then handed to the router, as if the target had sent it, and
finds its way by address, translations included. In every other case it goes back to the port that the packet came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from controller.directory import Directory, PuntView
from controller.flow.actions import Action, Load, Output, Resubmit, SetField
from controller.flow.fields import (
    ADMITTED,
    CAME_IN,
    LOCAL_PORT,
    NETWORK,
    NEXT_HOP,
    NEXT_HOP6,
    OUT_PORT,
    PUNTED,
    Punt,
    Slice,
)
from controller.flow.packet import ETH_IPV4, ETH_IPV6
from controller.frames.answers import reject, time_exceeded, unreachable
from controller.policy.model import Address
from controller.switch import PacketIn

MAX_OFPORT = 0xFF00
"""Ports above it are reserved (OFPP_MAX as Open vSwitch has it): nothing is sent back to those, but for LOCAL."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A frame, and what the switch does with it; its in_port is the controller."""

    actions: tuple[Action, ...]
    frame: bytes


def register(packet: PacketIn, part: Slice) -> int:
    """What a slice held when the packet was handed over; 0 where nothing was said of it."""
    return (packet.fields.get(part.field, 0) >> part.low) & ((1 << part.n_bits) - 1)


def reason_of(packet: PacketIn) -> Punt | None:
    """Why the packet was handed over; None where the pipeline says nothing like it."""
    number = register(packet, PUNTED)
    return Punt(number) if number in frozenset(Punt) else None


def came_in(packet: PacketIn) -> int:
    """The number of the network, or of the uplink, that the packet came from."""
    return register(packet, CAME_IN) or register(packet, NETWORK)


def version_of(frame: bytes) -> int | None:
    """The IP version by the ethertype of an untagged frame."""
    return {ETH_IPV4: 4, ETH_IPV6: 6}.get(int.from_bytes(frame[12:14], "big"))


def next_hop_of(packet: PacketIn) -> Address | None:
    """The next hop that the pipeline chose for the packet; None where it chose none."""
    match version_of(packet.frame):
        case 4:
            number = register(packet, NEXT_HOP)
            return IPv4Address(number) if number else None
        case 6:
            number = register(packet, NEXT_HOP6)
            return IPv6Address(number) if number else None
        case _:
            return None


def reply_to(packet: PacketIn, view: PuntView) -> Sending | None:
    """The reply to a REJECT, TTL_EXCEEDED or UNREACHABLE; None where nothing may be said, or to nobody."""
    match reason_of(packet):
        case Punt.REJECT:
            return _reject(packet, view)
        case Punt.TTL_EXCEEDED:
            return _by_router(packet, view, time_exceeded)
        case Punt.UNREACHABLE:
            return _by_router(packet, view, unreachable)
        case _:
            return None


def _reject(packet: PacketIn, view: PuntView) -> Sending | None:
    network = register(packet, NETWORK)
    if came_in(packet) == network:
        return _back(packet, view, reject(packet.frame))
    answer = reject(packet.frame, view.directory.policy.defaults.router_mac)
    if answer is None:
        return None
    return Sending((SetField(NETWORK.field, network), Load(ADMITTED, 1), Resubmit(view.tables["route"])), answer)


def _by_router(packet: PacketIn, view: PuntView, say: Callable[[bytes, Address], bytes | None]) -> Sending | None:
    router = _router(packet, view.directory)
    return None if router is None else _back(packet, view, say(packet.frame, router))


def _router(packet: PacketIn, directory: Directory) -> Address | None:
    version = version_of(packet.frame)
    return None if version is None else directory.router(came_in(packet), version)


def _back(packet: PacketIn, view: PuntView, answer: bytes | None) -> Sending | None:
    port, network = packet.in_port, came_in(packet)
    if answer is None or not (0 < port < MAX_OFPORT or port == LOCAL_PORT):
        return None
    if view.directory.uplink(network) is not None:  # beyond an uplink there are no members to check for
        return Sending((Output(port),), answer)
    into = (SetField(NETWORK.field, network), SetField(OUT_PORT.field, port), Load(ADMITTED, 1))
    return Sending((*into, Resubmit(view.tables["egress"])), answer)
