"""The seven steps of a frame: port, network, source check, answers, forwarding, egress check, delivery. PURE.

Between the fifth and the sixth, rules and defaults decide about the connection. A frame to the router's MAC takes the
router's way instead of the fifth, and one from an uplink's port takes that way from the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from controller.flow.fields import Punt
from controller.flow.packet import Packet
from controller.mac import Mac
from controller.policy.meaning.answering import answer, asks_gateway
from controller.policy.meaning.course import Course, Punted
from controller.policy.meaning.forwarding import forward, refuse_target
from controller.policy.meaning.here import Here
from controller.policy.meaning.known import NOTHING_KNOWN, Known
from controller.policy.meaning.router import is_for_router, route_from_member
from controller.policy.meaning.segments import hear
from controller.policy.meaning.speaking import refuse_learning, refuse_macs, refuse_source
from controller.policy.model import Attach, Endpoint, Network, Policy

NO_UPLINKS: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Verdict:
    """deliveries: (ofport, frame as it leaves). known: what is known afterwards.

    why: for every network or uplink the frame was in, one sentence on why it was dropped there or towards whom; empty
    where nothing was held back. punts: what the controller is handed, as if no meter held anything back.
    """

    deliveries: frozenset[tuple[int, Packet]]
    known: Known
    why: tuple[str, ...]
    punts: frozenset[Punted] = frozenset()


def deliver(
    policy: Policy, bindings: Mapping[str, int], in_port: int, frame: Packet, known: Known = NOTHING_KNOWN
) -> tuple[frozenset[tuple[int, Packet]], Known]:
    """Who gets what of a frame that arrives at in_port, and what is known then. bindings: endpoint name -> ofport."""
    verdict = judge(policy, bindings, in_port, frame, known)
    return verdict.deliveries, verdict.known


def judge(
    policy: Policy,
    bindings: Mapping[str, int],
    in_port: int,
    frame: Packet,
    known: Known = NOTHING_KNOWN,
    *,
    uplinks: Mapping[str, int] = NO_UPLINKS,
    advertises: bool = True,
) -> Verdict:
    """As `deliver`, with reasons. uplinks: name of an uplink that is on this bridge -> ofport.

    known: from earlier packets, also if another policy held then. advertises: whether the switch can make neighbor
    advertisements.
    """
    course = Course(policy, bindings, uplinks, advertises, known)
    uplink = next((policy.uplinks[name] for name, port in uplinks.items() if port == in_port), None)
    sender = next((policy.endpoints[name] for name, port in bindings.items() if port == in_port), None)
    if uplink is not None:
        hear(course, uplink, frame)
    elif sender is None:
        course.why.append(f"port {in_port} belongs to no endpoint")
    else:
        networks, refusal = _networks_of(policy, sender, frame)
        if refusal:
            course.why.append(refusal)
        for network in networks:
            _judge_in(course, network, sender, frame.with_tags())
    return Verdict(frozenset(course.deliveries), course.known, tuple(course.why), frozenset(course.punts))


def _networks_of(policy: Policy, sender: Endpoint, frame: Packet) -> tuple[list[Network], str]:
    """The networks a frame enters, or none and why."""
    networks = [policy.networks[name] for name in sender.networks]
    if sender.attach is Attach.UNTAGGED:
        return ([], f"{sender.name} is untagged and sent a tag") if frame.tags else (networks, "")
    if sender.native is not None and not frame.tags:
        return [policy.networks[sender.native]], ""
    if len(frame.tags) != 1:
        return [], f"{sender.name} is tagged and sent {len(frame.tags)} tags"
    chosen = [network for network in networks if network.vlan == frame.tags[0] and network.name != sender.native]
    return chosen, "" if chosen else f"{sender.name} has no network with VLAN {frame.tags[0]}"


def _judge_in(course: Course, network: Network, sender: Endpoint, frame: Packet) -> None:
    here = course.here(network)
    reason = refuse_macs(here, sender, frame)
    if not reason and sender.mac is None:
        reason = refuse_learning(here, sender, frame)
        if not reason:
            course.known = course.known.with_learned(network.name, Mac(frame.eth_src), here.bindings[sender.name])
    reason = reason or refuse_source(here, sender, frame)
    if reason:
        return course.drop(network.name, reason)
    if asks_gateway(here, frame) and not here.advertises:
        course.tell(Punt.SOLICITATION, "", frame)
        return course.drop(network.name, "the switch cannot answer, and the controller does")
    told = answer(here, frame)
    if told is not None:
        return course.hand(here, sender, told)
    if is_for_router(here, frame):
        return route_from_member(course, here, sender, frame)
    targets, reason = forward(here, sender, frame)
    if reason:
        return course.drop(network.name, reason)
    if course.admit(network, frame):
        for target in targets:
            if target is not sender and not _is_second(here, sender, target, frame):
                course.hand(here, target, frame)
            elif target is sender and not frame.is_multicast:
                course.drop(network.name, "the destination is where the frame came from")
    return None


def _is_second(here: Here, sender: Endpoint, target: Endpoint, frame: Packet) -> bool:
    """Whether two untagged shared members meet with this frame in another network before this one, which decides."""
    if not (_is_everywhere(sender) and _is_everywhere(target)):
        return False
    before = [here.policy.networks[name] for name in sender.networks if name in target.networks]
    return any(
        not (refuse_source(there, sender, frame) or refuse_target(there, target, frame))
        for there in (replace(here, network=network) for network in before if network.number < here.network.number)
    )


def _is_everywhere(member: Endpoint) -> bool:
    """Whether what it sends goes into several networks at once."""
    return member.shared and member.attach is Attach.UNTAGGED
