"""What the policy's words mean, sentence by sentence: the cases a reader would ask about."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from controller.flow import packet as p
from controller.flow.packet import Packet
from controller.mac import Mac
from controller.policy.firewall import Action, Decision, Service
from controller.policy.meaning import NOTHING_KNOWN, Known, changed_pairs, deliver, judge, matrix, pairs, reachable
from controller.policy.model import OUTSIDE, Attach, Endpoint, Members, Network, Pair, Policy, Vlan
from controller.policy.rewrites import Forward, Target
from tests.unit.meaning_world import endpoint, rule, tcp, world

W1, W2, W3, NAS, TRUNK = (0x020000000000 | i for i in (1, 2, 3, 9, 8))
STRANGER, OTHER = 0x02000000AA01, 0x02000000AA02


def v4(text: str) -> int:
    return int(ip_address(text))


v6 = v4
IP1, IP2, IP4, NAS_IP, TRUNK_IP = (v4(f"192.168.5.{i}") for i in (1, 2, 4, 9, 8))
V61, V62 = v6("fd00::1"), v6("fd00::2")
CIDRS = (ip_network("192.168.5.0/24"), ip_network("fd00::/64"))


def member(name: str, networks: str, mac: int | None, ips: str, attach: Attach = Attach.UNTAGGED) -> Endpoint:
    addresses = tuple(map(ip_address, ips.split()))
    return Endpoint(name, tuple(networks.split()), name, attach, mac=Mac(mac) if mac else None, ips=addresses)


def policy_of(networks: list[Network], *endpoints: Endpoint) -> Policy:
    return Policy({n.name: n for n in networks}, {e.name: e for e in endpoints}, {})


GREEN, PINK = Network("green", Vlan(10), cidrs=CIDRS), Network("pink", Vlan(20), cidrs=CIDRS)
OPEN = Network("lan", Vlan(30), cidrs=CIDRS, members=Members.OPEN, macs_per_port=2)
THREE_POINT = policy_of(
    [GREEN, PINK],
    member("green1", "green", W1, "192.168.5.1 fd00::1"),
    member("green2", "green", W2, "192.168.5.2 fd00::2"),
    member("pink1", "pink", W3, "192.168.5.4"),
    member("nas", "green pink", NAS, "192.168.5.9"),
    member("trunk", "green pink", TRUNK, "192.168.5.8", Attach.TAGGED),
    member("away", "green", 0x02000000000A, "192.168.5.10"),
)
PORTS = {"green1": 1, "green2": 2, "pink1": 3, "nas": 4, "trunk": 5}
LAN = policy_of(
    [OPEN],
    member("a", "lan", None, ""),
    member("b", "lan", None, ""),
    member("c", "lan", None, "", Attach.TAGGED),
    member("server", "lan", W1, "192.168.5.1 fd00::1"),
)
LAN_PORTS = {"a": 1, "b": 2, "c": 3, "server": 4}


def reached(frame: Packet, in_port: int, policy: Policy = THREE_POINT, known: Known = NOTHING_KNOWN) -> set[int]:
    """The ports that get the frame as it was, tags aside."""
    deliveries, _ = deliver(policy, PORTS if policy is THREE_POINT else LAN_PORTS, in_port, frame, known)
    assert all(sent.with_tags() == frame.with_tags() for _, sent in deliveries)
    return {port for port, _ in deliveries}


def ping(src: int, dst: int, ip_src: int, ip_dst: int) -> Packet:
    return p.ipv4_icmp((src, dst), (ip_src, ip_dst))


# Networks and tags


def test_members_of_a_network_reach_each_other_and_nobody_else() -> None:
    assert reached(ping(W1, W2, IP1, IP2), 1) == {2}
    assert reached(ping(W1, W3, IP1, IP4), 1) == set()
    assert reached(p.ipv4_udp((W1, p.BROADCAST), (IP1, 0xFFFFFFFF), (1, 1)), 1) == {2, 4, 5}


def test_a_shared_member_reaches_the_members_of_all_its_networks() -> None:
    assert reached(ping(NAS, W1, NAS_IP, IP1), 4) == {1}
    assert reached(ping(NAS, W3, NAS_IP, IP4), 4) == {3}
    assert reached(ping(W3, NAS, IP4, NAS_IP), 3) == {4}


def test_a_shared_member_cannot_be_used_as_a_router() -> None:
    assert reached(ping(NAS, W3, IP1, IP4), 4) == set(), "what it forwards is not from its own address"
    assert reached(ping(W1, NAS, IP1, IP4), 1) == set(), "what it should forward is not handed to it"


def test_a_broadcast_of_an_untagged_shared_member_comes_once_to_another_with_the_same_networks() -> None:
    both = policy_of(
        [GREEN, PINK], member("x", "green pink", W1, "192.168.5.1"), member("y", "green pink", W2, "192.168.5.2")
    )
    frame = p.dhcp_discover(W1)
    assert deliver(both, {"x": 1, "y": 2}, 1, frame)[0] == {(2, frame)}


def test_a_tagged_member_gets_and_sends_one_tag() -> None:
    frame = ping(W1, TRUNK, IP1, TRUNK_IP)
    assert deliver(THREE_POINT, PORTS, 1, frame)[0] == {(5, frame.with_tags(10))}
    back = ping(TRUNK, W1, TRUNK_IP, IP1)
    assert deliver(THREE_POINT, PORTS, 5, back.with_tags(10))[0] == {(1, back)}


@pytest.mark.parametrize("tags", [(), (0,), (30,), (20,), (10, 10), (10, 20), (0, 10)])
def test_any_other_tag_of_a_tagged_member_does_not_reach_that_network(tags: tuple[int, ...]) -> None:
    assert reached(ping(TRUNK, W1, TRUNK_IP, IP1).with_tags(*tags), 5) == set()


@pytest.mark.parametrize("tags", [(0,), (10,), (10, 10)])
def test_an_untagged_member_may_not_send_tags(tags: tuple[int, ...]) -> None:
    assert reached(ping(W1, W2, IP1, IP2).with_tags(*tags), 1) == set()


def test_unbound_endpoints_and_unknown_ports_do_not_exist() -> None:
    assert reached(ping(W1, 0x02000000000A, IP1, v4("192.168.5.10")), 1) == set()
    assert reached(ping(W1, W2, IP1, IP2), 77) == set()
    assert judge(THREE_POINT, PORTS, 77, ping(W1, W2, IP1, IP2)).why == ("port 77 belongs to no endpoint",)


# Who speaks


@pytest.mark.parametrize(
    "change",
    [
        {"eth_src": W2},
        {"eth_src": 0},
        {"eth_src": 0x010000000001},
        {"ip_src": IP2},
        {"ip_src": 0},
        {"eth_dst": 0x0180C2000000},
        {"eth_dst": 0x0180C200000F},
        {"eth_type": 0x88CC},
        {"eth_type": p.ETH_RARP},
        {"eth_type": p.ETH_LLC},
    ],
)
def test_a_member_speaks_as_itself_only(change: dict[str, int]) -> None:
    frame = p.ipv4_udp((W1, p.BROADCAST), (IP1, 0xFFFFFFFF), (1, 1))
    assert reached(frame, 1) == {2, 4, 5}
    assert reached(frame.with_(**change), 1) == set()


def test_a_dhcp_client_may_ask_without_an_address_and_only_that() -> None:
    ask = p.dhcp_discover(W1)
    assert reached(ask, 1) == {2, 4, 5}
    for change in ({"ip_dst": IP2}, {"udp_src": 67}, {"udp_dst": 68}, {"nw_proto": 6}):
        assert reached(ask.with_(**change), 1) == set()


def test_arp_names_its_sender_truly() -> None:
    told = p.arp_reply(W1, IP1, W2, IP2)
    assert reached(told, 1) == {2}
    for change in ({"arp_sha": W3}, {"arp_spa": IP2}, {"arp_spa": 0}, {"arp_tpa": IP4}):
        assert reached(told.with_(**change), 1) == set()
    assert reached(told.with_(arp_tpa=0), 1) == {2}


def test_arp_probes_and_announcements_of_the_own_address_go_to_everybody() -> None:
    assert reached(p.arp_request(W1, 0, IP1), 1) == {2, 4, 5}
    assert reached(p.arp_request(W1, 0, IP2), 1) == set()
    assert reached(p.arp_request(W1, IP1, IP1), 1) == {2, 4, 5}


def test_ipv6_is_for_members_with_an_ipv6_address() -> None:
    frame = p.ipv6_udp((W1, W2), (V61, V62), (1, 1))
    assert reached(frame, 1) == {2}
    assert reached(frame.with_(ipv6_src=int(Mac(W1).link_local), ipv6_dst=int(Mac(W2).link_local)), 1) == {2}
    assert reached(frame.with_(ipv6_src=V62), 1) == set()
    assert reached(frame.with_(ipv6_dst=v6("fd00::3")), 1) == set()
    assert reached(p.ipv6_udp((NAS, W1), (int(Mac(NAS).link_local), V61), (1, 1)), 4) == set()


@pytest.mark.parametrize(("kind", "passes"), [(128, True), (133, True), (134, False), (137, False), (143, True)])
def test_members_advertise_no_routes(kind: int, passes: bool) -> None:
    frame = p.icmpv6((W1, p.multicast_mac(p.ALL_NODES)), (V61, p.ALL_NODES), kind)
    assert bool(reached(frame, 1)) == passes


def test_neighbor_discovery_names_its_sender_truly() -> None:
    told = p.neighbor_advertisement((W1, W2), (V61, V62), V61, W1)
    assert reached(told, 1) == {2}
    assert reached(told.with_(nd_tll=0, nd_options_type=0), 1) == {2}
    assert reached(told.with_(nd_tll=W3), 1) == set()
    assert reached(told.with_(nd_target=V62), 1) == set()
    assert reached(p.icmpv6((W1, W2), (V61, V62), p.ADVERT, code=1), 1) == set()
    asked = p.neighbor_solicitation(W1, V61, V62, W1).with_(eth_dst=W2, ipv6_dst=V62)
    assert reached(asked, 1) == {2}
    assert reached(asked.with_(nd_sll=W3), 1) == set()
    probe = p.neighbor_solicitation(W1, 0, V61)
    assert reached(probe, 1) == {2, 4, 5}, "duplicate address detection is for everybody"


# Answers of the switch


def test_arp_for_a_declared_member_is_answered_to_the_asker_alone() -> None:
    deliveries, _ = deliver(THREE_POINT, PORTS, 1, p.arp_request(W1, IP1, IP2))
    assert deliveries == {(1, p.arp_reply(W2, IP2, W1, IP1))}


def test_arp_for_nobody_and_for_another_network_is_dropped() -> None:
    assert reached(p.arp_request(W1, IP1, v4("192.168.5.77")), 1) == set()
    assert reached(p.arp_request(W1, IP1, IP4), 1) == set()
    assert reached(p.arp_request(W1, IP1, v4("192.168.5.10")), 1) == set()


def test_a_shared_member_is_told_the_mac_in_the_network_that_has_the_address() -> None:
    deliveries, _ = deliver(THREE_POINT, PORTS, 4, p.arp_request(NAS, NAS_IP, IP4))
    assert deliveries == {(4, p.arp_reply(W3, IP4, NAS, NAS_IP))}
    tagged, _ = deliver(THREE_POINT, PORTS, 5, p.arp_request(TRUNK, TRUNK_IP, IP4).with_tags(20))
    assert tagged == {(5, p.arp_reply(W3, IP4, TRUNK, TRUNK_IP).with_tags(20))}


def test_a_unicast_arp_request_goes_to_its_target() -> None:
    assert reached(p.arp_request(W1, IP1, IP2, eth_dst=W2), 1) == {2}


def test_a_solicitation_is_answered_to_the_asker_alone() -> None:
    deliveries, _ = deliver(THREE_POINT, PORTS, 1, p.neighbor_solicitation(W1, V61, V62, W1))
    told = p.neighbor_advertisement((W2, W1), (V62, V61), V62, W2)
    group = p.neighbor_solicitation(W1, V61, V62, W1)
    assert deliveries == {(1, told)}
    assert reached(group.with_(nd_target=v6("fd00::77")), 1) == set()
    assert reached(group.with_(nd_sll=0, nd_options_type=0), 1) == {2, 4, 5}, "it has no room for an answer"


# Egress


@pytest.mark.parametrize(
    ("ip_dst", "passes"),
    [
        ("192.168.5.2", True),
        ("192.168.5.3", False),
        ("192.168.5.255", True),
        ("224.0.0.5", True),
        ("255.255.255.255", True),
    ],
)
def test_a_member_is_handed_what_is_addressed_to_it(ip_dst: str, passes: bool) -> None:
    assert reached(ping(W1, W2, IP1, v4(ip_dst)), 1) == ({2} if passes else set())


def test_a_network_of_two_addresses_has_no_broadcast_address() -> None:
    green = replace(GREEN, cidrs=(ip_network("192.168.5.0/31"),))
    policy = policy_of([green], member("x", "green", W1, "192.168.5.0"), member("y", "green", W2, "192.168.5.1"))
    frame = ping(W2, W1, IP1, v4("192.168.5.0"))
    assert deliver(policy, {"x": 1, "y": 2}, 2, frame)[0] == {(1, frame)}
    assert deliver(policy, {"x": 1, "y": 2}, 2, frame.with_(ip_dst=IP1))[0] == set()


# Open networks


def test_what_is_not_learned_goes_to_all_learning_ports() -> None:
    assert reached(ping(STRANGER, OTHER, 7, 8), 1, LAN) == {2, 3}
    assert reached(ping(W1, OTHER, IP1, 8), 4, LAN) == {1, 2, 3}


def test_what_is_learned_goes_to_one_port_and_the_newest_port_counts() -> None:
    _, known = deliver(LAN, LAN_PORTS, 2, ping(OTHER, p.BROADCAST, 7, 0xFFFFFFFF))
    assert known.learned == {("lan", Mac(OTHER)): 2}
    assert reached(ping(STRANGER, OTHER, 7, 8), 1, LAN, known) == {2}
    _, known = deliver(LAN, LAN_PORTS, 3, ping(OTHER, p.BROADCAST, 7, 0xFFFFFFFF).with_tags(30), known)
    assert known.learned == {("lan", Mac(OTHER)): 3}
    assert reached(ping(STRANGER, OTHER, 7, 8), 1, LAN, known) == {3}


def test_a_port_that_is_full_may_use_what_it_has_and_nothing_more() -> None:
    known = Known({("lan", Mac(STRANGER)): 1, ("lan", Mac(OTHER)): 1})
    assert reached(ping(STRANGER, W1, 7, IP1), 1, LAN, known) == {4}
    assert reached(ping(0x02000000AA03, W1, 7, IP1), 1, LAN, known) == set()
    assert reached(p.dhcp_discover(0x02000000AA03), 1, LAN, known) == set()


def test_a_learning_port_cannot_take_what_is_declared() -> None:
    assert reached(ping(W1, OTHER, 7, 8), 1, LAN) == set()
    assert reached(ping(STRANGER, OTHER, IP1, 8), 1, LAN) == set()
    assert reached(p.arp_request(STRANGER, IP1, 8, OTHER), 1, LAN) == set()
    for address in (V61, int(Mac(W1).link_local)):
        assert reached(p.ipv6_udp((STRANGER, OTHER), (address, 8), (1, 1)), 1, LAN) == set()


def test_questions_about_declared_members_are_answered_and_others_flooded() -> None:
    deliveries, _ = deliver(LAN, LAN_PORTS, 1, p.arp_request(STRANGER, 7, IP1))
    assert deliveries == {(1, p.arp_reply(W1, IP1, STRANGER, 7))}
    assert reached(p.arp_request(STRANGER, 7, 8), 1, LAN) == {2, 3, 4}
    asked = p.neighbor_solicitation(STRANGER, 7, V61, STRANGER)
    assert {port for port, _ in deliver(LAN, LAN_PORTS, 1, asked)[0]} == {1}
    assert reached(asked.with_(nd_target=V62), 1, LAN) == {2, 3, 4}


# Reachability


def test_reachable_names_the_common_networks() -> None:
    assert reachable(THREE_POINT, "nas", "trunk") == ("green", "pink")
    assert reachable(THREE_POINT, "green1", "nas") == ("green",)
    assert reachable(THREE_POINT, "green1", "pink1") == ()
    assert reachable(THREE_POINT, "nas", "nas") == ()


def everybody(policy: Policy) -> set[tuple[str, str, str]]:
    """All pairs, one question at a time."""
    names = sorted((*policy.endpoints, *((OUTSIDE,) if policy.uplinks else ())))
    return {(min(a, b), max(a, b), where) for a in names for b in names for where in reachable(policy, a, b)}


def test_pairs_are_all_that_reachable_says_once() -> None:
    assert len(everybody(THREE_POINT)) > 3
    assert pairs(THREE_POINT) == everybody(THREE_POINT)


def test_a_matrix_has_a_row_for_each_name_and_columns_for_those_names_only() -> None:
    rows = list(matrix(THREE_POINT, ("pink1", "nas", "green1")))
    assert [row.source for row in rows] == ["pink1", "nas", "green1"]
    assert rows[1].reaches == (("green1", ("green",)), ("pink1", ("pink",)))


def test_frames_of_neighbors_in_the_matrix_arrive_and_others_do_not() -> None:
    for source in ("green1", "green2", "pink1", "nas"):
        for target in ("green1", "green2", "pink1", "nas"):
            one, two = THREE_POINT.endpoints[source], THREE_POINT.endpoints[target]
            assert one.mac is not None
            assert two.mac is not None
            frame = ping(one.mac.value, two.mac.value, int(one.ips[0]), int(two.ips[0]))
            arrives = reached(frame, PORTS[source]) == {PORTS[target]}
            assert arrives == bool(reachable(THREE_POINT, source, target))


def test_rules_say_who_opens_to_whom() -> None:
    closed = {"intra_network": Decision.DROP}
    web = tcp(80)
    assert reachable(world(), "green1", "green2") == ("green",)
    assert reachable(world(**closed), "green1", "green2") == ()
    one_way = world(rule(Action.ALLOW, "green1", "green2", web), **closed)
    assert reachable(one_way, "green1", "green2") == ("green",)
    assert reachable(one_way, "green2", "green1") == ()
    assert {pair for pair in pairs(one_way) if OUTSIDE not in pair} == {("green1", "green2", "green")}, "once"
    assert reachable(world(rule(Action.DROP, "green1", "any", web)), "green1", "green2") == ("green",), "a part passes"
    assert reachable(world(rule(Action.DROP, "green1")), "green1", "green2") == ()
    assert reachable(world(rule(Action.REJECT, "10.4.0.0/24")), "green1", "green2") == ("green",), "IPv6 passes"
    assert reachable(world(rule(Action.REJECT, "10.4.0.0/24 fd00:4::/64 fe80::/10")), "green1", "green2") == ()


def test_what_a_tier_passes_on_may_still_pass() -> None:
    tiers, service = ("one", "two"), tcp(80)
    passing, dropping = rule(Action.PASS, service=service, tier="one"), rule(Action.DROP, tier="one")
    assert reachable(world(passing, dropping, tiers=tiers), "green1", "green2") == ("green",)
    late = rule(Action.DROP, tier="two", name="late")
    assert reachable(world(passing, dropping, late, tiers=tiers), "green1", "green2") == ()
    assert reachable(world(rule(Action.LOG), rule(Action.PASS), rule(Action.DROP)), "green1", "green2") == ("green",)


def test_rules_of_another_ip_version_let_nothing_pass() -> None:
    echo = rule(Action.ALLOW, "web1", "web2", Service(p.ICMPV6))
    assert reachable(world(echo, intra_network=Decision.DROP), "web1", "web2") == (), "they have IPv4 only"


def test_reachable_names_the_way_through_the_router() -> None:
    assert reachable(world(), "lan1", "office1") == ()
    assert reachable(world(inter_network=Decision.ALLOW), "lan1", "office1") == ("lan->office",)
    assert reachable(world(inter_network=Decision.ALLOW), "lan1", "green1") == ()
    one_way = world(rule(Action.ALLOW, "lan1", "office1"))
    assert reachable(one_way, "lan1", "office1") == ("lan->office",)
    assert reachable(one_way, "office1", "lan1") == ()
    assert reachable(one_way, "lan2", "office1") == ()
    assert [row.reaches for row in matrix(one_way, ("lan1", "office1"))] == [
        (("office1", ("lan->office",)),),
        (),
    ]


def test_reachable_names_the_outside() -> None:
    assert reachable(world(), "lan1", OUTSIDE) == ("lan->outside",)
    assert reachable(world(), OUTSIDE, "lan1") == ("outside->lan",), "a routed network is known there"
    assert reachable(world(), "web1", OUTSIDE) == ("dmz->outside",)
    assert reachable(world(), OUTSIDE, "web1") == (), "one with NAT is not"
    assert reachable(world(), "office1", OUTSIDE) == (), "it has no uplink"
    assert reachable(world(), "green1", OUTSIDE) == ()
    assert reachable(world(), OUTSIDE, OUTSIDE) == ()
    forward = Forward("web", "dmz", p.TCP, 80, (Target("web1"),))
    led = world(rewrites=(forward,))
    assert reachable(led, OUTSIDE, "web1") == ("outside->dmz",)
    assert reachable(led, OUTSIDE, "web2") == ()
    assert reachable(world(rule(Action.ALLOW, "outside", "web2")), OUTSIDE, "web2") == (), "nothing leads there"
    shut = rule(Action.DROP, "outside", "web1")
    assert reachable(world(shut, rewrites=(forward,)), OUTSIDE, "web1") == ()
    assert reachable(world(rule(Action.DROP, "outside", "web1", tcp(22)), rewrites=(forward,)), OUTSIDE, "web1") != ()
    assert reachable(world(rule(Action.REJECT, "lan", "outside")), "lan1", OUTSIDE) == ()
    assert reachable(world(rule(Action.REJECT, "any", "192.0.2.0/24")), "lan1", OUTSIDE) != (), "others may be meant"
    closed = (Pair("lan", OUTSIDE, Decision.DROP), Pair(OUTSIDE, "dmz", Decision.DROP))
    assert reachable(world(pairs=closed), "lan1", OUTSIDE) == ()
    assert reachable(world(pairs=closed), OUTSIDE, "lan1") == ("outside->lan",)
    assert reachable(world(pairs=closed, rewrites=(forward,)), OUTSIDE, "web1") == ()
    with_six = endpoint("six", "dmz", 20, "2001:db8:3::1")
    policy = world()
    dmz = replace(policy.networks["dmz"], cidrs=(ip_network("2001:db8:3::/64"),), uplink="private")
    policy = replace(policy, networks={**policy.networks, "dmz": dmz}, endpoints={"six": with_six})
    assert reachable(policy, "six", OUTSIDE) == (), "that uplink leads nowhere by IPv6"
    assert [row.reaches for row in matrix(led, (OUTSIDE, "web1"))] == [
        (("web1", ("outside->dmz",)),),
        ((OUTSIDE, ("dmz->outside",)),),
    ]


ROUTERS = (
    world(),
    world(inter_network=Decision.ALLOW),
    world(rule(Action.ALLOW, "lan1", "office1"), intra_network=Decision.DROP),
    world(rule(Action.ALLOW, "office1", "lan1"), rule(Action.DROP, "green1")),
    world(rule(Action.REJECT, "lan"), inter_network=Decision.ALLOW),
    replace(world(), endpoints={name: each for name, each in world().endpoints.items() if name != "lan1"}),
)
"""They differ in rules, defaults and members."""


@pytest.mark.parametrize("policy", ROUTERS)
def test_pairs_through_the_router_are_all_that_reachable_says(policy: Policy) -> None:
    assert pairs(policy) == everybody(policy)


@pytest.mark.parametrize("old", ROUTERS)
@pytest.mark.parametrize("new", ROUTERS)
def test_pairs_that_come_and_go_are_told_whatever_changes(old: Policy, new: Policy) -> None:
    before, after = everybody(old), everybody(new)
    assert changed_pairs(old, new) == (after - before, before - after)
    assert old is new or before != after
