"""The evaluator against Open vSwitch on random tables: they use every action and know nothing of policies."""

from __future__ import annotations

from collections import Counter
from random import Random

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
from controller.flow.fields import LOCAL_PORT, CtState, Field, Slice, Term, whole
from controller.flow.flow import OWNER_LEARNED, Flow
from controller.flow.frame import form_frame, parse_frame
from controller.proof.evaluate import MAX_TAGS, EvaluationError, LearnedFlow, Result, Tables, evaluate
from tests.trace.conftest import PORTS
from tests.trace.switch import CANARY_FLOW, Switch
from tests.unit.strategies import GROUPS, IPS, MACS, seeded

TABLES = 5
LEARNED_TABLE = TABLES
GROUP_BIT = 1 << 40
WORD, OTHER_WORD = whole(f.REG0), whole(f.REG1)
BIT, OTHER_BIT = Slice("bit", f.REG2, 0, 1), Slice("other_bit", f.REG2, 5, 1)
REGISTERS = (WORD, OTHER_WORD, BIT, OTHER_BIT, Slice("low", f.REG1, 0, 8), Slice("high", f.REG0, 24, 8))
IPV4 = [int(ip) for ip in IPS if ip.version == 4]
IPV6 = [int(ip) for ip in IPS if ip.version == 6]
KINDS: list[tuple[tuple[Term, ...], dict[Field, list[int]]]] = [
    ((), {}),
    ((f.ETH_TYPE(p.ETH_VLAN),), {}),
    ((f.ETH_TYPE(p.ETH_IPV4),), {f.IPV4_SRC: IPV4, f.IPV4_DST: IPV4}),
    ((f.ETH_TYPE(p.ETH_IPV4), f.IP_PROTO(p.UDP)), {f.UDP_SRC: [67, 68], f.UDP_DST: [67, 68]}),
    ((f.ETH_TYPE(p.ETH_IPV4), f.IP_PROTO(p.TCP)), {f.TCP_SRC: [1024], f.TCP_DST: [80]}),
    (
        (f.ETH_TYPE(p.ETH_ARP),),
        {f.ARP_OP: [1, 2], f.ARP_SPA: IPV4, f.ARP_TPA: IPV4, f.ARP_SHA: [m.value for m in MACS], f.ARP_THA: [0]},
    ),
    ((f.ETH_TYPE(p.ETH_IPV6),), {f.IPV6_SRC: IPV6, f.IPV6_DST: IPV6}),
    (
        (f.ETH_TYPE(p.ETH_IPV6), f.IP_PROTO(p.ICMPV6), f.ICMPV6_TYPE(p.SOLICIT), f.ICMPV6_CODE(0)),
        {f.ND_TARGET: IPV6, f.ND_SLL: [0, MACS[0].value]},
    ),
    (
        (f.ETH_TYPE(p.ETH_IPV6), f.IP_PROTO(p.ICMPV6), f.ICMPV6_TYPE(p.ADVERT), f.ICMPV6_CODE(0)),
        {f.ND_TARGET: IPV6, f.ND_TLL: [0, MACS[0].value], f.ND_RESERVED: [0x60000000]},
    ),
]
VLANS: list[tuple[Term, ...]] = [(), (), (f.VLAN_VID(0),), (f.VLAN_VID(0x1000, 0x1000),), (f.VLAN_VID(0x100A),)]


def random_flow(random: Random, table: int, priority: int) -> Flow:
    terms, details = random.choice(KINDS)
    match = {term[0]: term for term in (*terms, *random.choice(VLANS))}
    for field, values in details.items():
        if random.random() < 0.3:
            match[field.index] = field(random.choice(values))
    for term in (
        f.IN_PORT(random.choice([1, 2, 3])),
        f.ETH_DST(GROUP_BIT, GROUP_BIT),
        f.ETH_SRC(random.choice(MACS).value),
        random.choice(REGISTERS)(random.choice([0, 1])),
    ):
        if random.random() < 0.15:
            match[term[0]] = term
    tags = match.get(f.VLAN_VID.index, (0, 0, 0))[1] >> 12
    actions = random_actions(random, table, details, tags, nested=False)
    goto = random.choice([None, *range(table + 1, TABLES)])
    return Flow(table, priority, match.values(), actions, goto=goto)


def random_actions(
    random: Random, table: int, details: dict[Field, list[int]], tags: int, nested: bool
) -> tuple[Action, ...]:
    actions: list[Action] = []
    for _ in range(random.choice([1, 2, 3, 4])):
        register, other = random.sample(REGISTERS, 2)
        macs = [mac.value for mac in MACS] + GROUPS[:1]
        match random.randrange(11):
            case 0 | 1:
                actions.append(Output(random.choice([1, 2, 3, 4])))
            case 2:
                actions.append(SetField(random.choice([f.ETH_SRC, f.ETH_DST]), random.choice(macs)))
            case 3:
                actions.append(Load(register, random.randrange(1 << min(register.n_bits, 8))))
            case 4 if register.n_bits == other.n_bits:
                actions.append(Move(register, other))
            case 5 if tags < MAX_TAGS:
                actions += [PushVlan(), SetField(f.VLAN_VID, 0x1000 | random.choice([10, 20]))]
                tags += 1
            case 6 if tags:
                actions.append(PopVlan())
                tags -= 1
            case 7 if table + 1 < TABLES:
                actions.append(Resubmit(random.randrange(table + 1, TABLES)))
            case 8 if not nested:
                actions.append(Clone(random_actions(random, table, details, tags, nested=True)))
            case 9 if details:
                field = random.choice(list(details))
                actions.append(SetField(field, random.choice(details[field])))
            case 10:
                actions.append(random.choice([SetField(f.IN_PORT, 0), random_learn(random), Resubmit(LEARNED_TABLE)]))
            case _:
                actions.append(Move(whole(f.ETH_SRC), whole(f.ETH_DST)))
    return tuple(actions)


def random_learn(random: Random) -> Learn:
    return Learn(
        table=LEARNED_TABLE,
        cookie=OWNER_LEARNED << 48 | random.choice([1, 2]),
        priority=100,
        hard_timeout_s=300,
        limit=random.choice([1, 2, 3]),
        match=((WORD, WORD), (whole(f.ETH_SRC), whole(f.ETH_DST))),
        loads=((whole(f.IN_PORT), OTHER_WORD),),
        result=random.choice([BIT, OTHER_BIT]),
    )


def random_flows(random: Random) -> list[Flow]:
    return [random_flow(random, table, priority) for table in range(TABLES) for priority in range(1, 9)]


def evaluate_or_none(
    tables: Tables, port: int, frame: p.Packet, learned: tuple[LearnedFlow, ...], vlan_limit: int
) -> Result | None:
    """None where a frame gets a third tag on its way, which random tables cannot help."""
    try:
        return evaluate(tables, port, frame, learned, vlan_limit=vlan_limit)
    except EvaluationError as error:
        if "tags at most" in str(error):
            return None
        raise


@pytest.mark.parametrize("vlan_limit", [1, 2])
def test_trace_and_evaluator_agree_on_random_tables(switch: Switch, vlan_limit: int) -> None:
    switch.limit_vlans(vlan_limit)
    met = set()
    try:
        for seed in range(150):
            flows = random_flows(Random(seed))
            switch.load(flows)
            tables = Tables(flows)
            learned: tuple[LearnedFlow, ...] = ()
            for port, frame in seeded(seed).frames:
                result = evaluate_or_none(tables, port, frame, learned, vlan_limit)
                if result is None:
                    continue
                learned = result.learned
                traced = switch.trace(port, frame)
                met |= set(result.trail)
                assert traced == tuple(to for to, _ in result.outputs), (
                    f"seed {seed}, port {port}: {frame}\n{result}\n{switch.trace_text(port, frame)}"
                )
    finally:
        switch.limit_vlans(1)
    used = {type(action) for flow in met for action in flow.actions}
    assert used == {Clone, Learn, Load, Move, Output, PopVlan, PushVlan, Resubmit, SetField}


def test_real_frames_leave_as_the_evaluator_says_on_random_tables(switch_with_ports: Switch) -> None:
    delivered = 0
    for seed in range(1000, 1030):
        flows = random_flows(Random(seed))
        switch_with_ports.load([*flows, CANARY_FLOW])
        tables = Tables(flows)
        learned: tuple[LearnedFlow, ...] = ()
        for port, frame in seeded(seed).frames:
            result = evaluate_or_none(tables, port, frame, learned, 1)
            if result is None or port == LOCAL_PORT:  # it has no dummy that writes a file
                continue
            learned = result.learned
            sent = switch_with_ports.pass_through(port, form_frame(frame), PORTS)
            came = sorted(((to, parse_frame(data)) for to, data in sent), key=str)
            assert came == sorted(result.outputs, key=str), f"seed {seed}, port {port}: {frame}\n{result.trail}"
            delivered += len(sent)
    assert delivered > 100


def learning_flow(port: int, cookie: int) -> Flow:
    """Learns, looks the destination up at once, and goes on to a table that shows all that came of it."""
    learn = Learn(
        table=LEARNED_TABLE,
        cookie=OWNER_LEARNED << 48 | cookie,
        priority=100,
        hard_timeout_s=300,
        limit=2,
        match=((whole(f.ETH_SRC), whole(f.ETH_DST)),),
        loads=((whole(f.IN_PORT), OTHER_WORD),),
        result=BIT,
    )
    return Flow(0, 1, (f.IN_PORT(port),), (learn, Resubmit(LEARNED_TABLE)), goto=1)


def test_trace_and_evaluator_agree_on_learning_with_limits_moves_and_renewals(switch: Switch) -> None:
    """A MAC that is new, known, known elsewhere; a limit that is reached; two ports that share a limit."""
    shown = [(bit, port) for bit in (0, 1) for port in (0, 1, 2, 3, 4)]
    flows = [learning_flow(port, cookie) for port, cookie in ((1, 1), (2, 2), (3, 3), (4, 3))]
    flows += [Flow(1, 1, (BIT(bit), OTHER_WORD(port)), (Output(10 + 10 * bit + port),)) for bit, port in shown]
    tables = Tables(flows)
    outcomes = set()
    for seed in range(30):
        random = Random(seed)
        switch.load(flows)
        learned: tuple[LearnedFlow, ...] = ()
        for _ in range(25):
            port, src, dst = random.choice([1, 2, 3, 4]), random.choice([2, 4, 6, 8]), random.choice([2, 4, 6, 8])
            frame = p.raw(src, dst, p.ETH_IPV4)
            result = evaluate(tables, port, frame, learned)
            outcomes |= {to for to, _ in result.outputs}
            learned = result.learned
            assert switch.trace(port, frame) == tuple(to for to, _ in result.outputs), f"{frame} at {port}: {learned}"
        assert len(switch.dump(LEARNED_TABLE)) == len(learned)
    assert outcomes == {10 + 10 * bit + port for bit, port in shown}


ARP = f.ETH_TYPE(p.ETH_ARP)
NS = (f.ETH_TYPE(p.ETH_IPV6), f.IP_PROTO(p.ICMPV6), f.ICMPV6_TYPE(p.SOLICIT), f.ICMPV6_CODE(0))
NA = (f.ETH_TYPE(p.ETH_IPV6), f.IP_PROTO(p.ICMPV6), f.ICMPV6_TYPE(p.ADVERT), f.ICMPV6_CODE(0))


@pytest.mark.parametrize("sll", [0, 0x020000000001])
@pytest.mark.parametrize("option", [(), (SetField(f.ND_OPTIONS_TYPE, p.TLL_OPTION),)])
def test_an_advertisement_made_of_a_solicitation_has_an_address_only_if_there_was_room_for_it(
    switch_with_ports: Switch, sll: int, option: tuple[SetField, ...]
) -> None:
    turn = Flow(0, 1, NS, (SetField(f.ICMPV6_TYPE, p.ADVERT), SetField(f.ND_RESERVED, p.SOLICITED_OVERRIDE)), goto=1)
    tell = Flow(1, 1, NA, (*option, SetField(f.ND_TLL, 0x020000000009), Output(2)))
    switch_with_ports.load([turn, tell, CANARY_FLOW])
    asked = p.neighbor_solicitation(0x020000000001, IPV6[0], IPV6[1], sll)
    ((_, told),) = evaluate(Tables([turn, tell]), 1, asked).outputs
    ((port, data),) = switch_with_ports.pass_through(1, form_frame(asked), PORTS)
    assert port == 2
    assert parse_frame(data) == told
    assert told.get("nd_tll") == (0x020000000009 if sll and option else 0)


def random_conjunctions(random: Random) -> list[Flow]:
    """One table of parts of conjunctions, flows with a conj_id, and plain ones, at priorities that interleave."""
    shapes = {number: (random.choice([2, 2, 3]), random.choice([10, 20, 30])) for number in range(1, 5)}
    flows: dict[tuple[int, tuple[Term, ...]], Flow] = {}
    conditions = [f.ETH_SRC(1), f.ETH_SRC(0, 1), f.ETH_DST(1), f.ETH_DST(2, 2), f.IN_PORT(1), f.IN_PORT(2), None]

    def add(priority: int, match: list[Term], *actions: Action) -> None:
        flow = Flow(0, priority, match, actions)
        flows.setdefault((priority, flow.match), flow)

    for _ in range(16):
        at = random.choice([10, 20, 30])
        parts = [number for number, (_, priority) in shapes.items() if priority == at]
        match = list({term[0]: term for term in random.choices(conditions, k=2) if term}.values())
        chosen = random.sample(parts, min(len(parts), random.choice([1, 1, 2])))
        if chosen:
            dimensions = [(number, shapes[number][0]) for number in chosen]
            add(at, match, *(Conjunction(number, random.randint(1, n), n) for number, n in dimensions))
    for number, (_, priority) in shapes.items():
        if random.random() < 0.8:
            add(random.choice([priority, 5, 25]), [f.CONJ_ID(number)], Output(10 + number))
    for priority in (5, 10, 15, 20, 25, 30):
        if random.random() < 0.4:
            match = [term for term in [random.choice(conditions)] if term]
            add(priority, match, Output(priority + 10))
    return list(flows.values())


def test_trace_and_evaluator_agree_on_conjunctive_matches(switch: Switch) -> None:
    went: Counter[str] = Counter()
    for seed in range(250):
        random = Random(seed)
        flows = random_conjunctions(random)
        switch.load(flows)
        tables = Tables(flows)
        for port in (1, 2, 3):
            for src in (0, 1):
                for dst in (1, 2, 3):
                    frame = p.raw(src, dst, p.ETH_IPV4)
                    try:
                        expected = tuple(to for to, _ in evaluate(tables, port, frame).outputs)
                    except EvaluationError:
                        went["chance"] += 1
                        continue
                    assert switch.trace(port, frame) == expected, f"seed {seed}, port {port}: {frame}\n" + "\n".join(
                        map(str, flows)
                    )
                    went["conjunctive" if expected and expected[0] < 15 else "plain" if expected else "nowhere"] += 1
    assert min(went[what] for what in ("conjunctive", "plain", "nowhere")) > 200, went
    assert went["chance"] < sum(went.values()) / 3, went


def test_what_goes_to_the_controller_goes_there_in_the_switch(switch: Switch) -> None:
    flows = [Flow(0, 1, (), (ToController(128, 3), Resubmit(1))), Flow(1, 1, (), (Load(WORD, 1), Output(2)))]
    switch.load(flows)
    frame = p.raw(2, 4, p.ETH_IPV4)
    text = switch.trace_text(1, frame)
    assert ("controller(reason=1" in text) == bool(evaluate(Tables(flows), 1, frame).punts)
    assert switch.trace(1, frame) == (2,)


IPV4_TYPE, IPV6_TYPE = f.ETH_TYPE(p.ETH_IPV4), f.ETH_TYPE(p.ETH_IPV6)
VALID = f.CT_STATE(CtState.TRK, CtState.TRK | CtState.INV)
ESTABLISHED = f.CT_STATE(CtState.EST, CtState.EST)
TO_ONE = Nat("src", 4, 1, 1)

REFUSED = {
    "action without ethertype": Flow(0, 1, (), (SetField(f.ARP_OP, 2),)),
    "action of the type that is only being set": Flow(0, 1, NS, (SetField(f.ICMPV6_TYPE, 136), SetField(f.ND_TLL, 1))),
    "third tag": Flow(0, 1, (f.VLAN_VID(0x100A),), (PushVlan(), PushVlan())),
    "tag set where none is": Flow(0, 1, (f.VLAN_VID(0),), (SetField(f.VLAN_VID, 0x100A),)),
    "move of a field that is not there": Flow(0, 1, (), (Move(whole(f.ARP_SPA), whole(f.ARP_TPA)),)),
    "read-only field": Flow(0, 1, (ARP,), (SetField(f.ETH_TYPE, 0x800),)),
    "goto backwards": Flow(3, 1, (ARP,), goto=2),
    "goto itself": Flow(3, 1, (ARP,), goto=3),
    "tuple without a state": Flow(0, 1, (IPV4_TYPE, f.CT_NW_SRC(1))),
    "tuple of what may be invalid": Flow(0, 1, (IPV4_TYPE, f.CT_STATE(0x20, 0x20), f.CT_NW_SRC(1))),
    "tuple without an ethertype": Flow(0, 1, (VALID, f.CT_NW_SRC(1))),
    "tuple of another version": Flow(0, 1, (IPV6_TYPE, VALID, f.CT_NW_SRC(1))),
    "tuple's protocol without a state": Flow(0, 1, (IPV4_TYPE, f.CT_NW_PROTO(6))),
    "tuple's protocol in part": Flow(0, 1, (IPV4_TYPE, VALID, f.CT_NW_PROTO(6, 6))),
    "move of a tuple without a state": Flow(0, 1, (IPV4_TYPE,), (Move(whole(f.CT_NW_SRC), WORD),)),
    "unknown flag of ct_state": Flow(0, 1, (f.CT_STATE(0x100, 0x100),)),
    "mark outside of ct": Flow(0, 1, (IPV4_TYPE,), (Load(whole(f.CT_MARK), 1),)),
    "state set": Flow(0, 1, (IPV4_TYPE,), (Load(whole(f.CT_STATE), 1),)),
    "conj_id set": Flow(0, 1, (), (Load(whole(f.CONJ_ID), 1),)),
    "conj_id in part": Flow(0, 1, (f.CONJ_ID(1, 1),)),
    "ct without ethertype": Flow(0, 1, (), (Ct(1, 2),)),
    "ct of arp": Flow(0, 1, (ARP,), (Ct(1, 2),)),
    "nat to an address without a commit": Flow(0, 1, (IPV4_TYPE,), (Ct(1, 2, nat=TO_ONE),)),
    "nat of another version": Flow(0, 1, (IPV6_TYPE,), (Ct(1, 2, True, TO_ONE),)),
    "nat backwards": Flow(0, 1, (IPV4_TYPE,), (Ct(1, 2, True, Nat("src", 4, 2, 1)),)),
    "mark without a commit": Flow(0, 1, (IPV4_TYPE,), (Ct(1, 2, mark=((WORD, whole(f.CT_MARK)),)),)),
    "commit of what is invalid": Flow(0, 1, (IPV4_TYPE, f.CT_STATE(0x30, 0x30)), (Ct(1, 2, True),)),
    "zone in a register of another width": Flow(0, 1, (IPV4_TYPE,), (Ct(WORD, 2),)),
    "dimension 0": Flow(0, 1, (), (Conjunction(1, 0, 2),)),
    "dimension beyond the last": Flow(0, 1, (), (Conjunction(1, 3, 2),)),
    "one dimension": Flow(0, 1, (), (Conjunction(1, 1, 1),)),
    "65 dimensions": Flow(0, 1, (), (Conjunction(1, 1, 65),)),
    "conjunction beside an output": Flow(0, 1, (), (Conjunction(1, 1, 2), Output(1))),
    "conjunction that goes on": Flow(0, 1, (), (Conjunction(1, 1, 2),), goto=3),
    "time to live of what has none": Flow(0, 1, (ARP,), (DecTtl(),)),
    "time to live in part": Flow(0, 1, (IPV4_TYPE, f.NW_TTL(1, 1))),
    "type in part": Flow(0, 1, (IPV4_TYPE, f.IP_PROTO(p.ICMP), f.ICMP_TYPE(1, 1))),
}
TAKEN = {
    "no state at all": Flow(0, 1, (f.CT_STATE(0),), (Output(1),)),
    "tuple of what is not invalid": Flow(0, 1, (IPV4_TYPE, VALID, f.CT_NW_SRC(1), f.CT_TP_DST(80))),
    "tuple of what is established": Flow(0, 1, (IPV6_TYPE, ESTABLISHED, f.CT_IPV6_DST(1), f.CT_NW_PROTO(6))),
    "ports of a tuple of any version": Flow(0, 1, (ESTABLISHED, f.CT_TP_SRC(1)), (Move(whole(f.CT_MARK), WORD),)),
    "ct in a register's zone": Flow(0, 1, (IPV4_TYPE,), (Ct(Slice("zone", f.REG8, 0, 16), 0, True, TO_ONE),)),
    "ct in a clone": Flow(0, 1, (IPV6_TYPE,), (Clone((Ct(65535, None, True, Nat()), DecTtl())),)),
    "two parts of one conjunction": Flow(0, 1, (), (Conjunction(1, 1, 2), Conjunction(1, 2, 2))),
    "64 dimensions": Flow(0, 1, (f.CONJ_ID(3),), (Conjunction(1, 64, 64),)),
    "icmp, sctp and ttl": Flow(0, 1, (IPV4_TYPE, f.IP_PROTO(p.SCTP), f.SCTP_SRC(1), f.NW_TTL(3))),
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_the_evaluator_takes_the_switch_takes_too(switch: Switch, what: str) -> None:
    Tables([TAKEN[what]])
    switch.load([TAKEN[what]])


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_evaluator_refuses_the_switch_refuses_too(switch: Switch, what: str) -> None:
    with pytest.raises(EvaluationError):
        Tables([REFUSED[what]])
    with pytest.raises(AssertionError, match="ovs-ofctl"):
        switch.load([REFUSED[what]])
