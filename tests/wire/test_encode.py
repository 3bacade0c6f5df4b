"""Encoded flows say what their text says: to ovs-ofctl(8) and to our own second reader."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from controller.errors import CompileError
from controller.flow import fields as f
from controller.flow.actions import Action, Ct, Load, Move, Nat, Output, Resubmit, SetField, ToController
from controller.flow.connections import Connections, End
from controller.flow.fields import Slice, whole
from controller.flow.flow import Flow
from controller.openflow import requests
from controller.openflow.decode_flow import UnknownFlow, decode_flow_mod
from controller.openflow.encode import encode_add, encode_delete, encode_delete_foreign, encode_match
from controller.openflow.packets import encode_packet_out
from controller.openflow.protocol import BundleControl, MeterCommand
from controller.switch import ForeignFlow
from tests.wire.flows import flows, one_of_each_action, one_of_each_field
from tests.wire.ofctl import print_messages, print_texts

EACH = one_of_each_field() + one_of_each_action()


def encode(group: Sequence[Flow]) -> list[bytes]:
    return [encode_add(flow, 0x1234) for flow in group]


def test_each_field_and_action_reads_as_its_text() -> None:
    printed = print_messages(encode(EACH))
    assert len(printed) == len(EACH)
    for flow, ours, theirs in zip(EACH, printed, print_texts(EACH), strict=True):
        assert ours == theirs, flow


@settings(max_examples=25, deadline=None, phases=set(Phase) - {Phase.shrink, Phase.explain})
@given(st.lists(flows(), min_size=20, max_size=40))
def test_generated_flows_read_as_their_text(group: list[Flow]) -> None:
    assert print_messages(encode(group)) == print_texts(group)


@pytest.mark.parametrize("flow", EACH, ids=str)
def test_each_field_and_action_decodes_to_itself(flow: Flow) -> None:
    assert decode_flow_mod(encode_add(flow, 1)) == (flow.cookie, flow)


@settings(max_examples=300, deadline=None)
@given(flows())
def test_generated_flows_decode_to_themselves(flow: Flow) -> None:
    cookie, decoded = decode_flow_mod(encode_add(flow, 1))
    assert (cookie, str(decoded)) == (flow.cookie, str(flow))
    assert decoded == flow


@settings(max_examples=300, deadline=None)
@given(flows(), st.data())
def test_damaged_flow_mod_is_refused_or_decoded_never_a_crash(flow: Flow, data: st.DataObject) -> None:
    message = bytearray(encode_add(flow, 1))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UnknownFlow):
        decode_flow_mod(bytes(message[: data.draw(st.integers(8, len(message)))]))


def test_members_of_enumerations_are_the_numbers_they_are() -> None:
    def make(state: int, reason: int) -> Flow:
        actions: tuple[Action, ...] = (Load(f.PUNTED, reason), ToController(128, reason))
        return Flow(0, 1, (f.CT_STATE(state, state),), actions)

    named, plain = make(f.CtState.TRK, f.Punt.REJECT), make(0x20, 1)
    assert (named, str(named), encode_add(named, 1)) == (plain, str(plain), encode_add(plain, 1))


@pytest.mark.parametrize(
    ("flow", "text"),
    [
        (Flow(0, 1, (f.CT_STATE(0x20, 0x30),)), "ct_state=-inv+trk"),
        (Flow(0, 1, (f.CT_STATE(0x21, 0x21), f.ETH_TYPE(0x0800), f.IP_PROTO(1))), "icmp,ct_state=+new+trk"),
        (Flow(0, 1, (f.ETH_TYPE(0x0800), f.IP_PROTO(1), f.ICMP_TYPE(8))), "icmp,icmp_type=8"),
        (Flow(0, 1, (f.ETH_TYPE(0x0800), f.IP_PROTO(132), f.SCTP_DST(9))), "sctp,sctp_dst=9"),
        (Flow(0, 1, (f.ETH_TYPE(0x86DD), f.IP_PROTO(132), f.SCTP_SRC(8, 8))), "sctp6,sctp_src=8/8"),
        (Flow(0, 1, (f.CONJ_ID(7), f.ETH_TYPE(0x0800), f.NW_TTL(1))), "ip,conj_id=7,nw_ttl=1"),
        (Flow(0, 1, (f.CT_NW_SRC(0x0A000000, 0xFF000000),)), "ct_nw_src=10.0.0.0/8"),
        (Flow(0, 1, (f.CT_IPV6_DST(1),)), "ct_ipv6_dst=::1"),
        (Flow(0, 1, (f.KEPT(1),)), "ct_mark=0x1/0x1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_match_is_written_in_ovs_ofctls_words(flow: Flow, text: str) -> None:
    assert str(flow) == f"cookie={flow.cookie:#x},table=0,priority=1,{text},actions=drop"


def test_messages_around_flows_are_what_ovs_ofctl_reads() -> None:
    foreign = ForeignFlow(table=3, priority=9, cookie=5, match=encode_match((f.IN_PORT(4), f.ETH_TYPE(0x0806))))
    inner = encode_delete(0x7470000000000001, 9)
    messages = [
        inner,
        encode_delete_foreign(foreign, 9),
        requests.bundle_control(BundleControl.OPEN_REQUEST, 7, 9),
        requests.bundle_control(BundleControl.COMMIT_REQUEST, 7, 9),
        requests.bundle_control(BundleControl.DISCARD_REQUEST, 7, 9),
        requests.meter_mod(MeterCommand.ADD, 3, 100, 9),
        requests.meter_mod(MeterCommand.MODIFY, 4, 200, 9),
        encode_packet_out((SetField(f.REG0, 7), Load(f.ADMITTED, 1), Resubmit(9)), bytes(12) + b"\x88\xb5", 9),
        requests.barrier_request(9),
        requests.hello(9),
        requests.echo_request(9),
        requests.features_request(9),
    ]
    assert print_messages(messages) == [
        "OFPT_FLOW_MOD (OF1.4): DEL table:255 priority=0 cookie:0x7470000000000001/0xffffffffffffffff actions=drop",
        "OFPT_FLOW_MOD (OF1.4): DEL_STRICT table:3 priority=9,arp,in_port=4 cookie:0x5/0xffffffffffffffff actions=drop",
        "OFPT_BUNDLE_CONTROL (OF1.4):",
        "OFPT_BUNDLE_CONTROL (OF1.4):",
        "OFPT_BUNDLE_CONTROL (OF1.4):",
        "OFPT_METER_MOD (OF1.4): ADD meter=3 pktps burst bands=",
        "OFPT_METER_MOD (OF1.4): MOD meter=4 pktps burst bands=",
        "OFPT_PACKET_OUT (OF1.4): in_port=CONTROLLER "
        "actions=set_field:0x7->reg0,load:0x1->NXM_NX_REG8[17],resubmit(,9) data_len=14",
        "OFPT_BARRIER_REQUEST (OF1.4):",
        "OFPT_HELLO (OF1.4):",
        "OFPT_ECHO_REQUEST (OF1.4): 0 bytes of payload",
        "OFPT_FEATURES_REQUEST (OF1.4):",
    ]


def test_what_conntrack_is_to_forget_is_what_ovs_ofctl_reads() -> None:
    messages = [
        requests.ct_flush(Connections(65533, 4, 17, asked=End(0xC6336402, 53), answers_from=End(0x0A000009, 5353)), 9),
        requests.ct_flush(Connections(65534, 6, answers_to=End(1)), 9),
    ]
    first, second = print_messages(messages)
    original, reply = re.findall("'(.*?)'", first)
    assert first.startswith("NXT_CT_FLUSH (OF1.4): zone=65533")
    assert "ct_nw_dst=198.51.100.2,ct_tp_src=0,ct_tp_dst=53,ct_nw_proto=17" in original
    assert reply.startswith("ct_nw_src=10.0.0.9,")
    assert "ct_tp_src=5353,ct_tp_dst=0" in reply
    original, reply = re.findall("'(.*?)'", second)
    assert second.startswith("NXT_CT_FLUSH (OF1.4): zone=65534")
    assert "ct_ipv6_src=::,ct_ipv6_dst=::,ct_tp_src=0,ct_tp_dst=0,ct_nw_proto=0" in original
    assert "ct_ipv6_src=::,ct_ipv6_dst=::1,ct_tp_src=0,ct_tp_dst=0" in reply


@pytest.mark.parametrize(
    ("flow", "why"),
    [
        (Flow(0, 0x10000, ()), "priority"),
        (Flow(256, 1, ()), "table"),
        (Flow(0, 1, (f.IP_PROTO(256),)), "match value"),
        (Flow(0, 1, (f.VLAN_VID(0x2000),)), "match value within its octets but not its bits"),
        (Flow(0, 1, (f.IPV4_SRC(1, 1 << 32),)), "mask"),
        (Flow(0, 1, (), (SetField(f.VLAN_VID, 0x2000),)), "set_field value"),
        (Flow(0, 1, (), (SetField(f.IN_PORT, 0x10000),)), "in_port is set with 16 bits"),
        (Flow(0, 1, (), (Load(Slice("x", f.REG0, 0, 3), 8),)), "load value"),
        (Flow(0, 1, (), (Move(whole(f.ETH_SRC), whole(f.REG0)),)), "widths"),
        (Flow(0, 1, (), (Output(1 << 32),)), "port"),
        (Flow(0, 1, (), (Load(whole(f.XXREG3), 1),)), "load of more than 64 bits"),
        (Flow(0, 1, (), (Ct(0x10000, 1),)), "zone"),
        (Flow(0, 1, (), (Ct(whole(f.REG8), 1),)), "zone of 32 bits"),
        (Flow(0, 1, (), (Ct(1, 255),)), "the table that means none"),
        (Flow(0, 1, (), (Ct(1, 1, True, Nat("src", 4, 1 << 32)),)), "address"),
        (Flow(0, 1, (), (Ct(1, 1, True, Nat("src", 4, 0, 9)),)), "address that means none"),
        (Flow(0, 1, (), (Ct(1, 1, True, Nat("src", 4, 1, 1, (0, 9))),)), "port that means none"),
        (Flow(0, 1, (), (Ct(1, 1, True, Nat("src", 4, 1, 1, (1, 1 << 16))),)), "port of nat"),
        (Flow(0, 1, (), (Ct(1, 1, True, Nat("to", 4, 1, 1)),)), "kind of nat"),
        (Flow(0, 1, (), (Ct(1, 1, True, Nat("src", 5, 1, 1)),)), "version of nat"),
        (Flow(0, 1, (), (Ct(1, 1, True, None, ((f.KEEP, f.ZONE),)),)), "width in exec"),
        (Flow(0, 1, (), (ToController(1, 0),)), "meter"),
        (Flow(0, 1, (), (ToController(1 << 16, 1),)), "octets for the controller"),
        (Flow(0, 1, (), goto=256), "goto"),
        (Flow(0, 1, (), tuple(Output(port) for port in range(1, 4100))), "length"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_place_on_the_wire_is_refused_with_the_flow(flow: Flow, why: str) -> None:
    with pytest.raises(CompileError, match="cannot be put into an OpenFlow message"):
        encode_add(flow, 1)


def test_flow_that_fits_a_message_but_no_bundle_message_is_refused() -> None:
    message = encode_add(Flow(0, 1, (), tuple(Output(port) for port in range(1, 4092))), 1)
    assert 65535 - 16 < len(message) <= 65535
    with pytest.raises(CompileError, match="more than an OpenFlow bundle message can carry"):
        requests.bundle_add(1, 1, message)
