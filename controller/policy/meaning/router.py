"""What becomes of a packet at the router: to which member, or out at which uplink. PURE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from controller.flow.fields import Punt
from controller.flow.packet import Packet, is_icmp_error
from controller.policy.meaning.connections import is_ip, is_link_scoped, source_of, target_of
from controller.policy.meaning.course import Course
from controller.policy.meaning.here import Here, addresses
from controller.policy.meaning.rewriting import led_in, led_out, sources, stateless_source, stood_for
from controller.policy.meaning.rules import is_link_local, routed_member
from controller.policy.meaning.uplinks import first_address, is_outside_address, next_hop
from controller.policy.model import Address, Endpoint, Mode, Network, Uplink

_TO_ALL_IPV4 = 0xFFFFFFFF


def is_for_router(here: Here, frame: Packet) -> bool:
    return here.network.routed and frame.eth_dst == here.router_mac


def refuse_route(packet: Packet) -> str:
    """Why no router passes a packet on; "" if it may."""
    if not is_ip(packet):
        return "the router takes IP only"
    if is_link_scoped(packet) or is_link_local(source_of(packet)) or is_link_local(target_of(packet)):
        return "it is for the link only"
    target = target_of(packet)
    if target.is_multicast or (target.version == 4 and int(target) == _TO_ALL_IPV4):
        return "what is for many is not routed"
    return ""


def route_from_member(course: Course, here: Here, sender: Endpoint, frame: Packet) -> None:
    """A frame that a member sent to the router's MAC."""
    reason = refuse_route(frame) or _refuse_from_member(here, sender, frame)
    if reason:
        return course.drop(here.network.name, reason)
    return _route(course, _Way(here.network.name, frame, frame, here.network), None)


def _refuse_from_member(here: Here, sender: Endpoint, frame: Packet) -> str:
    source, target = source_of(frame), target_of(frame)
    if int(source) not in addresses(sender, here.network, source.version):
        return f"the router takes from {sender.name} only what is its own"
    if here.is_gateway(int(target), target.version):
        return "the router answers echo requests and nothing else"
    return ""


def route_from_outside(course: Course, uplink: Uplink, frame: Packet) -> None:
    """An IP packet from outside to the uplink's MAC, with a source that may be there."""
    _route(course, _Way(uplink.name, frame, frame), uplink)


@dataclass(frozen=True, slots=True)
class _Way:
    """came_from: a network or an uplink; network: that network. sent: the packet as its sender sent it.

    packet: what it is by now. asked: the uplink whose outside address it was sent to.
    """

    came_from: str
    sent: Packet
    packet: Packet
    network: Network | None = None
    asked: Uplink | None = None

    @property
    def is_led(self) -> bool:
        return target_of(self.packet) != target_of(self.sent)


def _route(course: Course, way: _Way, outside: Uplink | None) -> None:
    """outside: the uplink that it came in by; None: from a member."""
    networks = course.policy.networks.values()
    if outside is None or asked(course, target_of(way.packet)) == outside:
        way = _led(course, way)
    target = target_of(way.packet)
    if asked(course, target) is not None or any(target in network.gateways for network in networks):
        return course.drop(way.came_from, "it is the router's own address, and leads nowhere")
    shown = None if outside is None or way.is_led else [n for n in networks if _is_known_outside(n, outside)]
    if shown is not None and not _is_inside(shown, target):
        return course.drop(way.came_from, "nothing leads from here to this address")
    if not _counts_down(course, way):
        return None
    found = routed_member(course.policy, course.bindings, target)
    if found is not None and (shown is None or found[1] in shown):
        return _to_member(course, way, found)
    if way.network is None:
        return course.drop(way.came_from, "nobody whom the outside may reach has the address")
    if _is_inside(networks, target):
        return _unreachable(course, way, "it is an address of a network, and of nobody who is there")
    return _to_outside(course, way, way.network)


def asked(course: Course, address: Address) -> Uplink | None:
    """The uplink here whose outside address it is, so that it is asked where that leads."""
    here = (course.policy.uplinks[name] for name in course.uplinks)
    return next((uplink for uplink in here if is_outside_address(course.policy, uplink, address)), None)


def _led(course: Course, way: _Way) -> _Way:
    """Where an outside address leads, whoever sends to it."""
    uplink = asked(course, target_of(way.packet))
    if uplink is None:
        return way
    packet, course.known = led_in(course.policy, course.known, uplink, way.packet)
    return replace(way, packet=packet, asked=uplink)


def _is_known_outside(network: Network, uplink: Uplink) -> bool:
    """Whether the world behind an uplink may send to members under their own addresses."""
    return network.mode is Mode.ROUTED and network.uplink == uplink.name


def _is_inside(networks: Iterable[Network], address: Address) -> bool:
    cidrs = (cidr for network in networks if network.routed for cidr in network.cidrs)
    return any(address in cidr for cidr in cidrs if cidr.version == address.version)


def _to_member(course: Course, way: _Way, found: tuple[Endpoint, Network]) -> None:
    member, network = found
    router_mac = course.policy.defaults.router_mac.value
    on = _counted(way.packet).with_(eth_src=router_mac, eth_dst=_mac_of(member))
    if not course.admit(network, on):
        return
    if way.network is not None and way.asked is not None:
        there = _hairpinned(course, way.asked, network, on)
        if there is None:
            return course.drop(way.came_from, "no outside address is free for it")
        on = there
    course.hand(course.here(network), member, on)


def _mac_of(member: Endpoint) -> int:
    assert member.mac is not None
    return member.mac.value


# To outside addresses, from inside


def _hairpinned(course: Course, uplink: Uplink, network: Network, packet: Packet) -> Packet | None:
    """From the address that its receiver has to answer to, or has sent to before."""
    translated = led_out(course.known, packet)
    if translated is not None:
        return translated
    if course.is_answer(network, packet) or is_icmp_error(packet.get):
        return stateless_source(course.policy, uplink, packet) or packet
    first = first_address(uplink, target_of(packet).version)
    stood = stood_for(course.known, packet, [first] if first is not None else [])
    if stood is None:
        return None
    packet, course.known = stood
    return packet


# To the outside


def _to_outside(course: Course, way: _Way, network: Network) -> None:
    policy, packet = course.policy, way.packet
    if network.uplink is None or network.uplink not in course.uplinks:
        return _unreachable(course, way, "nobody has the address, and no uplink is here")
    uplink = policy.uplinks[network.uplink]
    hop = next_hop(uplink, target_of(packet))
    if hop is None:
        return _unreachable(course, way, f"uplink {uplink.name} has no route to it")
    mac = uplink.mac or policy.defaults.router_mac
    packet = _counted(packet).with_(eth_src=mac.value)
    if not course.admit(network, packet):
        return None
    named = _under_outside_name(course, uplink, network, packet)
    if named is None:
        return course.drop(network.name, "no outside address is free for it")
    return _to_hop(course, uplink, hop, named)


def _under_outside_name(course: Course, uplink: Uplink, network: Network, packet: Packet) -> Packet | None:
    named = led_out(course.known, packet) or stateless_source(course.policy, uplink, packet)
    if named is not None:
        return named
    if course.is_answer(network, packet):
        return packet if network.mode is Mode.ROUTED else None
    candidates = sources(course.policy, uplink, network, source_of(packet))
    if candidates is None:
        return packet
    if is_icmp_error(packet.get):
        return None
    stood = stood_for(course.known, packet, candidates)
    if stood is None:
        return None
    packet, course.known = stood
    return packet


def _to_hop(course: Course, uplink: Uplink, hop: Address, packet: Packet) -> None:
    mac = course.known.neighbors.get((uplink.name, hop))
    if mac is None:
        is_router = any(route.via == hop for route in uplink.routes)
        course.tell(Punt.RESOLVE_ROUTER if is_router else Punt.RESOLVE, "", packet)
        return course.drop(uplink.name, f"the MAC of {hop} is not known yet")
    course.deliveries.add((course.uplinks[uplink.name], packet.with_(eth_dst=mac.value)))
    return None


# What the sender is told


def _unreachable(course: Course, way: _Way, reason: str) -> None:
    course.drop(way.came_from, reason)
    if not is_icmp_error(way.sent.get):
        course.tell(Punt.UNREACHABLE, "", way.sent)


def _counts_down(course: Course, way: _Way) -> bool:
    """Whether it has a hop left. A packet that does not say how many has enough."""
    if way.sent.get("nw_ttl") != 1:
        return True
    course.drop(way.came_from, "it has come too many hops")
    if not is_icmp_error(way.sent.get):
        course.tell(Punt.TTL_EXCEEDED, "", way.sent)
    return False


def _counted(packet: Packet) -> Packet:
    ttl = packet.get("nw_ttl")
    return packet.with_(nw_ttl=ttl - 1) if ttl else packet
