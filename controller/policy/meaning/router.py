"""What becomes of a packet at the router: to which member, or out at which uplink. PURE."""

from __future__ import annotations

from controller.flow.fields import Punt
from controller.flow.packet import Packet, is_icmp_error
from controller.policy.meaning.connections import is_ip, is_link_scoped, source_of, target_of
from controller.policy.meaning.course import Course
from controller.policy.meaning.here import Here, addresses, is_in
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
    policy, network = course.policy, here.network
    reason = refuse_route(frame) or _refuse_from_member(here, sender, frame)
    if reason:
        return course.drop(network.name, reason)
    uplink = next((u for u in policy.uplinks.values() if is_outside_address(policy, u, target_of(frame))), None)
    if uplink is not None:
        return _hairpin(course, here, uplink, frame)
    found = routed_member(policy, target_of(frame))
    if found is not None and found[0].name in course.bindings:
        return _to_member(course, here.network.name, found, frame)
    return _to_outside(course, here, frame)


def _refuse_from_member(here: Here, sender: Endpoint, frame: Packet) -> str:
    source, target = source_of(frame), target_of(frame)
    if int(source) not in addresses(sender, here.network, source.version):
        return f"the router takes from {sender.name} only what is its own"
    if here.is_gateway(int(target), target.version):
        return "the router answers echo requests and nothing else"
    if any(target in network.gateways for network in here.policy.networks.values()):
        return "it is the router's address in another network"
    return ""


def route_from_outside(course: Course, uplink: Uplink, frame: Packet) -> None:
    """An IP packet from outside to the uplink's MAC, with a source that may be there."""
    packet, course.known = led_in(course.policy, course.known, uplink, frame)
    is_led = target_of(packet) != target_of(frame)
    known = [n for n in course.policy.networks.values() if n.mode is Mode.ROUTED and n.uplink == uplink.name]
    if not is_led and not any(is_in(target_of(packet), network.cidrs) for network in known):
        return course.drop(uplink.name, "nothing leads from here to this address")
    if not _counts_down(course, uplink.name, packet, frame):
        return None
    found = routed_member(course.policy, target_of(packet))
    if found is None or found[0].name not in course.bindings:
        return course.drop(uplink.name, "it is for no member that is there")
    if not is_led and found[1] not in known:
        return course.drop(uplink.name, f"nothing leads from here to an address in {found[1].name}")
    return _to_member(course, uplink.name, found, packet, sent=frame)


def _to_member(
    course: Course,
    came_from: str,
    found: tuple[Endpoint, Network],
    packet: Packet,
    *,
    sent: Packet | None = None,
    hairpin: Uplink | None = None,
) -> None:
    """came_from: a network or an uplink. sent: the packet as its sender sent it, where it is another one already.

    hairpin: whose outside address it was sent to from inside.
    """
    member, network = found
    if not _counts_down(course, came_from, packet, sent or packet):
        return
    on = _counted(packet).with_(eth_src=course.policy.defaults.router_mac.value, eth_dst=_mac_of(member))
    if not course.admit(network, on):
        return
    if hairpin is not None:
        there = _hairpinned(course, hairpin, network, on)
        if there is None:
            return course.drop(came_from, "no outside address is free for it")
        on = there
    course.hand(course.here(network), member, on)


def _mac_of(member: Endpoint) -> int:
    assert member.mac is not None
    return member.mac.value


# To outside addresses, from inside


def _hairpin(course: Course, here: Here, uplink: Uplink, frame: Packet) -> None:
    if uplink.name not in course.uplinks:
        return course.drop(here.network.name, f"uplink {uplink.name} is on no port")
    packet, course.known = led_in(course.policy, course.known, uplink, frame)
    found = routed_member(course.policy, target_of(packet))
    if target_of(packet) == target_of(frame) or found is None or found[0].name not in course.bindings:
        return course.drop(here.network.name, "the outside address leads nowhere")
    return _to_member(course, here.network.name, found, packet, sent=frame, hairpin=uplink)


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


def _to_outside(course: Course, here: Here, frame: Packet) -> None:
    policy, network = course.policy, here.network
    if not _counts_down(course, network.name, frame, frame):
        return None
    if any(is_in(target_of(frame), each.cidrs) for each in policy.networks.values() if each.routed):
        return _unreachable(course, here, frame, "no member that is there has the address, and it is one of a network")
    if network.uplink is None:
        return _unreachable(course, here, frame, "nobody has the address, and there is no uplink")
    uplink = policy.uplinks[network.uplink]
    if uplink.name not in course.uplinks:
        return _unreachable(course, here, frame, f"uplink {uplink.name} is on no port")
    hop = next_hop(uplink, target_of(frame))
    if hop is None:
        return _unreachable(course, here, frame, f"uplink {uplink.name} has no route to it")
    mac = uplink.mac or policy.defaults.router_mac
    packet = _counted(frame).with_(eth_src=mac.value)
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
        course.tell(Punt.RESOLVE, "", packet)
        return course.drop(uplink.name, f"the MAC of {hop} is not known yet")
    course.deliveries.add((course.uplinks[uplink.name], packet.with_(eth_dst=mac.value)))
    return None


# What the sender is told


def _unreachable(course: Course, here: Here, frame: Packet, reason: str) -> None:
    course.drop(here.network.name, reason)
    if not is_icmp_error(frame.get):
        course.tell(Punt.UNREACHABLE, "", frame)


def _counts_down(course: Course, place: str, packet: Packet, sent: Packet) -> bool:
    """Whether it has a hop left. A packet that does not say how many has enough."""
    if packet.get("nw_ttl") != 1:
        return True
    course.drop(place, "it has come too many hops")
    if not is_icmp_error(packet.get):
        course.tell(Punt.TTL_EXCEEDED, "", sent)
    return False


def _counted(packet: Packet) -> Packet:
    ttl = packet.get("nw_ttl")
    return packet.with_(nw_ttl=ttl - 1) if ttl else packet
