"""The evaluator on tables small enough to read. tests/trace holds it against Open vSwitch itself."""

from __future__ import annotations

import pytest

from controller.flow import fields as f
from controller.flow import packet as p
from controller.flow.actions import (
    Action,
    Clone,
    Conjunction,
    Ct,
    DecTtl,
    Learn,
    Load,
    Move,
    Nat,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    ToController,
)
from controller.flow.fields import CtState, Slice, Term, whole
from controller.flow.flow import Flow
from controller.flow.packet import Packet
from controller.proof.evaluate import (
    CONTROLLER_PORT,
    MAX_DEPTH,
    MAX_LOOKUPS,
    MAX_RECIRCULATIONS,
    EvaluationError,
    LearnedFlow,
    Tables,
    evaluate,
    evaluate_packet_out,
)

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


def test_learning_may_go_unreported_and_by_idle_time() -> None:
    macs = ((whole(f.ETH_SRC), whole(f.ETH_DST)),)
    quiet = Learn(1, 1, 9, 0, 1, match=macs, loads=((whole(f.IN_PORT), WORD),), idle_timeout_s=60)
    went, learned = send([do(quiet, goto=2), do(Output(10), table=2)], (1, 2, 9), (1, 4, 9))
    assert went == [[10], [10]]
    assert [flow.match[0][1] for flow in learned] == [2]


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
    "cannot be set": [
        do(SetField(f.ETH_TYPE, 1)),
        do(SetField(f.REG0, 1 << 32)),
        do(Load(whole(f.CT_MARK), 1)),
        do(Load(whole(f.CONJ_ID), 1)),
    ],
    "IP": [do(Ct(1, 2)), do(DecTtl())],
    "commit only": [
        do(Ct(1, 2, nat=Nat("src", 4, 1, 1)), match=(IPV4,)),
        do(Ct(1, 2, mark=((BIT, Slice("mark", f.CT_MARK, 0, 1)),)), match=(IPV4,)),
    ],
    "conjunction": [do(Conjunction(1, 1, 2), Output(1)), do(Conjunction(1, 1, 2), goto=1), do(Conjunction(1, 3, 2))],
    "in no list": [do(Clone((Conjunction(1, 1, 2),)))],
    "whole": [do(match=(f.CONJ_ID(1, 1),))],
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


TRACKED = f.CT_STATE(CtState.TRK, CtState.TRK | CtState.INV)


def test_ct_sends_a_copy_on_that_has_the_registers_and_a_state_and_the_rest_sees_neither() -> None:
    ask = do(Load(WORD, 7), Ct(1, 1, True), Load(WORD, 8), Output(9), goto=2, match=(IPV4,))
    after = do(Output(2), table=1, match=(IPV4, TRACKED, WORD(7), f.CT_NW_SRC(1), f.CT_TP_DST(68)))
    rest = do(Output(3), table=2, match=(f.CT_STATE(0), WORD(8)))
    result = evaluate(Tables([ask, after, rest]), 1, FRAME)
    assert [to for to, _ in result.outputs] == [2, 9, 3]
    assert len(result.connections) == 1
    assert result.trail == (ask, rest, after)


def test_connections_go_from_packet_to_packet() -> None:
    flows = [do(Ct(5, 1, True), match=(IPV4,))]
    flows += [do(Output(port), table=1, match=(f.CT_STATE(bit, bit),)) for port, bit in ((2, 1), (3, 8))]
    tables = Tables(flows)
    first = evaluate(tables, 1, FRAME)
    back = p.ipv4_udp((TWO, ONE), (2, 1), (68, 67))
    assert evaluate(tables, 1, back, connections=first.connections).outputs == ((3, back),)
    assert evaluate(tables, 1, back).outputs == ((2, back),)


def test_a_translated_packet_leaves_though_the_pass_that_asked_sees_it_as_it_was() -> None:
    flows = [
        do(Ct(1, None, True, Nat("src", 4, 9, 9)), Resubmit(1), match=(IPV4,)),
        do(Output(2), table=1, match=(IPV4, f.IPV4_SRC(1))),
    ]
    assert outputs(*flows) == ((2, FRAME.with_(ip_src=9)),)


def test_a_packet_goes_on_after_ct_so_often_only() -> None:
    flows = [do(Ct(1, table + 1), table=table, match=(IPV4,)) for table in range(MAX_RECIRCULATIONS)]
    assert ports(*flows, do(Output(2), table=MAX_RECIRCULATIONS)) == [2]
    with pytest.raises(EvaluationError, match="more than 6 times"):
        ports(do(Ct(1, 0), match=(IPV4,)))


def conjunction(number: int, *dimensions: Term, priority: int = 5) -> list[Flow]:
    n = len(dimensions)
    return [Flow(0, priority, (term,), (Conjunction(number, at + 1, n),)) for at, term in enumerate(dimensions)]


def test_a_conjunction_holds_where_every_dimension_does() -> None:
    flows = [*conjunction(7, f.ETH_SRC(ONE), f.ETH_DST(TWO)), do(Output(2), match=(f.CONJ_ID(7),)), Flow(0, 0, ())]
    assert ports(*flows) == [2]
    assert ports(*flows, frame=p.raw(ONE, ONE, 0x800)) == []


def test_a_flow_of_the_same_priority_is_met_before_a_conjunction_and_a_lower_one_is_not() -> None:
    flows = [*conjunction(7, f.ETH_SRC(ONE), f.ETH_DST(TWO)), do(Output(2), match=(f.CONJ_ID(7),))]
    assert ports(*flows, Flow(0, 4, (IPV4,), (Output(4),))) == [4], "the flow with conj_id is lower still"
    flows[-1] = Flow(0, 5, (f.CONJ_ID(7),), (Output(2),))
    assert ports(*flows, Flow(0, 4, (IPV4,), (Output(4),))) == [2]
    assert ports(*flows, Flow(0, 5, (IPV4,), (Output(4),))) == [4]


def test_conjunctions_that_leave_it_to_chance_are_errors() -> None:
    both = conjunction(7, f.ETH_SRC(ONE), f.ETH_DST(TWO)) + conjunction(8, f.IN_PORT(1), IPV4)
    seven, eight = do(Output(2), match=(f.CONJ_ID(7),)), do(Output(3), match=(f.CONJ_ID(8),))
    with pytest.raises(EvaluationError, match="one priority"):
        ports(*both, seven, eight)
    with pytest.raises(EvaluationError, match="lead nowhere"):
        ports(*both, seven)
    assert ports(*both) == []
    with pytest.raises(EvaluationError, match="differ in dimensions or priority"):
        Tables([*conjunction(7, IPV4, f.IN_PORT(1)), *conjunction(7, f.ETH_SRC(ONE), f.ETH_DST(TWO), priority=6)])


def test_time_to_live_is_counted_down_unless_it_is_not_said() -> None:
    flows = [do(DecTtl(), Output(2), match=(IPV4,), goto=1), do(Output(3), table=1)]
    assert outputs(*flows, frame=FRAME.with_(nw_ttl=2)) == tuple((to, FRAME.with_(nw_ttl=1)) for to in (2, 3))
    assert outputs(*flows) == ((2, FRAME), (3, FRAME))
    assert outputs(*flows, frame=FRAME.with_(nw_ttl=1)) == ()
    assert outputs(do(SetField(f.NW_TTL, 64), Output(2), match=(IPV4,))) == ((2, FRAME.with_(nw_ttl=64)),)


def test_a_time_to_live_that_is_not_said_is_that_of_a_packet_just_sent() -> None:
    assert ports(do(Output(2), match=(IPV4, f.NW_TTL(64)))) == [2]
    assert ports(do(Output(2), match=(*NS, f.NW_TTL(255))), frame=ASKED) == [2]


def test_what_is_handed_to_the_controller_is_told_with_all_that_was_known() -> None:
    punt = do(Load(WORD, 7), SetField(f.ETH_SRC, TWO), ToController(128, 3), Load(WORD, 8), Output(2))
    result = evaluate(Tables([punt]), 4, FRAME)
    (told,) = result.punts
    assert (told.packet, told.action, told.flow) == (FRAME.with_(eth_src=TWO), ToController(128, 3), punt)
    assert (told.get(f.REG0), told.get(f.IN_PORT), told.get(f.REG1)) == (7, 4, 0)
    assert [to for to, _ in result.outputs] == [2]


def test_a_packet_may_enter_a_later_table_with_registers_set() -> None:
    tables = Tables([do(Output(2), table=3, match=(WORD(7),))])
    assert [to for to, _ in evaluate(tables, 1, FRAME, table=3, registers={f.REG0: 7}).outputs] == [2]
    assert evaluate(tables, 1, FRAME, table=3).outputs == ()


def test_what_the_controller_sends_does_what_its_actions_say() -> None:
    tables = Tables([do(Output(2), table=3, match=(WORD(7), f.IN_PORT(CONTROLLER_PORT)))])
    result = evaluate_packet_out(tables, (SetField(f.REG0, 7), Resubmit(3), Output(5)), FRAME)
    assert result.outputs == ((2, FRAME), (5, FRAME))
    with pytest.raises(EvaluationError, match="prerequisite"):
        evaluate_packet_out(tables, (SetField(f.ARP_OP, 1),), FRAME)
