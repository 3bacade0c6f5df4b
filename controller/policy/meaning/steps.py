"""The seven steps of a frame: port, network, source check, answers, forwarding, egress check, delivery. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.flow.packet import Packet
from controller.policy.meaning.answering import answer
from controller.policy.meaning.forwarding import form, forward, refuse_target
from controller.policy.meaning.here import NOTHING_LEARNED, Here, Learned
from controller.policy.meaning.speaking import learn, refuse_macs, refuse_source
from controller.policy.model import Attach, Endpoint, Network, Policy


@dataclass(frozen=True, slots=True)
class Verdict:
    """deliveries: (ofport, frame as it leaves). learned: what is known afterwards.

    why: for every network the frame was in, one sentence on why it was dropped there or towards whom; empty where
    nothing was held back.
    """

    deliveries: frozenset[tuple[int, Packet]]
    learned: Learned
    why: tuple[str, ...]


def deliver(
    policy: Policy, bindings: Mapping[str, int], in_port: int, frame: Packet, learned: Learned = NOTHING_LEARNED
) -> tuple[frozenset[tuple[int, Packet]], Learned]:
    """Who gets what of a frame that arrives at in_port, and what is learned then. bindings: endpoint name -> ofport."""
    verdict = judge(policy, bindings, in_port, frame, learned)
    return verdict.deliveries, verdict.learned


def judge(
    policy: Policy,
    bindings: Mapping[str, int],
    in_port: int,
    frame: Packet,
    learned: Learned = NOTHING_LEARNED,
    *,
    advertises: bool = True,
) -> Verdict:
    """As `deliver`, with reasons. advertises: whether the switch can make neighbor advertisements."""
    sender = next((policy.endpoints[name] for name, port in bindings.items() if port == in_port), None)
    if sender is None:
        return Verdict(frozenset(), learned, (f"port {in_port} belongs to no endpoint",))
    networks, refusal = _networks_of(policy, sender, frame)
    if refusal:
        return Verdict(frozenset(), learned, (refusal,))
    deliveries: set[tuple[int, Packet]] = set()
    why: list[str] = []
    for network in networks:
        here = Here(policy, bindings, network, learned, advertises)
        found, learned, reasons = _judge_here(here, sender, frame.with_tags())
        deliveries |= found
        why += (f"{network.name}: {reason}" for reason in reasons)
    return Verdict(frozenset(deliveries), learned, tuple(why))


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


def _judge_here(here: Here, sender: Endpoint, frame: Packet) -> tuple[set[tuple[int, Packet]], Learned, list[str]]:
    reason, learned = refuse_macs(here, sender, frame), here.learned
    if not reason and sender.mac is None:
        learned, reason = learn(here, sender, frame)
    reason = reason or refuse_source(here, sender, frame)
    if reason:
        return set(), learned, [reason]
    told = answer(here, frame)
    if told is not None:
        reason = refuse_target(here, sender, told)
        return (set() if reason else {form(here, sender, told)}), learned, [reason] if reason else []
    targets, reason = forward(here, sender, frame)
    deliveries = set()
    reasons = [reason] if reason else []
    for target in targets:
        reason = refuse_target(here, target, frame)
        if reason:
            reasons.append(f"not to {target.name}: {reason}")
        else:
            deliveries.add(form(here, target, frame))
    return deliveries, learned, reasons
