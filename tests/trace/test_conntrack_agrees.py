"""The evaluator's conntrack against that of the userspace datapath: real frames, one after the other, both in step.

Every table ends in one that writes what conntrack has said of the packet into its MAC addresses, so that what comes
out of the switch shows it.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address
from random import Random

import pytest

from controller.flow import fields as f
from controller.flow import packet as p
from controller.flow.actions import Action, Clone, Ct, DecTtl, Learn, Load, Move, Nat, Output, Resubmit, SetField
from controller.flow.fields import CtState, Slice, Term, whole
from controller.flow.flow import Flow
from controller.flow.frame import ACK, SYN, form_frame, parse_frame
from controller.flow.packet import Packet
from controller.proof.conntrack import NO_CONNECTIONS
from controller.proof.evaluate import MAX_RECIRCULATIONS, EvaluationError, LearnedFlow, Result, Tables, evaluate
from tests.trace.conftest import PORTS
from tests.trace.switch import CANARY_FLOW, Switch

SHOW = 9
LEARNED = 8
ETH = (0x020000000001, 0x020000000002)
A, B, C, X, Y = (int(ip_address(f"10.0.0.{last}")) for last in (1, 2, 3, 8, 9))
A6, B6, C6, X6 = (int(ip_address(f"2001:db8::{last}")) for last in (1, 2, 3, 8))
IPV4, IPV6 = f.ETH_TYPE(p.ETH_IPV4), f.ETH_TYPE(p.ETH_IPV6)
TRK, INV, NEW = CtState.TRK, CtState.INV, CtState.NEW
KNOWN = f.CT_STATE(TRK, TRK | INV)
REG = whole(f.REG0)
ZONE_REG = Slice("zone_reg", f.REG8, 0, 16)
LOW_MARK, HIGH_MARK = Slice("low_mark", f.CT_MARK, 0, 4), Slice("high_mark", f.CT_MARK, 8, 4)
NIBBLE = Slice("nibble", f.REG0, 0, 4)


def part(field: f.Field, low: int, n_bits: int) -> Slice:
    return Slice(field.name, field, low, n_bits)


STATE_AND_MARK = (
    Move(part(f.CT_STATE, 0, 8), part(f.ETH_SRC, 40, 8)),
    Move(part(f.CT_MARK, 0, 16), part(f.ETH_SRC, 0, 16)),
)


def told(version: int) -> tuple[Action, ...]:
    """All of the tuple, in the frames that leave through ports 3 and 4."""
    src, dst = (f.CT_NW_SRC, f.CT_NW_DST) if version == 4 else (f.CT_IPV6_SRC, f.CT_IPV6_DST)
    return (
        *STATE_AND_MARK,
        Move(part(f.CT_NW_PROTO, 0, 8), part(f.ETH_SRC, 32, 8)),
        Move(part(src, 0, 32), part(f.ETH_DST, 16, 32)),
        Move(part(f.CT_TP_SRC, 0, 16), part(f.ETH_DST, 0, 16)),
        Output(3),
        Move(part(dst, 0, 32), part(f.ETH_DST, 16, 32)),
        Move(part(f.CT_TP_DST, 0, 16), part(f.ETH_DST, 0, 16)),
        Output(4),
    )


SHOWING = [
    Flow(SHOW, 0, (), (*STATE_AND_MARK, Output(2))),
    Flow(SHOW, 1, (IPV4, KNOWN), told(4)),
    Flow(SHOW, 1, (IPV6, KNOWN), told(6)),
]


class Both:
    """The switch and the evaluator with the same flows, fed the same frames."""

    def __init__(self, switch: Switch, flows: list[Flow]) -> None:
        self.switch = switch
        self.flows = [*flows, *SHOWING]
        switch.forget_connections()
        switch.load([*self.flows, CANARY_FLOW])
        self.tables = Tables(self.flows)
        self.connections = NO_CONNECTIONS
        self.learned: tuple[LearnedFlow, ...] = ()

    def expect(self, frame: Packet, port: int = 1) -> Result:
        """What the evaluator says; nothing is sent yet."""
        return evaluate(
            self.tables, port, frame, self.learned, connections=self.connections, vlan_limit=1, sctp_ports=False
        )

    def send(self, frame: Packet, port: int = 1, *, flags: int = SYN, reuse: Result | None = None) -> Result:
        """Both agree on what comes out; what they say."""
        result = reuse or self.expect(frame, port)
        self.connections, self.learned = result.connections, result.learned
        sent = self.switch.pass_through(port, form_frame(frame, tcp_flags=flags), PORTS)
        came = sorted(((to, parse_frame(data)) for to, data in sent), key=str)
        met = "\n".join(map(str, result.trail))
        assert came == sorted(result.outputs, key=str), f"{frame} at {port}: {result.connections}\n{met}"
        return result

    def states(self, frame: Packet, port: int = 1, *, flags: int = SYN) -> list[CtState]:
        """What conntrack says of a frame wherever it is shown."""
        outputs = self.send(frame, port, flags=flags).outputs
        return [CtState(out.eth_src >> 40) for to, out in outputs if to in (2, 3)]


def udp(src: int, dst: int, ports: tuple[int, int] = (1, 80)) -> Packet:
    return (p.ipv4_udp if src >> 32 == 0 else p.ipv6_udp)(ETH, (src, dst), ports)


def tcp(src: int, dst: int, ports: tuple[int, int] = (1, 80)) -> Packet:
    return (p.ipv4_tcp if src >> 32 == 0 else p.ipv6_tcp)(ETH, (src, dst), ports)


def ping(src: int, dst: int, kind: int = 8, code: int = 0) -> Packet:
    return p.ipv4_icmp(ETH, (src, dst), kind, code)


def error(src: int, about: Packet, kind: int = 3, code: int = 3) -> Packet:
    return p.icmp_error(ETH, src, about, kind, code)


def commit_all(family: Term = IPV4, nat: Nat | None = None, back: Nat | None = None) -> list[Flow]:
    """Everything asks zone 1; what is new is committed; all is shown."""
    return [
        Flow(0, 1, (family,), (Ct(1, 1, nat=back),)),
        Flow(1, 2, (family, f.CT_STATE(TRK | NEW, TRK | NEW)), (Ct(1, SHOW, True, nat),)),
        Flow(1, 1, (), (Resubmit(SHOW),)),
    ]


S = CtState
NEW_, EST, RPL, REL, BAD = S.TRK | S.NEW, S.TRK | S.EST, S.TRK | S.EST | S.RPL, S.TRK | S.REL, S.TRK | S.INV


def test_a_connection_is_new_until_it_is_answered(switch_with_ports: Switch) -> None:
    both = Both(switch_with_ports, commit_all())
    assert both.states(udp(A, B)) == [NEW_]
    assert both.states(udp(A, B)) == [NEW_]
    assert both.states(udp(B, A, (80, 1))) == [RPL]
    assert both.states(udp(A, B)) == [EST]
    assert both.states(udp(A, B, (2, 80))) == [NEW_]
    assert both.states(udp(A, B, (0, 80))) == [BAD]


def test_tcp_that_keeps_to_its_order_is_the_same(switch_with_ports: Switch) -> None:
    both = Both(switch_with_ports, commit_all())
    assert both.states(tcp(A, B)) == [NEW_]
    assert both.states(tcp(A, B)) == [NEW_]
    assert both.states(tcp(B, A, (80, 1)), flags=SYN | ACK) == [RPL]
    assert both.states(tcp(A, B), flags=ACK) == [EST]
    assert both.states(tcp(B, A, (80, 1)), flags=ACK) == [RPL]
    assert both.states(error(C, tcp(A, B), 11, 0)) == [REL | S.RPL]


def test_icmp_and_protocols_without_ports(switch_with_ports: Switch) -> None:
    both = Both(switch_with_ports, commit_all())
    assert both.states(ping(A, B)) == [NEW_]
    assert both.states(ping(B, A, 0)) == [RPL]
    assert both.states(ping(A, B)) == [EST]
    assert both.states(ping(C, B, 0)) == [BAD]
    assert both.states(ping(A, B, 8, 1)) == [BAD]
    assert both.states(ping(A, B, 13)) == [NEW_]
    assert both.states(ping(A, B, 17)) == [BAD]
    gre = p.packet((), eth_src=1, eth_dst=2, eth_type=p.ETH_IPV4, nw_proto=47, ip_src=A, ip_dst=B)
    assert both.states(gre) == [NEW_]
    assert both.states(gre.with_(ip_src=B, ip_dst=A)) == [RPL]
    assert both.states(p.ipv4_sctp(ETH, (A, B), (1, 2))) == [NEW_]
    assert both.states(p.ipv4_sctp(ETH, (B, A), (5, 6))) == [RPL]
    assert both.states(error(C, ping(A, B), 11, 0)) == [REL | S.RPL]


def test_icmp_errors_are_related_to_what_is_known_only(switch_with_ports: Switch) -> None:
    both = Both(switch_with_ports, commit_all())
    both.send(udp(A, B))
    assert both.states(error(B, udp(A, B))) == [REL | S.RPL]
    assert both.states(error(C, udp(A, B), 11, 0)) == [REL | S.RPL]
    assert both.states(error(B, udp(A, B), 5, 0)) == [REL | S.RPL]
    assert both.states(error(A, udp(B, A, (80, 1)))) == [REL]
    assert both.states(udp(A, B)) == [NEW_], "an error is no answer"
    assert both.states(error(B, udp(A, B, (1, 81)))) == [BAD]
    assert both.states(error(B, udp(A, B)).with_(ip_dst=C)) == [BAD]
    assert both.states(error(B, error(A, udp(B, A, (80, 1))))) == [BAD]
    assert both.states(error(B, udp(A, B)).with_inner(None)) == [BAD]


def test_ipv6(switch_with_ports: Switch) -> None:
    both = Both(switch_with_ports, commit_all(IPV6))
    assert both.states(udp(A6, B6)) == [NEW_]
    assert both.states(udp(B6, A6, (80, 1))) == [RPL]
    for kind in (1, 2, 3, 4):
        assert both.states(error(C6, udp(A6, B6), kind, 0)) == [REL | S.RPL]
    assert both.states(p.icmpv6(ETH, (A6, B6), 128)) == [NEW_]
    assert both.states(p.icmpv6(ETH, (B6, A6), 129)) == [RPL]
    assert both.states(p.icmpv6(ETH, (C6, A6), 129)) == [BAD]
    assert both.states(p.neighbor_solicitation(ETH[0], A6, B6, ETH[0])) == [BAD]


def test_a_source_is_translated_both_ways_and_inside_errors(switch_with_ports: Switch) -> None:
    both = Both(switch_with_ports, commit_all(IPV4, Nat("src", 4, X, X), Nat()))
    assert both.states(udp(A, B)) == [NEW_ | S.SNAT]
    assert both.states(udp(A, B)) == [NEW_ | S.SNAT]
    ((_, back), _) = both.send(udp(B, X, (80, 1))).outputs
    assert (back.get("ip_dst"), CtState(back.eth_src >> 40)) == (A, RPL | S.DNAT)
    assert both.states(udp(A, B)) == [EST | S.SNAT]
    ((_, inside), _) = both.send(error(C, udp(X, B), 11, 0)).outputs
    assert (inside.get("ip_dst"), inside.inner) == (A, udp(A, B).with_(eth_src=0, eth_dst=0))
    ((_, outside), _) = both.send(error(A, udp(B, A, (80, 1)))).outputs
    assert outside.inner is not None
    assert (outside.get("ip_src"), outside.inner.get("ip_dst")) == (X, X)
    ((_, other), _) = both.send(udp(C, B)).outputs
    assert other.get("udp_src") == 2, "the port is taken: the next one"
    assert both.states(ping(A, B)) == [NEW_ | S.SNAT]
    assert both.states(ping(B, X, 0)) == [RPL | S.DNAT]
    with pytest.raises(EvaluationError, match="no free"):
        both.expect(ping(C, B))


def test_a_target_is_translated_both_ways_and_inside_errors(switch_with_ports: Switch) -> None:
    both = Both(switch_with_ports, commit_all(IPV4, Nat("dst", 4, B, B, (80, 80)), Nat()))
    assert both.states(udp(A, X, (1, 8800))) == [NEW_ | S.DNAT]
    assert both.states(udp(B, A, (80, 1))) == [RPL | S.SNAT]
    assert both.states(udp(A, X, (1, 8800))) == [EST | S.DNAT]
    assert both.states(error(B, udp(A, B))) == [REL | S.RPL | S.SNAT]
    assert both.states(error(C, udp(A, B), 11, 0)) == [REL | S.RPL | S.SNAT]
    assert both.states(error(A, udp(X, A, (8800, 1)))) == [REL | S.DNAT]
    assert both.states(udp(A, Y, (1, 8800))) == [NEW_ | S.DNAT], "another source port makes it free"


def test_ipv6_is_translated(switch_with_ports: Switch) -> None:
    both = Both(switch_with_ports, commit_all(IPV6, Nat("src", 6, X6, X6), Nat()))
    assert both.states(udp(A6, B6)) == [NEW_ | S.SNAT]
    assert both.states(udp(B6, X6, (80, 1))) == [RPL | S.DNAT]
    assert both.states(error(C6, udp(X6, B6), 3, 0)) == [REL | S.RPL | S.DNAT]
    assert both.states(p.icmpv6(ETH, (A6, B6), 128)) == [NEW_ | S.SNAT]


def test_an_address_and_a_port_come_from_their_ranges(switch_with_ports: Switch) -> None:
    both = Both(switch_with_ports, commit_all(IPV4, Nat("src", 4, X, Y, (5000, 5003)), Nat()))
    expected = both.expect(udp(A, B)).outputs[0][1]
    assert (expected.get("ip_src"), expected.get("udp_src")) == (X, 5000)
    sent = both.switch.pass_through(1, form_frame(udp(A, B)), PORTS)
    out = parse_frame(sent[0][1])
    assert out.get("ip_src") in (X, Y)
    assert out.get("udp_src") in range(5000, 5004)


def test_zones_are_apart_and_a_packet_has_the_state_of_the_last_one_asked(switch_with_ports: Switch) -> None:
    flows = [
        Flow(0, 1, (IPV4, f.IN_PORT(1)), (Ct(1, 1),)),
        Flow(0, 1, (IPV4, f.IN_PORT(2)), (Ct(2, 2),)),
        Flow(1, 2, (IPV4, f.CT_STATE(TRK | NEW, TRK | NEW)), (Ct(1, None, True),)),
        Flow(2, 2, (IPV4, f.CT_STATE(TRK | NEW, TRK | NEW)), (Ct(2, None, True),)),
        Flow(1, 1, (IPV4,), (Ct(2, SHOW),)),
        Flow(2, 1, (IPV4,), (Ct(1, SHOW),)),
    ]
    both = Both(switch_with_ports, flows)
    both.send(udp(A, B), 1)
    both.send(udp(B, A, (80, 1)), 2)
    assert both.states(udp(B, A, (80, 1)), 1) == [NEW_]
    assert both.states(udp(A, B), 1) == [RPL]
    assert both.states(udp(A, B), 2) == [EST]


def test_what_follows_ct_in_a_pass_sees_no_state_but_the_translated_packet_leaves(switch_with_ports: Switch) -> None:
    flows = [
        Flow(0, 1, (IPV4,), (Ct(1, 1),)),
        Flow(
            1,
            1,
            (IPV4,),
            (Ct(1, 2, True, Nat("src", 4, X, X)), Output(5), SetField(f.ETH_SRC, 7), Output(6), Resubmit(SHOW)),
        ),
        Flow(2, 2, (IPV4, f.IPV4_SRC(X)), (Resubmit(SHOW), Output(6))),
    ]
    both = Both(switch_with_ports, flows)
    result = both.send(udp(A, B))
    assert {(to, out.get("ip_src")) for to, out in result.outputs} == {(to, X) for to in (2, 3, 4, 5, 6)}
    flows[1] = Flow(1, 1, (IPV4,), (Ct(1, 2, True, Nat("src", 4, X, X)), SetField(f.IPV4_SRC, Y), Output(5)))
    result = Both(switch_with_ports, flows).send(udp(A, B))
    assert {out.get("ip_src") for to, out in result.outputs if to == 5} == {Y}


def test_the_bits_of_a_mark_are_set_one_by_one_and_stay(switch_with_ports: Switch) -> None:
    both = Both(
        switch_with_ports,
        [
            Flow(0, 1, (IPV4,), (Load(NIBBLE, 5), Ct(1, 1, True, mark=((NIBBLE, HIGH_MARK),)))),
            Flow(1, 2, (IPV4, f.IN_PORT(2)), (Load(NIBBLE, 3), Ct(1, SHOW, True, mark=((NIBBLE, LOW_MARK),)))),
            Flow(1, 1, (), (Resubmit(SHOW),)),
        ],
    )
    marks = [both.send(udp(A, B), port).outputs[0][1].eth_src & 0xFFFF for port in (1, 2, 1)]
    assert marks == [0x500, 0x503, 0x503]


def test_what_a_pass_teaches_is_known_to_the_passes_that_follow_it(switch_with_ports: Switch) -> None:
    learn = Learn(
        LEARNED, 0x7471 << 48 | 1, 5, 0, 9, ((whole(f.ETH_SRC), whole(f.ETH_SRC)),), ((whole(f.IN_PORT), REG),)
    )
    flows = [
        Flow(0, 1, (IPV4,), (Ct(1, 1), learn, Resubmit(LEARNED), Resubmit(2))),
        Flow(1, 1, (), (Resubmit(LEARNED), Resubmit(2))),
        *[Flow(2, 1, (REG(port),), (Output(port or 6),)) for port in (0, 5)],
    ]
    result = Both(switch_with_ports, flows).send(udp(A, B), 5)
    # Where the learned flow was seen, the port of arrival is loaded, and the frame does not leave there.
    assert [to for to, _ in result.outputs] == [6]


def test_time_to_live_is_counted_down_and_ends_the_list_of_actions(switch_with_ports: Switch) -> None:
    flows = [
        Flow(0, 1, (IPV4,), (Resubmit(1), Output(5))),
        Flow(1, 1, (IPV4,), (DecTtl(), Output(6)), goto=2),
        Flow(2, 1, (IPV4, f.NW_TTL(9)), (Output(4),)),
    ]
    both = Both(switch_with_ports, flows)
    assert [to for to, _ in both.send(udp(A, B).with_(nw_ttl=10)).outputs] == [6, 4, 5]
    assert [to for to, _ in both.send(udp(A, B).with_(nw_ttl=2)).outputs] == [6, 5]
    assert [to for to, _ in both.send(udp(A, B).with_(nw_ttl=1)).outputs] == [5]


def test_a_packet_goes_on_after_ct_so_often_and_no_more(switch_with_ports: Switch) -> None:
    for often in (MAX_RECIRCULATIONS, MAX_RECIRCULATIONS + 1):
        flows = [Flow(table, 1, (IPV4,), (Ct(table, table + 1),)) for table in range(often)]
        both = Both(switch_with_ports, [*flows, Flow(often, 1, (), (Output(5),))])
        if often == MAX_RECIRCULATIONS:
            assert len(both.send(udp(A, B)).outputs) == 1
        else:
            with pytest.raises(EvaluationError, match="more than"):
                both.expect(udp(A, B))
            assert both.switch.pass_through(1, form_frame(udp(A, B)), PORTS) == []


# Random tables


NATS = [None, None, Nat(), Nat(), Nat("src", 4, X, X), Nat("src", 4, Y, Y, (7, 7)), Nat("dst", 4, B, B, (80, 80))]
STATES = [(NEW, NEW), (S.EST, S.EST), (S.RPL, S.RPL), (S.REL, S.REL), (0, INV), (0, NEW), (S.DNAT, S.DNAT), (INV, INV)]
CHAIN = 4


def random_ct(random: Random, table: int) -> Ct:
    commit = random.random() < 0.6
    nat = random.choice(NATS)
    if nat is not None and nat.kind and not commit:
        nat = Nat()
    if nat == Nat() and random.random() < 0.9:
        commit = False
    mark = ((NIBBLE, random.choice([LOW_MARK, HIGH_MARK])),) if commit and random.random() < 0.4 else ()
    return Ct(
        zone=random.choice([1, 1, 2, ZONE_REG]),
        table=random.choice([*range(table + 1, CHAIN), SHOW, SHOW, None]),
        commit=commit,
        nat=nat,
        mark=mark,
    )


def random_actions(random: Random, table: int) -> tuple[Action, ...]:
    actions: list[Action] = []
    for _ in range(random.choice([1, 1, 2, 3])):
        match random.randrange(9):
            case 0 | 1 | 2 | 3:
                actions.append(random_ct(random, table))
            case 4:
                actions.append(SetField(random.choice([f.IPV4_SRC, f.IPV4_DST]), random.choice([A, B, C])))
            case 5:
                actions.append(Load(random.choice([NIBBLE, ZONE_REG]), random.choice([1, 2])))
            case 6:
                actions.append(Clone((random_ct(random, table),)))
            case 7:
                actions.append(Output(random.choice([5, 6])))
            case _:
                actions.append(Resubmit(random.choice([*range(table + 1, CHAIN), SHOW])))
    return tuple(actions)


def random_flow(random: Random, table: int, priority: int) -> Flow:
    match = [IPV4]
    if table and priority > 1:
        match.append(f.CT_STATE(*(TRK | bits for bits in random.choice(STATES))))
        if random.random() < 0.3:
            match[1:] = [KNOWN, f.CT_NW_SRC(random.choice([A, B, X]))]
        if random.random() < 0.2:
            match.append(HIGH_MARK(random.choice([1, 2])))
    elif priority > 1:
        match.append(random.choice([f.IPV4_SRC, f.IPV4_DST])(random.choice([A, B, X])))
    flow = Flow(table, priority, match, random_actions(random, table))
    try:
        Tables([flow])
    except EvaluationError:
        return random_flow(random, table, priority)
    return flow


def random_frame(random: Random, seen: list[Packet]) -> Packet:
    """A fresh packet, the answer to one that came out, or an error about it."""
    if seen and random.random() < 0.65:
        about = random.choice(seen)
        if about.inner is None and random.random() < 0.3:
            return error(random.choice([about.get("ip_dst"), C]), about.with_(eth_src=ETH[0], eth_dst=ETH[1]))
        turned = {"ip_src": about.get("ip_dst"), "ip_dst": about.get("ip_src")}
        if about.get("nw_proto") == p.UDP:
            turned |= {"udp_src": about.get("udp_dst"), "udp_dst": about.get("udp_src")}
        if about.get("nw_proto") == p.ICMP and about.inner is None:
            turned["icmp_type"] = 8 - about.get("icmp_type")
        return (about.with_(**turned) if random.random() < 0.7 else about).with_(eth_src=ETH[0], eth_dst=ETH[1])
    src, dst = random.sample([A, B, C, X, Y], 2)
    match random.randrange(6):
        case 0:
            return ping(src, dst, random.choice([8, 8, 0]))
        case 1:
            return p.packet((), eth_src=1, eth_dst=2, eth_type=p.ETH_IPV4, nw_proto=47, ip_src=src, ip_dst=dst)
        case _:
            return udp(src, dst, (random.choice([1, 2]), random.choice([80, 81])))


def test_both_agree_on_random_tables_and_conversations(switch_with_ports: Switch) -> None:
    shown: Counter[CtState] = Counter()
    chance = 0
    for seed in range(120):
        random = Random(seed)
        flows = [random_flow(random, table, priority) for table in range(CHAIN) for priority in range(1, 6)]
        both = Both(switch_with_ports, flows)
        seen: list[Packet] = []
        for _ in range(12):
            frame, port = random_frame(random, seen), random.choice([1, 2])
            try:
                expected = both.expect(frame, port)
            except EvaluationError as left_to_chance:
                assert any(word in str(left_to_chance) for word in ("one priority", "no free", "already", "no address"))  # noqa: PT017
                chance += 1
                continue
            try:
                both.send(frame, port, reuse=expected)
            except AssertionError as error:
                error.add_note(f"seed {seed}")
                raise
            seen += [out for _, out in expected.outputs]
            shown.update(CtState(out.eth_src >> 40) for to, out in expected.outputs if to in (2, 3))
    assert chance < 400, chance
    wanted = [NEW_, EST, RPL, REL | S.RPL, BAD, NEW_ | S.SNAT, NEW_ | S.DNAT, RPL | S.DNAT, RPL | S.SNAT, CtState(0)]
    assert not [state for state in wanted if shown[state] < 5], shown
