"""What the router, uplinks and rewrites mean for packets that follow one another, sentence by sentence."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from controller.flow import packet as p
from controller.flow.fields import Punt
from controller.flow.packet import Packet
from controller.mac import Mac
from controller.policy.firewall import Action, Decision, Service
from controller.policy.meaning import NOTHING_KNOWN, judge
from controller.policy.model import Mode, Pair, Policy
from controller.policy.rewrites import Forward, Masquerade, OneToOne, Snat, Target
from tests.unit.meaning_world import (
    CLIENT_MAC,
    HOP_MAC,
    NEIGHBORS,
    PORTS,
    ROUTER,
    Play,
    address,
    between,
    endpoint,
    error,
    eth,
    from_outside,
    ip,
    ping,
    rule,
    turned,
    world,
)

ALLOW, DROP, REJECT = Action.ALLOW, Action.DROP, Action.REJECT
OPEN = {"inter_network": Decision.ALLOW}
PUBLIC, WEB, ONE = "172.16.200.1", "172.16.200.9", "172.16.200.8"
AS_ROUTER = 0xE0000000
"""The flags of an advertisement by a router that was asked (RFC 4861 section 4.4)."""
FORWARD = Forward("pf", "dmz", p.UDP, 8800, (Target("web1", 80),))


def mac(name: str) -> int:
    return eth(name, name)[0]


def ends(frame: Packet) -> tuple[str, int, str, int]:
    """(source, port, destination, port) of UDP over IPv4."""
    found = (str(ip_address(frame.get(name))) for name in ("ip_src", "ip_dst"))
    source, target = found
    return source, frame.get("udp_src"), target, frame.get("udp_dst")


# From network to network


@pytest.mark.parametrize("version", [4, 6])
def test_the_router_joins_networks_where_the_defaults_allow_it(version: int) -> None:
    ask = ping("lan1", "office1", version)
    assert Play(world()).send("lan1", ask) == set(), "inter_network is drop"
    play = Play(world(**OPEN))
    assert play.send("lan1", ask.with_(nw_ttl=9)) == {"office1"}
    assert play.sent == ask.with_(eth_src=ROUTER, eth_dst=mac("office1"), nw_ttl=8)
    assert play.send("office1", turned(ask).with_(eth_src=mac("office1"), eth_dst=ROUTER)) == {"lan1"}


def test_networks_are_joined_by_pair_and_by_rule_and_answers_come_back() -> None:
    ask = between("lan1", "office1")
    answer = turned(ask).with_(eth_src=mac("office1"), eth_dst=ROUTER)
    one_way = Pair("lan", "office", Decision.ALLOW)
    for policy in (world(pairs=(one_way,)), world(rule(ALLOW, "lan1", "office", Service(p.UDP)))):
        play = Play(policy)
        assert play.send("office1", answer) == set(), "it would open in the other direction"
        assert play.send("lan1", ask) == {"office1"}
        assert play.send("office1", answer) == {"lan1"}
        assert play.send("office1", error(play_seen(ask, "office1"))) == {"lan1"}


def play_seen(frame: Packet, member: str) -> Packet:
    """A frame as a member in another network has got it."""
    return frame.with_(eth_src=ROUTER, eth_dst=mac(member))


def test_reject_between_networks_tells_the_sender() -> None:
    play = Play(world(inter_network=Decision.REJECT))
    assert play.send("lan1", between("lan1", "office1")) == set()
    assert play.told == {(Punt.REJECT, "")}


def test_within_a_network_members_meet_by_mac_or_by_way_of_the_router() -> None:
    play = Play(world())
    assert play.send("lan1", between("lan1", "lan2")) == {"lan2"}
    assert play.send("lan1", between("lan1", "lan2").with_(eth_dst=ROUTER)) == {"lan2"}
    closed = Play(world(intra_network=Decision.DROP))
    assert closed.send("lan1", between("lan1", "lan2")) == set()


def test_isolated_networks_have_no_router() -> None:
    play = Play(world(**OPEN))
    assert play.send("green1", between("green1", "office1")) == set()
    assert play.send("lan1", between("lan1", "green1")) == {"wan"}, "10.4.0.1 is anybody's, beyond the router"


def test_a_member_that_is_not_there_gets_nothing() -> None:
    play = Play(world(**OPEN))
    assert play.send("office1", between("office1", "away").with_(eth_dst=ROUTER)) == set()
    assert play.told == {(Punt.UNREACHABLE, "")}


@pytest.mark.parametrize(
    "change",
    [
        {"ip_dst": ip("224.0.0.5")},
        {"ip_dst": 0xFFFFFFFF},
        {"ip_dst": ip("10.2.0.254")},
        {"ip_dst": ip("10.1.0.254")},
        {"eth_type": p.ETH_ARP},
    ],
)
def test_what_is_not_routed(change: dict[str, int]) -> None:
    play = Play(world(**OPEN))
    assert play.send("lan1", between("lan1", "office1").with_(**change)) == set()
    assert play.told == set()


@pytest.mark.parametrize("target", ["10.2.0.77", "10.3.0.77", "10.1.0.77"])
def test_an_address_of_a_network_that_nobody_has_is_told_to_be_unreachable_and_never_sent_outside(target: str) -> None:
    play = Play(world(**OPEN))
    assert play.send("lan1", between("lan1", target)) == set()
    assert play.told == {(Punt.UNREACHABLE, "")}


def test_hops_run_out_before_anybody_looks_where_a_packet_goes() -> None:
    play = Play(world())
    for target in ("10.2.0.77", "8.8.8.8", "10.2.0.1"):
        assert play.send("office1", between("office1", target).with_(nw_ttl=1)) == set()
        assert play.told == {(Punt.TTL_EXCEEDED, "")}
    assert play.send("office1", between("office1", PUBLIC).with_(nw_ttl=1)) == set()
    assert play.told == set(), "nothing is there in any case"


def test_an_uplink_that_is_on_no_port_leads_nowhere() -> None:
    policy = world()
    verdict = judge(policy, PORTS, PORTS["lan1"], between("lan1", "8.8.8.8"), NEIGHBORS, uplinks={"private": 101})
    assert [punt.kind for punt in verdict.punts] == [Punt.UNREACHABLE]


def test_what_is_for_the_link_stays_there() -> None:
    play = Play(world(**OPEN))
    frame = p.ipv6_udp((mac("lan1"), ROUTER), (address("lan1", 6), address("office1", 6)), (1, 1))
    assert play.send("lan1", frame) == {"office1"}
    assert play.send("lan1", frame.with_(ipv6_src=int(Mac(mac("lan1")).link_local))) == set()
    assert play.send("lan1", frame.with_(ipv6_dst=ip("fe80::1"))) == set()
    for kind in (133, 135, 136, 143):
        told = p.icmpv6((mac("lan1"), ROUTER), (address("lan1", 6), address("office1", 6)), kind)
        assert play.send("lan1", told.with_(nd_target=address("lan1", 6) if kind in (135, 136) else 0)) == set()


def test_the_gateway_is_known_by_arp_and_neighbor_discovery_and_answers_pings() -> None:
    play = Play(world(rule(DROP)))
    gateway, me, mine = ip("10.1.0.254"), mac("lan1"), address("lan1")
    for to in (p.BROADCAST, ROUTER):
        assert play.send("lan1", p.arp_request(me, mine, gateway, to)) == {"lan1"}
        assert play.sent == p.arp_reply(ROUTER, gateway, me, mine)
    asked = ip("2001:db8:1::fe")
    for change in ({}, {"eth_dst": ROUTER, "ipv6_dst": asked}):
        assert play.send("lan1", p.neighbor_solicitation(me, address("lan1", 6), asked, me).with_(**change)) == {"lan1"}
        told = p.neighbor_advertisement((ROUTER, me), (asked, address("lan1", 6)), asked, ROUTER)
        assert play.sent == told.with_(nd_reserved=AS_ROUTER)
    echo = p.ipv4_icmp((me, ROUTER), (mine, gateway))
    assert play.send("lan1", echo.with_(nw_ttl=1)) == {"lan1"}
    assert play.sent == p.ipv4_icmp((ROUTER, me), (gateway, mine), 0).with_(nw_ttl=64)
    assert play.send("lan1", p.icmpv6((me, ROUTER), (address("lan1", 6), asked), 128)) == {"lan1"}
    assert play.sent == p.icmpv6((ROUTER, me), (asked, address("lan1", 6)), 129).with_(nw_ttl=64)
    for change in ({"icmp_code": 1}, {"icmp_type": 13}, {"ip_dst": ip("10.2.0.254")}, {"eth_dst": p.BROADCAST}):
        assert play.send("lan1", echo.with_(**change)) == set()
    assert play.send("green1", p.arp_request(mac("green1"), address("green1"), gateway)) == set()


def test_the_last_hop_is_told_to_the_sender() -> None:
    play = Play(world(**OPEN))
    last = between("lan1", "office1").with_(nw_ttl=1)
    assert play.send("lan1", last) == set()
    assert play.told == {(Punt.TTL_EXCEEDED, "")}
    assert {punt.packet for punt in play.last.punts} == {last}
    assert play.send("lan1", last.with_(nw_ttl=2)) == {"office1"}
    assert play.send("lan1", between("lan1", "lan2").with_(nw_ttl=1)) == {"lan2"}, "by MAC there are no hops"
    play.send(
        "lan1", error(between("office1", "lan1"), "10.1.0.1").with_(eth_src=mac("lan1"), eth_dst=ROUTER, nw_ttl=1)
    )
    assert play.told == set()


# Members that are routers of their own


def test_a_member_with_routes_sends_and_gets_what_is_beyond_it() -> None:
    play = Play(world())
    out = p.ipv4_udp(eth("green1", "fw"), (address("green1"), ip("192.0.2.1")), (5, 5))
    assert play.send("green1", out) == {"fw"}
    assert play.send("fw", turned(out)) == {"green1"}
    assert play.send("fw", turned(out).with_(ip_src=address("green2"))) == set(), "that one is a member"
    assert play.send("fw", turned(out).with_(ip_src=ip("10.4.0.77"))) == set(), "the network holds this address"
    assert play.send("green1", out.with_(ip_dst=ip("10.4.0.77"))) == set()
    assert play.send("green1", out.with_(eth_dst=mac("green2"))) == set(), "green2 has no routes"
    for source in ("224.0.0.1", "0.0.0.0", "255.255.255.255"):
        assert play.send("fw", turned(out).with_(ip_src=ip(source))) == set()


def test_a_member_s_address_is_beyond_nobody_though_no_prefix_holds_it() -> None:
    green = replace(world().networks["green"], cidrs=())
    play = Play(replace(world(), networks={**world().networks, "green": green}))
    frame = p.ipv4_udp(eth("fw", "green1"), (ip("192.0.2.1"), address("green1")), (5, 5))
    assert play.send("fw", frame) == {"green1"}
    assert play.send("fw", frame.with_(ip_src=address("green2"))) == set()
    assert play.send("green1", turned(frame).with_(ip_dst=address("green2"))) == set()


def test_what_is_beyond_a_member_is_in_the_network_for_rules() -> None:
    out = p.ipv4_udp(eth("green1", "fw"), (address("green1"), ip("192.0.2.1")), (5, 5))
    assert Play(world(intra_network=Decision.DROP)).send("green1", out) == set()
    assert Play(world(rule(DROP, "any", "green"))).send("green1", out) == set()
    assert Play(world(rule(DROP, "any", "fw outside"))).send("green1", out) == {"fw"}
    assert Play(world(rule(DROP, "any", "192.0.2.0/24"))).send("green1", out) == set()


def test_the_router_takes_from_a_member_only_what_is_its_own() -> None:
    play = Play(with_routes(world(**OPEN), "lan1", "0.0.0.0/0"))
    frame = between("lan1", "lan2").with_(ip_src=ip("192.0.2.1"))
    assert play.send("lan1", frame) == {"lan2"}
    assert play.send("lan1", frame.with_(eth_dst=ROUTER)) == set()


def with_routes(policy: Policy, name: str, routes: str) -> Policy:
    member = replace(policy.endpoints[name], routes=(ip_network(routes),))
    return replace(policy, endpoints={**policy.endpoints, name: member})


# Out


def test_routed_members_go_out_under_their_own_address_to_the_next_hop() -> None:
    play = Play(world())
    ask = between("lan1", "8.8.8.8").with_(nw_ttl=7)
    assert play.send("lan1", ask) == {"wan"}
    assert play.sent == ask.with_(eth_src=ROUTER, eth_dst=HOP_MAC, nw_ttl=6)
    assert play.send("lan1", between("lan1", "172.16.200.77")) == {"wan"}
    assert play.sent.eth_dst == CLIENT_MAC, "who is on the segment is the next hop itself"
    back = from_outside("8.8.8.8", "lan1", (80, 1000))
    assert play.send("wan", back) == {"lan1"}
    assert play.sent == back.with_(eth_src=ROUTER, eth_dst=mac("lan1"))


def test_a_next_hop_that_is_not_known_is_asked_for() -> None:
    play = Play(world(), NOTHING_KNOWN)
    assert play.send("lan1", between("lan1", "8.8.8.8")) == set()
    assert play.told == {(Punt.RESOLVE_ROUTER, "")}
    assert play.send("lan1", between("lan1", "172.16.200.77")) == set()
    assert play.told == {(Punt.RESOLVE, "")}
    assert play.send("wan", p.arp_reply(HOP_MAC, ip("172.16.200.254"), ROUTER, ip(PUBLIC))) == set()
    assert play.told == {(Punt.NEIGHBOR, "")}
    assert play.send("lan1", between("lan1", "8.8.8.8")) == {"wan"}


def test_without_uplink_or_route_the_sender_is_told() -> None:
    play = Play(world())
    assert play.send("office1", between("office1", "8.8.8.8")) == set()
    assert play.told == {(Punt.UNREACHABLE, "")}
    assert play.send("lan1", ping("lan1", "2001:db8:9::1", 6)) == set()
    assert play.told == {(Punt.UNREACHABLE, "")}
    assert play.send("lan1", ping("lan1", "2001:db8:8::1", 6)) == {"wan"}
    assert play.send("lan1", between("lan1", "8.8.8.8").with_(nw_ttl=1)) == set()
    assert play.told == {(Punt.TTL_EXCEEDED, "")}


def test_rules_say_who_may_go_out() -> None:
    policy = world(rule(ALLOW, "lan1", "outside", Service(p.UDP)), rule(REJECT, "lan dmz", "outside"))
    play = Play(policy)
    assert play.send("lan1", between("lan1", "8.8.8.8")) == {"wan"}
    assert play.send("lan1", ping("lan1", "8.8.8.8")) == set()
    assert play.told == {(Punt.REJECT, "reject")}
    assert Play(world(pairs=(Pair("lan", "outside", Decision.DROP),))).send("lan1", ping("lan1", "8.8.8.8")) == set()


def test_who_was_reached_under_the_own_address_answers_under_it() -> None:
    play = Play(world(rewrites=(Masquerade("out", "lan"),)))
    asked = from_outside("8.8.8.8", "lan1")
    assert play.send("wan", asked) == {"lan1"}
    assert play.send("lan1", turned(asked).with_(eth_src=mac("lan1"), eth_dst=ROUTER)) == {"wan"}
    assert ends(play.sent) == ("10.1.0.1", 80, "8.8.8.8", 5000)
    hidden = replace(world().networks["lan"], mode=Mode.NAT)
    play.policy = replace(play.policy, networks={**play.policy.networks, "lan": hidden})
    assert play.send("lan1", turned(asked).with_(eth_src=mac("lan1"), eth_dst=ROUTER)) == set(), (
        "nothing goes out as it is any more"
    )


def test_an_error_opens_no_translation() -> None:
    play = Play(world())
    ask = between("lan1", "8.8.8.8")
    play.send("lan1", ask)
    play.policy = world(rewrites=(Masquerade("out", "lan"),))
    told = error(turned(ask)).with_(eth_src=mac("lan1"), eth_dst=ROUTER)
    assert play.send("lan1", told) == set()
    assert not play.known.stands


# In


def test_from_outside_routed_members_are_reached_and_nat_members_are_not() -> None:
    play = Play(world())
    assert play.send("wan", from_outside("8.8.8.8", "lan1")) == {"lan1"}
    assert play.send("wan", from_outside("8.8.8.8", "web1")) == set()
    assert play.send("wan", from_outside("8.8.8.8", "office1")) == set(), "it has no uplink"
    assert play.send("private", from_outside("172.20.0.1", "lan1")) == set(), "it has another uplink"
    assert Play(world(rule(DROP, "outside", "lan"))).send("wan", from_outside("8.8.8.8", "lan1")) == set()
    allowed = Play(world(pairs=(Pair("outside", "dmz", Decision.ALLOW),)))
    assert allowed.send("wan", from_outside("8.8.8.8", "web1")) == set(), "nothing has translated it"


@pytest.mark.parametrize(
    ("source", "passes"),
    [
        ("8.8.8.8", True),
        ("172.16.200.77", True),
        ("10.1.0.2", False),
        ("10.4.0.77", False),
        ("172.17.0.9", False),
        ("172.20.0.1", False),
        ("172.21.0.1", True),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("0.0.0.0", False),
    ],
)
def test_nobody_outside_is_inside_or_behind_another_uplink(source: str, passes: bool) -> None:
    assert Play(world()).send("wan", from_outside(source, "lan1")) == ({"lan1"} if passes else set())


def test_frames_from_outside_are_plain_and_to_the_router() -> None:
    play, frame = Play(world()), from_outside("8.8.8.8", "lan1")
    assert play.send("wan", frame.with_tags(10)) == set()
    assert play.send("wan", frame.with_(eth_dst=mac("lan1"))) == set()
    assert play.send("wan", frame.with_(eth_dst=p.BROADCAST)) == set()
    assert play.send("wan", frame.with_(nw_ttl=1)) == set()
    assert play.told == {(Punt.TTL_EXCEEDED, "")}
    assert play.send("wan", p.raw(HOP_MAC, ROUTER, 0x88CC)) == set()
    own = replace(world().uplinks["wan"], mac=Mac(0x020000000099))
    at_own = Play(replace(world(), uplinks={**world().uplinks, "wan": own}))
    assert at_own.send("wan", frame) == set()
    assert at_own.send("wan", frame.with_(eth_dst=0x020000000099)) == {"lan1"}
    assert at_own.sent.eth_src == ROUTER
    at_own.send("lan1", between("lan1", "8.8.8.8"))
    assert at_own.sent.eth_src == 0x020000000099


def test_the_switch_answers_for_outside_addresses_on_the_segment() -> None:
    far = OneToOne("far", "lan", ip_address("198.51.100.1"), Target("lan2"))
    play = Play(world(rewrites=(OneToOne("one", "lan", ip_address(ONE), Target("lan1")), far)), NOTHING_KNOWN)
    client = ip("172.16.200.77")
    for asked in (PUBLIC, ONE):
        assert play.send("wan", p.arp_request(CLIENT_MAC, client, ip(asked))) == {"wan"}
        assert play.sent == p.arp_reply(ROUTER, ip(asked), CLIENT_MAC, client)
    assert play.known.neighbors == {("wan", ip_address("172.16.200.77")): Mac(CLIENT_MAC)}
    for asked in ("172.16.200.50", "198.51.100.1", "10.1.0.1", "10.1.0.254"):
        assert play.send("wan", p.arp_request(CLIENT_MAC, client, ip(asked))) == set()
    assert play.send("private", p.arp_request(CLIENT_MAC, client, ip(PUBLIC))) == set()
    six, asked = ip("2001:db8:ff::77"), ip("2001:db8:ff::1")
    assert play.send("wan", p.neighbor_solicitation(CLIENT_MAC, six, asked, CLIENT_MAC)) == {"wan"}
    told = p.neighbor_advertisement((ROUTER, CLIENT_MAC), (asked, six), asked, ROUTER)
    assert play.sent == told.with_(nd_reserved=AS_ROUTER)
    assert ("wan", ip_address("2001:db8:ff::77")) in play.known.neighbors


def test_neighbors_are_learned_on_their_segment_only() -> None:
    play = Play(world(), NOTHING_KNOWN)
    play.send("wan", p.arp_reply(CLIENT_MAC, ip("8.8.8.8"), ROUTER, ip(PUBLIC)))
    play.send("wan", p.arp_reply(CLIENT_MAC, ip("172.17.0.9"), ROUTER, ip(PUBLIC)))
    play.send("wan", p.arp_request(CLIENT_MAC, 0, ip("172.16.200.5")))
    six = ip("2001:db8:ff::77")
    told = p.neighbor_advertisement((CLIENT_MAC, ROUTER), (six, ip("2001:db8:ff::1")), six, CLIENT_MAC)
    play.send("wan", told.with_(nw_ttl=254))
    assert play.known == NOTHING_KNOWN
    play.send("wan", told.with_(nd_tll=0, nd_options_type=0))
    assert play.known == NOTHING_KNOWN
    play.send("wan", told.with_(nw_ttl=255))
    assert play.known.neighbors == {("wan", ip_address(six)): Mac(CLIENT_MAC)}


# Rewrites: out


def test_a_nat_network_goes_out_under_the_uplink_s_address_and_answers_come_in() -> None:
    play = Play(world())
    assert play.send("web1", between("web1", "8.8.8.8")) == {"wan"}
    assert ends(play.sent) == (PUBLIC, 1000, "8.8.8.8", 80)
    assert play.send("wan", from_outside("8.8.8.8", PUBLIC, (80, 1000))) == {"web1"}
    assert ends(play.sent) == ("8.8.8.8", 80, "10.3.0.1", 1000)
    assert play.send("wan", from_outside("8.8.4.4", PUBLIC, (80, 1000))) == set()
    assert play.send("wan", from_outside("8.8.8.8", PUBLIC, (80, 1001))) == set()
    assert play.send("wan", p.ipv4_icmp((HOP_MAC, ROUTER), (ip("8.8.8.8"), ip(PUBLIC)))) == set()


def test_two_members_with_the_same_port_are_told_apart() -> None:
    play = Play(world())
    play.send("web1", between("web1", "8.8.8.8"))
    play.send("web2", between("web2", "8.8.8.8"))
    assert ends(play.sent) == (PUBLIC, 1001, "8.8.8.8", 80)
    assert play.send("wan", from_outside("8.8.8.8", PUBLIC, (80, 1001))) == {"web2"}
    assert ends(play.sent) == ("8.8.8.8", 80, "10.3.0.2", 1000)
    play.send("web1", ping("web1", "8.8.8.8"))
    assert play.send("web2", ping("web2", "8.8.8.8")) == set(), "there is no port to change"


def test_an_error_about_what_went_out_comes_back_in() -> None:
    play = Play(world())
    play.send("web1", between("web1", "8.8.8.8"))
    told = error(play.sent, "192.0.2.7", 11, 0).with_(eth_src=HOP_MAC, eth_dst=ROUTER)
    assert play.send("wan", told) == {"web1"}
    about = between("web1", "8.8.8.8").with_(eth_src=0, eth_dst=0)
    assert play.sent == p.icmp_error((ROUTER, mac("web1")), ip("192.0.2.7"), about, 11)


def test_a_routed_network_goes_out_under_another_address_only_with_a_rewrite() -> None:
    masquerade = Masquerade("out", "lan")
    snat = Snat("some", "lan", ip_address("172.16.200.10"), ip_address("172.16.200.11"))
    one = OneToOne("one", "lan", ip_address(ONE), Target("lan1"))
    for rewrites, name, expected in (
        ((), "lan1", "10.1.0.1"),
        ((masquerade,), "lan1", PUBLIC),
        ((masquerade, snat), "lan1", "172.16.200.10"),
        ((masquerade, snat, one), "lan1", ONE),
        ((masquerade, snat, one), "lan2", "172.16.200.10"),
    ):
        play = Play(world(rewrites=rewrites))
        assert play.send(name, between(name, "8.8.8.8")) == {"wan"}
        assert ends(play.sent)[0] == expected
        assert play.send("wan", from_outside("8.8.8.8", expected, (80, 1000))) == {name}


def test_the_second_address_of_a_range_is_taken_before_another_port() -> None:
    snat = Snat("some", "dmz", ip_address("172.16.200.10"), ip_address("172.16.200.11"))
    play, seen = Play(world(rewrites=(snat,))), []
    for name, l4_port in (("web1", 1000), ("web2", 1000), ("web1", 1001)):
        play.send(name, between(name, "8.8.8.8", (l4_port, 80)))
        seen.append(ends(play.sent)[:2])
    assert seen == [("172.16.200.10", 1000), ("172.16.200.11", 1000), ("172.16.200.10", 1001)]


def test_rules_see_the_member_s_own_address() -> None:
    assert Play(world(rule(DROP, "web1"))).send("web1", between("web1", "8.8.8.8")) == set()
    assert Play(world(rule(DROP, PUBLIC + "/32"))).send("web1", between("web1", "8.8.8.8")) == {"wan"}


# Rewrites: in


def test_a_forward_leads_in_and_its_answers_come_from_where_it_was_sent() -> None:
    play = Play(world(rewrites=(FORWARD,)))
    assert play.send("wan", from_outside("8.8.8.8", PUBLIC, (5000, 8800))) == {"web1"}
    assert ends(play.sent) == ("8.8.8.8", 5000, "10.3.0.1", 80)
    got = play.sent
    assert play.send("web1", turned(got)) == {"wan"}
    assert ends(play.sent) == (PUBLIC, 8800, "8.8.8.8", 5000)
    assert play.send("web1", error(got)) == {"wan"}
    about = from_outside("8.8.8.8", PUBLIC, (5000, 8800)).with_(eth_src=0, eth_dst=0)
    assert play.sent == p.icmp_error((ROUTER, HOP_MAC), ip(PUBLIC), about, 3, 1)
    for frame in (from_outside("8.8.8.8", PUBLIC), from_outside("8.8.8.8", PUBLIC, (5000, 8800), p.ipv4_tcp)):
        assert play.send("wan", frame) == set()


def test_a_forward_may_be_forbidden_and_another_way_in_may_not_be_opened_by_it() -> None:
    asked = from_outside("8.8.8.8", PUBLIC, (5000, 8800))
    assert Play(world(rule(DROP, "outside", "web1"), rewrites=(FORWARD,))).send("wan", asked) == set()
    assert Play(world(rule(DROP, "any", PUBLIC + "/32"), rewrites=(FORWARD,))).send("wan", asked) == {"web1"}
    play = Play(world(rewrites=(FORWARD,)))
    play.send("wan", asked)
    play.policy = world()
    assert play.send("wan", asked) == set(), "the forward is gone, and with it what let the connection in"


def test_several_targets_share_by_the_low_bits_of_the_source_port() -> None:
    both = replace(FORWARD, targets=(Target("web1", 80), Target("web2", 81)))
    play = Play(world(rewrites=(both,)))
    for l4_port, name, inside in ((5000, "web1", 80), (5001, "web2", 81), (5016, "web1", 80)):
        assert play.send("wan", from_outside("8.8.8.8", PUBLIC, (l4_port, 8800))) == {name}
        assert play.sent.get("udp_dst") == inside
    play.policy = world(rewrites=(FORWARD,))
    assert play.send("wan", from_outside("8.8.8.8", PUBLIC, (5001, 8800))) == set()
    assert {str(became.target) for became in play.known.leads.values()} == {"10.3.0.1", "10.3.0.2"}, (
        "it keeps its target"
    )


def test_an_address_of_its_own_leads_in_whole_and_a_forward_of_one_port_comes_first() -> None:
    whole = Forward("whole", "dmz", None, None, (Target("web1"),), ip_address(WEB))
    port = replace(FORWARD, address=ip_address(WEB), targets=(Target("web2"),))
    play = Play(world(rewrites=(whole, port)))
    assert play.send("wan", from_outside("8.8.8.8", WEB, (5, 7))) == {"web1"}
    assert play.send("wan", p.ipv4_icmp((HOP_MAC, ROUTER), (ip("8.8.8.8"), ip(WEB)))) == {"web1"}
    assert play.send("wan", from_outside("8.8.8.8", WEB, (5, 8800))) == {"web2"}
    assert play.send("wan", from_outside("8.8.8.8", PUBLIC, (5, 7))) == set()


def test_one_to_one_stands_for_a_member_in_both_directions() -> None:
    play = Play(world(rewrites=(OneToOne("one", "dmz", ip_address(ONE), Target("web2")),)))
    assert play.send("wan", from_outside("8.8.8.8", ONE)) == {"web2"}
    got = play.sent
    assert ends(got) == ("8.8.8.8", 5000, "10.3.0.2", 80)
    play.send("web2", turned(got))
    assert ends(play.sent) == (ONE, 80, "8.8.8.8", 5000)
    play.send("web2", between("web2", "8.8.8.8"))
    assert ends(play.sent) == (ONE, 1000, "8.8.8.8", 80)
    assert play.send("wan", turned(play.sent)) == {"web2"}
    play.send("web1", between("web1", "8.8.8.8"))
    assert ends(play.sent)[0] == PUBLIC


def test_one_to_one_without_state_changes_headers_and_rules_still_decide() -> None:
    one = OneToOne("one", "dmz", ip_address(ONE), Target("web2"), stateless=True)
    play = Play(world(rewrites=(one,)))
    assert play.send("wan", from_outside("8.8.8.8", ONE)) == {"web2"}
    got = play.sent
    play.send("web2", turned(got))
    assert ends(play.sent) == (ONE, 80, "8.8.8.8", 5000)
    assert play.send("web2", between("web2", "8.8.8.8")) == {"wan"}
    assert ends(play.sent) == (ONE, 1000, "8.8.8.8", 80)
    assert not play.known.leads
    assert not play.known.stands
    told = error(play.sent).with_(eth_src=HOP_MAC, eth_dst=ROUTER)
    assert play.send("wan", told) == set(), "what it is about is not what web2 sent"
    closed = Play(world(rule(DROP, "outside", "web2"), rewrites=(one,)))
    assert closed.send("wan", from_outside("8.8.8.8", ONE)) == set()


# Rewrites: outside addresses from inside


@pytest.mark.parametrize("stateless", [False, True])
def test_members_use_outside_addresses_like_the_world_does(stateless: bool) -> None:
    one = OneToOne("one", "dmz", ip_address(ONE), Target("web2"), stateless=stateless)
    policy = world(rewrites=(FORWARD, one), pairs=(Pair("lan", "dmz", Decision.ALLOW),))
    for asked, l4_port, member, inside in ((PUBLIC, 8800, "web1", 80), (ONE, 80, "web2", 80)):
        play = Play(policy)
        assert play.send("lan1", between("lan1", asked, (1000, l4_port)).with_(nw_ttl=9)) == {member}
        assert ends(play.sent) == (PUBLIC, 1000, ends(play.sent)[2], inside), "the target answers to the router"
        assert play.sent.get("nw_ttl") == 8
        assert play.send(member, turned(play.sent)) == {"lan1"}
        assert ends(play.sent) == (asked, l4_port, "10.1.0.1", 1000)
        assert (play.sent.eth_src, play.sent.eth_dst) == (ROUTER, mac("lan1"))


def test_a_member_reaches_itself_and_its_own_network_by_an_outside_address() -> None:
    play = Play(world(rewrites=(FORWARD,)))
    for name in ("web2", "web1"):
        ask = between(name, PUBLIC, (1000, 8800))
        assert play.send(name, ask) == {"web1"}
        assert play.send("web1", turned(play.sent)) == {name}
        assert ends(play.sent)[:2] == (PUBLIC, 8800)


def test_rules_and_defaults_see_who_uses_an_outside_address() -> None:
    ask = between("lan1", PUBLIC, (1000, 8800))
    assert Play(world(rewrites=(FORWARD,))).send("lan1", ask) == set(), "lan to dmz is inter_network"
    office = between("office1", PUBLIC, (1000, 8800))
    policy = world(rule(ALLOW, "office1", "web1"), rewrites=(FORWARD,))
    assert Play(policy).send("office1", office) == {"web1"}, "it needs no uplink of its own"


def test_an_outside_address_that_leads_nowhere_is_not_there() -> None:
    play = Play(world(rewrites=(Snat("some", "dmz", ip_address("172.16.200.10"), ip_address("172.16.200.11")),)))
    for target in (PUBLIC, "172.16.200.11", "172.17.0.1"):
        assert play.send("lan1", between("lan1", target)) == set()
        assert play.told == set()
        assert play.send("lan1", ping("lan1", target)) == set()
    assert play.known == NEIGHBORS


def test_a_forward_of_one_ip_version_lets_nothing_of_the_other_in() -> None:
    policy = world(rewrites=(Forward("pf", "dmz", p.UDP, 8001, (Target("web1", 80),), ip_address("2001:db8:ff::9")),))
    router = endpoint("web2", "dmz", 5, "10.3.0.2", "203.0.113.0/24")
    policy = replace(policy, endpoints={**policy.endpoints, "web2": router})
    asked = between("web2", "web1", (1000, 80)).with_(ip_src=ip("203.0.113.5"))
    assert Play(policy).send("web2", asked) == set()
