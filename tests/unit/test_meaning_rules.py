"""What rules and defaults mean for packets that follow one another, sentence by sentence."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from itertools import pairwise

import pytest

from controller.flow import packet as p
from controller.flow.fields import Punt
from controller.flow.packet import Packet
from controller.mac import Mac
from controller.policy.firewall import (
    Action,
    Decision,
    Group,
    IcmpType,
    LogRate,
    OnChange,
    Peers,
    PortRange,
    Rule,
    Service,
)
from controller.policy.meaning import pairs, tracked_networks
from controller.policy.model import Pair
from tests.unit.meaning_world import (
    NEIGHBORS,
    Play,
    address,
    between,
    error,
    eth,
    peers,
    ping,
    rule,
    tcp,
    turned,
    world,
)

ALLOW, DROP, REJECT, PASS, LOG = Action.ALLOW, Action.DROP, Action.REJECT, Action.PASS, Action.LOG
ASK = between("green1", "green2")
CLOSED = {"intra_network": Decision.DROP}
EVERY = LogRate(3, 60)


# Connections


def test_an_answer_passes_with_its_connection_and_does_not_open_one() -> None:
    play = Play(world(rule(ALLOW, "green1", "green2"), **CLOSED))
    assert play.send("green2", turned(ASK)) == set(), "nothing was opened yet"
    assert play.send("green1", ASK) == {"green2"}
    assert play.send("green2", turned(ASK)) == {"green1"}
    assert play.send("green2", between("green2", "green1", (80, 1001))) == set(), "another port: another connection"


def test_what_is_dropped_opens_nothing() -> None:
    play = Play(world(rule(DROP, "green1", "green2")))
    assert play.send("green1", ASK) == set()
    assert play.send("green2", turned(ASK)) == {"green1"}, "it is the first packet of its own connection"
    assert play.send("green1", ASK) == {"green2"}, "and this is its answer"


def test_ping_is_answered_and_an_answer_to_nothing_is_invalid() -> None:
    for version in (4, 6):
        play, ask = Play(world(rule(DROP, "green2", "green1"))), ping("green1", "green2", version)
        assert play.send("green2", turned(ask)) == set()
        assert play.send("green1", ask) == {"green2"}
        assert play.send("green2", turned(ask)) == {"green1"}
        assert play.send("green2", ping("green2", "green1", version)) == set()


@pytest.mark.parametrize(
    ("kind", "code", "passes"),
    [(8, 0, True), (13, 0, True), (15, 0, True), (8, 1, False), (17, 0, False), (0, 0, False), (9, 0, False)],
)
def test_of_icmp_only_requests_open(kind: int, code: int, passes: bool) -> None:
    frame = p.ipv4_icmp(eth("green1", "green2"), (address("green1"), address("green2")), kind, code)
    assert Play(world(rule(ALLOW))).send("green1", frame) == ({"green2"} if passes else set())
    assert Play(world()).send("green1", frame) == {"green2"}, "nobody asks where there are no rules"


def test_an_error_about_a_connection_goes_with_it_in_both_directions() -> None:
    play = Play(world(rule(ALLOW, "green1", "green2", tcp(80)), **CLOSED))
    ask = between("green1", "green2", make=p.ipv4_tcp)
    assert play.send("green2", error(ask)) == set(), "there is no such connection"
    play.send("green1", ask)
    assert play.send("green2", error(ask)) == {"green1"}
    assert play.send("green1", error(turned(ask))) == {"green2"}


def test_an_error_is_believed_only_about_what_its_receiver_sent() -> None:
    play = Play(world(rule(ALLOW)))
    play.send("green1", ASK)
    assert play.send("green2", error(ASK)) == {"green1"}
    forged = error(ASK)
    assert forged.inner is not None
    for inner in (None, forged.inner.with_(ip_src=1), forged.inner.with_(udp_src=1001), forged.inner.with_(udp_dst=81)):
        assert play.send("green2", forged.with_inner(inner)) == set()


def test_an_error_about_somebody_else_s_connection_is_not_believed() -> None:
    play = Play(world(rule(ALLOW)))
    others = between("green2", "fw")
    play.send("green2", others)
    assert play.send("fw", error(others)) == {"green2"}
    assert play.send("fw", error(others).with_(eth_dst=eth("fw", "green1")[1], ip_dst=address("green1"))) == set()


def test_errors_are_about_their_own_network_only() -> None:
    play = Play(world(rule(ALLOW)))
    play.send("lan1", between("lan1", "lan2"))
    assert play.send("green2", error(ASK)) == set()
    assert play.send("lan2", error(between("lan1", "lan2"))) == {"lan1"}


def test_neighbor_discovery_and_listeners_are_not_for_rules() -> None:
    play = Play(world(rule(DROP), **CLOSED))
    one, two = address("green1", 6), address("green2", 6)
    macs = eth("green1", "green2")
    assert play.send("green1", p.neighbor_advertisement(macs, (one, two), one, macs[0])) == {"green2"}
    assert play.send("green1", p.icmpv6((macs[0], p.multicast_mac(p.ALL_NODES)), (one, p.ALL_NODES), 143)) != set()
    assert play.send("green1", p.arp_reply(macs[0], address("green1"), macs[1], address("green2"))) == {"green2"}


def test_ports_of_zero_and_protocols_without_ports() -> None:
    play = Play(world(rule(ALLOW)))
    assert play.send("green1", ASK.with_(udp_dst=0)) == set(), "conntrack refuses it"
    assert play.send("green1", ASK.with_(nw_proto=47)) == {"green2"}
    only_gre = Play(world(rule(ALLOW, service=Service(47)), **CLOSED))
    assert only_gre.send("green1", ASK.with_(nw_proto=47)) == {"green2"}
    assert only_gre.send("green2", turned(ASK.with_(nw_proto=47))) == {"green1"}
    assert only_gre.send("green1", ASK) == set()


# What is decided


def test_the_first_rule_of_a_tier_decides_and_tiers_come_in_their_order() -> None:
    first, second = rule(ALLOW, name="a"), rule(DROP, name="b")
    assert Play(world(first, second)).send("green1", ASK) == {"green2"}
    assert Play(world(second, first)).send("green1", ASK) == set()
    tiers = ("emergency", "baseline")
    late, early = replace(first, tier="baseline"), replace(second, tier="emergency")
    assert Play(world(late, early, tiers=tiers)).send("green1", ASK) == set()


def test_pass_leaves_the_tier_for_the_next_one_and_after_the_last_for_the_defaults() -> None:
    tiers = ("one", "two")
    passing, dropping = rule(PASS, "green1", tier="one"), rule(DROP, tier="one")
    play = Play(world(passing, dropping, tiers=tiers))
    assert play.send("green1", ASK) == {"green2"}
    assert play.send("green2", between("green2", "green1", (7, 7))) == set()
    closed = Play(world(passing, dropping, rule(DROP, tier="two", name="late"), tiers=tiers))
    assert closed.send("green1", ASK) == set()


def test_log_writes_a_line_and_the_next_rule_is_looked_at() -> None:
    play = Play(world(rule(LOG, log=EVERY), rule(DROP, "any", "green2", log=EVERY), rule(ALLOW, name="rest")))
    assert play.send("green1", ASK) == set()
    assert play.told == {(Punt.LOG, "log"), (Punt.LOG, "drop")}
    assert play.send("green2", between("green2", "green1", (7, 7))) == {"green1"}
    assert play.told == {(Punt.LOG, "log")}


def test_reject_drops_and_tells_the_sender() -> None:
    play = Play(world(rule(REJECT, "green1")))
    for make in (p.ipv4_udp, p.ipv4_tcp, p.ipv4_sctp):
        assert play.send("green1", between("green1", "green2", make=make)) == set()
        assert play.told == {(Punt.REJECT, "reject")}
    (punt,) = play.last.punts
    assert punt.packet == between("green1", "green2", make=p.ipv4_sctp)


def test_reject_by_default_names_no_rule() -> None:
    play = Play(world(intra_network=Decision.REJECT))
    play.send("green1", ASK)
    assert play.told == {(Punt.REJECT, "")}


def test_nobody_is_told_about_an_error_or_about_what_was_for_many() -> None:
    play = Play(world(rule(ALLOW)))
    play.send("green1", ASK)
    play.policy = world(rule(REJECT))
    assert play.send("green2", error(ASK)) == set()
    assert play.told == set()
    assert play.send("green1", ASK.with_(eth_dst=p.BROADCAST, ip_dst=0xFFFFFFFF)) == set()
    assert play.told == set()
    play.send("green2", turned(ASK))
    assert play.told == {(Punt.REJECT, "reject")}, "who answers is told, too"


# Who is meant


@pytest.mark.parametrize(
    ("origin", "target", "is_about"),
    [
        ("any", "any", True),
        ("green1", "green2", True),
        ("green2", "green1", False),
        ("green", "green2", True),
        ("lan", "any", False),
        ("outside", "any", False),
        ("10.4.0.0/30", "10.4.0.2/32", True),
        ("fd00:4::/64", "any", False),
        ("10.4.0.2/32", "any", False),
        ("lan green1", "lan green2", True),
        ("any", "webs", True),
        ("webs", "any", False),
        ("part", "any", False),
        ("any", "part", True),
        ("nested", "any", True),
        ("nobody", "any", False),
    ],
)
def test_who_a_rule_is_about(origin: str, target: str, is_about: bool) -> None:
    part = peers("10.4.0.0/24")
    groups = (
        Group("webs", selector=(("app", "web"),)),
        Group("part", part, excluded=(ip_network("10.4.0.1/32"),)),
        Group("nested", peers("part green1")),
        Group("nobody"),
    )
    play = Play(world(rule(DROP, origin, target), groups=groups))
    assert play.send("green1", ASK) == (set() if is_about else {"green2"})


def test_except_is_about_the_group_s_own_prefixes() -> None:
    part = Group("part", peers("10.4.0.0/24 green1"), excluded=(ip_network("10.4.0.1/32"),))
    assert Play(world(rule(DROP, "part"), groups=(part,))).send("green1", ASK) == set(), "it is named besides"


def test_a_member_is_known_by_its_link_local_address_too() -> None:
    macs = eth("green1", "green2")
    ends = int(Mac(macs[0]).link_local), int(Mac(macs[1]).link_local)
    frame = p.ipv6_udp(macs, ends, (1, 1))
    assert Play(world()).send("green1", frame) == {"green2"}
    assert Play(world(rule(DROP, "green1"))).send("green1", frame) == set()


def test_a_broadcast_is_for_a_network_and_for_no_endpoint() -> None:
    for to_all in ("255.255.255.255", "10.4.0.255", "224.0.0.251"):
        frame = ASK.with_(eth_dst=p.BROADCAST, ip_dst=address(to_all))
        assert "green2" in Play(world(rule(DROP, "any", "green2 green1 lan"))).send("green1", frame)
        assert Play(world(rule(DROP, "any", "green"))).send("green1", frame) == set()
        assert Play(world(rule(DROP, "any", f"{to_all}/32"))).send("green1", frame) == set()


def test_who_has_no_address_yet_is_somebody_in_the_network() -> None:
    ask = p.dhcp_discover(eth("green1", "green2")[0])
    assert "green2" in Play(world(rule(DROP, "green1"))).send("green1", ask)
    assert Play(world(rule(DROP, "green"))).send("green1", ask) == set()


# What is meant


@pytest.mark.parametrize(
    ("service", "is_about"),
    [
        (Service(), True),
        (tcp(), True),
        (tcp(80), True),
        (tcp(22, 80), True),
        (tcp(81), False),
        (Service(p.TCP, (PortRange(79, 81),)), True),
        (tcp(source_ports=((1000, 1000),)), True),
        (tcp(80, source_ports=((1, 999), (1001, 65535))), False),
        (Service(p.UDP), False),
        (Service(p.ICMP), False),
    ],
)
def test_what_a_rule_is_about(service: Service, is_about: bool) -> None:
    ask = between("green1", "green2", make=p.ipv4_tcp)
    play = Play(world(rule(DROP, service=service), rule(ALLOW)))
    assert play.send("green1", ask) == (set() if is_about else {"green2"})


def test_icmp_and_icmpv6_occur_in_their_own_ip_version_only() -> None:
    four = ASK.with_(nw_proto=p.ICMPV6)
    six = ping("green1", "green2", 6).with_(nw_proto=p.ICMP)
    for protocol, frame in ((p.ICMPV6, four), (p.ICMP, six)):
        assert Play(world(rule(DROP, service=Service(protocol)))).send("green1", frame) == {"green2"}


def test_ports_are_those_of_the_packet_that_opens() -> None:
    play = Play(world(rule(ALLOW, service=Service(p.UDP, (PortRange(80, 80),))), **CLOSED))
    assert play.send("green1", ASK) == {"green2"}
    assert play.send("green2", turned(ASK)) == {"green1"}
    assert play.send("green2", between("green2", "green1", (80, 79))) == set()


@pytest.mark.parametrize(("icmp", "is_about"), [(IcmpType(8), True), (IcmpType(8, 0), True), (IcmpType(13), False)])
def test_types_of_icmp_are_those_of_the_packet_that_opens(icmp: IcmpType, is_about: bool) -> None:
    play = Play(world(rule(ALLOW, service=Service(p.ICMP, icmp=(icmp,))), **CLOSED))
    ask = ping("green1", "green2")
    assert play.send("green1", ask) == ({"green2"} if is_about else set())
    assert play.send("green2", turned(ask)) == ({"green1"} if is_about else set())
    assert play.send("green1", ping("green1", "green2", 6)) == set(), "ICMPv6 is another protocol"


# When the policy changes


def test_a_connection_that_a_new_policy_forbids_is_cut() -> None:
    play = Play(world(rule(ALLOW)))
    play.send("green1", ASK)
    play.send("green2", turned(ASK))
    play.policy = world(rule(DROP, "green1", "green2"))
    assert play.send("green1", ASK) == set()
    assert play.send("green2", turned(ASK)) == set(), "the answer belongs to what green1 opened"


def test_keep_lets_an_established_connection_live_on() -> None:
    play = Play(world(rule(ALLOW, "green1", "green2", on_change=OnChange.KEEP), **CLOSED))
    play.send("green1", ASK)
    closed = world(rule(DROP))
    assert Play(closed, play.known).send("green1", ASK) == set(), "nobody has answered yet"
    play.send("green2", turned(ASK))
    play.send("green1", ASK)
    play.policy = closed
    assert play.send("green1", ASK) == {"green2"}
    assert play.send("green2", turned(ASK)) == {"green1"}
    assert play.send("green2", error(ASK)) == {"green1"}
    assert play.send("green1", between("green1", "green2", (1001, 80))) == set(), "a new one is not kept"


def test_keep_counts_where_the_rule_that_admitted_it_said_so() -> None:
    play = Play(world(rule(ALLOW)))
    play.send("green1", ASK)
    play.send("green2", turned(ASK))
    play.policy = world(rule(ALLOW, on_change=OnChange.KEEP))
    play.send("green1", ASK)
    play.send("green2", turned(ASK))
    play.policy = world(rule(DROP))
    assert play.send("green1", ASK) == set()


# Which networks are looked at


@pytest.mark.parametrize(
    ("origin", "target", "is_tracked"),
    [
        ("any", "any", True),
        ("green1", "any", True),
        ("green1", "lan", False),
        ("lan", "any", False),
        ("outside", "any", False),
        ("192.0.2.0/24", "any", True),
        ("webs", "green", True),
        ("nobody", "any", False),
        ("part", "any", True),
    ],
)
def test_an_isolated_network_is_tracked_if_a_rule_could_be_about_it(origin: str, target: str, is_tracked: bool) -> None:
    groups = (Group("webs", selector=(("app", "web"),)), Group("nobody"), Group("part", peers("192.0.2.0/24")))
    policy = world(rule(ALLOW, origin, target), groups=groups)
    assert tracked_networks(policy) - {"green"} == {"lan", "office", "dmz"}
    assert ("green" in tracked_networks(policy)) == is_tracked


def test_an_isolated_network_is_tracked_if_its_default_is_not_allow() -> None:
    own = Pair("green", "green", Decision.REJECT)
    assert "green" not in tracked_networks(world())
    assert "green" in tracked_networks(world(**CLOSED))
    assert "green" in tracked_networks(world(pairs=(own,)))
    assert "green" not in tracked_networks(world(**CLOSED, pairs=(replace(own, decision=Decision.ALLOW),)))


def test_an_untracked_network_knows_no_connections() -> None:
    play = Play(world())
    frames: list[Packet] = [ASK, turned(ASK), error(ASK), ping("green1", "green2")]
    for frame in frames:
        play.send("green1" if frame.get("ip_src") == address("green1") else "green2", frame)
        assert play.last.deliveries
        assert play.known == NEIGHBORS


@pytest.mark.parametrize("shape", ["chain", "net"])
def test_groups_in_groups_may_be_as_deep_as_a_document(shape: str) -> None:
    """A chain, and a net of which the ways from top to bottom are 2**3000."""
    below = 1 if shape == "chain" else 2
    rows = [tuple(f"g{row}-{at}" for at in range(below)) for row in range(3000)]
    made = {name: Group(name, Peers(groups=under)) for over, under in pairwise(rows) for name in over}
    made |= {name: Group(name, Peers(endpoints=("office1",))) for name in rows[-1]}
    rule = Rule("deep", Action.ALLOW, origin=Peers(endpoints=("lan1",)), target=Peers(groups=("g0-0",)))
    policy = world(rule, groups=tuple(made.values()))
    assert [two for *two, where in pairs(policy) if where == "lan->office"] == [["lan1", "office1"]]
    play = Play(policy, NEIGHBORS)
    assert play.send("lan1", between("lan1", "office1")) == {"office1"}
    assert play.send("lan2", between("lan2", "office1")) == set()
