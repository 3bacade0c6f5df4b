"""The evaluator on tables small enough to read. tests/trace holds it against Open vSwitch itself."""

from __future__ import annotations

import pytest

from controller.flow import fields as f
from controller.flow import packet as p
from controller.flow.actions import Action, Clone, Learn, Load, Move, Output, PopVlan, PushVlan, Resubmit, SetField
from controller.flow.fields import Slice, Term, whole
from controller.flow.flow import Flow
from controller.flow.packet import Packet
from controller.proof.evaluate import MAX_DEPTH, MAX_LOOKUPS, EvaluationError, LearnedFlow, Tables, evaluate

ONE, TWO = 0x020000000001, 0x020000000002
FRAME = p.ipv4_udp((ONE, TWO), (1, 2), (67, 68))
ASKED = p.neighbor_solicitation(ONE, 1, 2, ONE)
IPV4 = f.ETH_TYPE(p.ETH_IPV4)
NS = (f.ETH_TYPE(p.ETH_IPV6), f.IP_PROTO(p.ICMPV6), f.ICMPV6_TYPE(p.SOLICIT), f.ICMPV6_CODE(0))
NA = (f.ETH_TYPE(p.ETH_IPV6), f.IP_PROTO(p.ICMPV6), f.ICMPV6_TYPE(p.ADVERT), f.ICMPV6_CODE(0))
WORD, BIT = whole(f.REG0), Slice("bit", f.REG2, 0, 1)


def do(*actions: Action, table: int = 0, goto: int | None = None, match: tuple[Term, ...] = ()) -> Flow:
    return Flow(table, 1, match, actions, goto=goto)


def outputs(
    *flows: Flow, frame: Packet = FRAME, in_port: int = 1, vlan_limit: int = 1
) -> tuple[tuple[int, Packet], ...]:
    return evaluate(Tables(flows), in_port, frame, vlan_limit=vlan_limit).outputs


def ports(*flows: Flow, frame: Packet = FRAME, in_port: int = 1) -> list[int]:
    return [port for port, _ in outputs(*flows, frame=frame, in_port=in_port)]


def test_a_miss_and_a_flow_without_actions_drop() -> None:
    assert ports() == []
    assert ports(do(), do(Output(2), table=1)) == []


def test_the_highest_priority_that_matches_decides() -> None:
    flows = [Flow(0, 3, (f.IN_PORT(7),), (Output(3),)), Flow(0, 2, (IPV4,), (Output(4),)), do(Output(5))]
    assert ports(*flows) == [4]
    assert ports(*flows, in_port=7) == [3]
    assert ports(*flows, frame=p.arp_request(ONE, 1, 2)) == [5]


def test_two_flows_of_one_priority_that_match_and_differ_are_an_error() -> None:
    flows = [Flow(0, 2, (IPV4,), (Output(4),)), Flow(0, 2, (f.IN_PORT(1),), (Output(5),))]
    with pytest.raises(EvaluationError, match="one priority"):
        ports(*flows)
    assert ports(*flows, in_port=9) == [4]


def test_two_flows_of_one_priority_that_do_the_same_are_none() -> None:
    assert ports(Flow(0, 2, (IPV4,), (Output(4),)), Flow(0, 2, (f.IN_PORT(1),), (Output(4),))) == [4]


def test_one_key_with_two_actions_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="one key"):
        Tables([do(Output(4)), do(Output(5))])


def test_masks_match_under_the_mask_only() -> None:
    group = f.ETH_DST(1 << 40, 1 << 40)
    assert ports(do(Output(2), match=(group,)), frame=p.arp_request(ONE, 1, 2)) == [2]
    assert ports(do(Output(2), match=(group,))) == []


def test_a_frame_does_not_leave_where_it_came_in_unless_in_port_is_cleared() -> None:
    assert ports(do(Output(1), Output(2))) == [2]
    assert ports(do(SetField(f.IN_PORT, 0), Output(1))) == [1]


def test_outputs_keep_their_order_and_doubles_and_what_was_set_before_them() -> None:
    changed = FRAME.with_(eth_src=TWO)
    assert outputs(do(Output(3), SetField(f.ETH_SRC, TWO), Output(2), Output(2))) == (
        (3, FRAME),
        (2, changed),
        (2, changed),
    )


def test_goto_follows_after_the_actions_and_a_miss_there_ends() -> None:
    assert ports(do(Output(3), goto=2), do(Output(4), table=2, goto=5)) == [3, 4]


def test_resubmit_shares_registers_and_frame_and_comes_back() -> None:
    inner = do(Load(WORD, 7), SetField(f.ETH_SRC, TWO), table=3)
    seven = do(Output(2), table=4, match=(WORD(7),))
    assert outputs(do(Resubmit(3), Output(5), goto=4), inner, seven) == (
        (5, FRAME.with_(eth_src=TWO)),
        (2, FRAME.with_(eth_src=TWO)),
    )


def test_a_goto_inside_a_resubmit_returns_to_the_caller() -> None:
    assert ports(do(Resubmit(1), Output(9)), do(goto=2, table=1), do(Output(8), table=2)) == [8, 9]


def test_clone_restores_frame_tags_registers_and_in_port() -> None:
    inside = (Load(WORD, 7), SetField(f.IN_PORT, 0), PushVlan(), SetField(f.VLAN_VID, 0x100A), Output(2))
    flows = [do(Clone(inside), Output(1), Output(3), goto=1), do(Output(4), table=1, match=(WORD(0),))]
    assert outputs(*flows) == ((2, FRAME.with_tags(10)), (3, FRAME), (4, FRAME))


def test_slices_leave_the_other_bits_alone() -> None:
    high, low = Slice("high", f.REG0, 16, 16), Slice("low", f.REG0, 0, 16)
    flows = [do(Load(high, 1), Load(low, 2), Move(high, low), goto=1), do(Output(2), table=1, match=(WORD(0x10001),))]
    assert ports(*flows) == [2]


def test_registers_start_at_zero() -> None:
    assert ports(do(Output(2), match=(WORD(0), BIT(0)))) == [2]


@pytest.mark.parametrize(
    ("tags", "term", "matches"),
    [
        ((), f.VLAN_VID(0), True),
        ((0,), f.VLAN_VID(0), False),
        ((0,), f.VLAN_VID(0x1000), True),
        ((10,), f.VLAN_VID(0x100A), True),
        ((10, 20), f.VLAN_VID(0x100A), True),
        ((20, 10), f.VLAN_VID(0x100A), False),
        ((), f.VLAN_VID(0x1000, 0x1000), False),
        ((0,), f.VLAN_VID(0x1000, 0x1000), True),
    ],
)
def test_only_the_outer_tag_is_matched_and_vid_0_is_a_tag(tags: tuple[int, ...], term: Term, matches: bool) -> None:
    assert bool(ports(do(Output(2), match=(term,)), frame=FRAME.with_tags(*tags))) == matches


def test_tags_come_off_and_go_on_from_outside() -> None:
    frame = FRAME.with_tags(10)
    assert outputs(do(PopVlan(), Output(2)), frame=frame) == ((2, FRAME),)
    assert outputs(do(PopVlan(), Output(2)), frame=FRAME) == ((2, FRAME),)
    pushed = do(PushVlan(), SetField(f.VLAN_VID, 0x1014), Output(2))
    assert outputs(pushed, frame=frame) == ((2, FRAME.with_tags(20, 10)),)


def test_behind_the_last_readable_tag_a_further_tag_is_the_ethertype() -> None:
    frame = FRAME.with_tags(10, 20)
    by_type = [do(PopVlan(), goto=1), do(Output(2), table=1, match=(f.VLAN_VID(0), f.ETH_TYPE(p.ETH_VLAN)))]
    assert outputs(*by_type, frame=frame) == ((2, FRAME.with_tags(20)),)
    assert outputs(*by_type, frame=frame, vlan_limit=2) == ()
    by_tag = [do(PopVlan(), goto=1), do(Output(2), table=1, match=(f.VLAN_VID(0x1014), IPV4))]
    assert outputs(*by_tag, frame=frame) == ()
    assert outputs(*by_tag, frame=frame, vlan_limit=2) == ((2, FRAME.with_tags(20)),)


def test_a_solicitation_becomes_an_advertisement() -> None:
    turn = do(SetField(f.ICMPV6_TYPE, p.ADVERT), SetField(f.ND_RESERVED, p.SOLICITED_OVERRIDE), goto=1, match=NS)
    tell = do(
        SetField(f.ND_OPTIONS_TYPE, p.TLL_OPTION),
        SetField(f.ND_TLL, TWO),
        Output(2),
        table=1,
        match=(*NA, f.ND_TARGET(2)),
    )
    ((_, told),) = outputs(turn, tell, frame=ASKED)
    assert told == ASKED.with_(icmpv6_type=p.ADVERT, nd_reserved=0x60000000, nd_options_type=2, nd_tll=TWO)
    ((_, bare),) = outputs(turn, tell, frame=p.neighbor_solicitation(ONE, 1, 2))
    assert bare.get("nd_tll") == 0, "there is no option that could carry the address"


def test_an_absent_option_is_zero() -> None:
    absent = do(Output(2), match=(*NS, f.ND_SLL(0)))
    assert ports(absent, frame=p.neighbor_solicitation(ONE, 1, 2)) == [2]
    assert ports(absent, frame=ASKED) == []


def learn(limit: int = 2, cookie: int = 1) -> Learn:
    macs = ((whole(f.ETH_SRC), whole(f.ETH_DST)),)
    return Learn(1, cookie, 9, 300, limit, match=macs, loads=((whole(f.IN_PORT), WORD),), result=BIT)


def send(flows: list[Flow], *frames: tuple[int, int, int]) -> tuple[list[list[int]], tuple[LearnedFlow, ...]]:
    """frames: (port, source, destination). The ports each goes to, and what is learned in the end."""
    learned: tuple[LearnedFlow, ...] = ()
    went = []
    for port, src, dst in frames:
        result = evaluate(Tables(flows), port, p.raw(src, dst, p.ETH_IPV4), learned)
        went.append([to for to, _ in result.outputs])
        learned = result.learned
    return went, learned


SHOW_RESULT = [do(Output(10), table=2, match=(BIT(0),)), do(Output(11), table=2, match=(BIT(1),))]


def test_learning_stops_at_the_limit_and_says_so_but_renews_what_it_has() -> None:
    went, learned = send([do(learn(), goto=2), *SHOW_RESULT], (1, 2, 9), (1, 4, 9), (1, 6, 9), (1, 4, 9))
    assert went == [[11], [11], [10], [11]]
    assert len(learned) == 2


def test_a_mac_that_moves_leaves_its_place_to_another() -> None:
    flows = [Flow(0, 1, (f.IN_PORT(port),), (learn(1, port),), goto=2) for port in (1, 2)] + SHOW_RESULT
    went, learned = send(flows, (1, 2, 9), (1, 4, 9), (2, 2, 9), (1, 4, 9))
    assert went == [[11], [10], [11], [11]]
    assert {flow.cookie: flow.match[0][1] for flow in learned} == {2: 2, 1: 4}


def test_what_a_frame_teaches_is_seen_by_the_next_one_only() -> None:
    known = [do(Output(port), table=2, match=(WORD(port),)) for port in (0, 3)]
    went, _ = send([do(learn(), Resubmit(1), goto=2), *known], (3, 2, 2), (4, 6, 2))
    assert went == [[0], [3]]


MALFORMED = {
    "lacks its prerequisite": [
        do(match=(f.IPV4_SRC(1),)),
        do(match=(IPV4, f.UDP_SRC(1))),
        do(match=(*NS, f.ND_TLL(1))),
        do(SetField(f.ARP_OP, 2)),
        do(SetField(f.ICMPV6_TYPE, 136), SetField(f.ND_TLL, 1), match=NS),
        do(Move(whole(f.ARP_SPA), WORD)),
        do(SetField(f.VLAN_VID, 0x100A)),
        do(Clone((SetField(f.ARP_OP, 2),))),
    ],
    "cannot be set": [do(SetField(f.ETH_TYPE, 1)), do(SetField(f.REG0, 1 << 32))],
    "wider": [do(Load(BIT, 2))],
    "width": [do(Move(BIT, WORD))],
    "backwards": [do(goto=0), do(goto=1, table=2)],
    "tags at most": [do(PushVlan(), PushVlan(), match=(f.VLAN_VID(0x1000, 0x1000),))],
    "canonical": [do(match=((f.REG0.index, 2, 1),)), do(match=((f.REG0.index, 0, 0),))],
}


@pytest.mark.parametrize(("what", "at"), [(what, at) for what, flows in MALFORMED.items() for at in range(len(flows))])
def test_flows_that_a_switch_would_refuse_are_errors(what: str, at: int) -> None:
    with pytest.raises(EvaluationError, match=what):
        Tables([MALFORMED[what][at]])


def test_the_limits_of_a_switch_are_errors() -> None:
    with pytest.raises(EvaluationError, match=f"deeper than {MAX_DEPTH}"):
        ports(do(Resubmit(0)))
    with pytest.raises(EvaluationError, match=f"more than {MAX_LOOKUPS}"):
        ports(do(*[Resubmit(1)] * MAX_LOOKUPS), do(table=1))


def test_reserved_ports_are_not_modelled_but_the_local_one() -> None:
    assert ports(do(Output(0xFFFFFFFE))) == [0xFFFFFFFE]
    with pytest.raises(EvaluationError, match="reserved"):
        ports(do(Output(0xFFFFFFFB)))
