"""Compilation in units: with an earlier result or without, there and back again, the flows are the same."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis.strategies import DataObject, booleans, data, sampled_from, sets

from controller.diff import difference
from controller.errors import CompileError
from controller.flow.actions import Output, SetField
from controller.flow.fields import ETH_SRC, IN_PORT, ND_OPTIONS_TYPE, ND_RESERVED, NETWORK
from controller.flow.flow import Flow
from controller.mac import Mac
from controller.pipeline import EMITTERS, PIPELINE, TABLES
from controller.pipeline.compile import NOTHING, Compiled, compile_bridge
from controller.pipeline.render import render_pipeline
from controller.pipeline.rule_view import RuleViews
from controller.pipeline.rulebook import NO_BOOK, Rulebook, make_rulebook
from controller.pipeline.stage import MISS, Emit
from controller.pipeline.tally import Tally, changed_units
from controller.pipeline.view import BridgeView
from controller.policy.firewall import Action, Group, Peers, PortRange, Rule, Service
from controller.policy.model import Attach, Endpoint, Network, Policy, Route, Vlan
from tests.unit.meaning_world import PORTS, UPLINKS, world
from tests.unit.strategies import Case, cases

FEW = settings(max_examples=40, deadline=None)


def policy_of(n_networks: int, per_network: int) -> Policy:
    networks = {
        f"n{i}": Network(f"n{i}", vlan=Vlan(i + 1), cidrs=(IPv4Network(f"10.{i}.0.0/16"),)) for i in range(n_networks)
    }
    endpoints = {}
    for i in range(n_networks):
        for j in range(per_network):
            mac = Mac(0x020000000000 + i * 1000 + j + 1)
            name = f"e{i}-{j}"
            endpoints[name] = Endpoint(name, (f"n{i}",), name, mac=mac, ips=(IPv4Address(f"10.{i}.0.{j + 1}"),))
    return Policy(networks, endpoints, {})


def ports_of(policy: Policy) -> dict[str, int]:
    return {name: number for number, name in enumerate(policy.endpoints, 1)}


@FEW
@given(cases(max_frames=1), cases(max_frames=1))
def test_compiling_with_an_earlier_result_gives_the_flows_of_a_fresh_compile(one: Case, two: Case) -> None:
    first = compile_bridge(one.policy, one.bindings)
    there = compile_bridge(two.policy, two.bindings, first)
    back = compile_bridge(one.policy, one.bindings, there)
    assert there.flows() == compile_bridge(two.policy, two.bindings).flows()
    assert back.flows() == first.flows()


@FEW
@given(cases(max_frames=1), cases(max_frames=1))
def test_a_rulebook_made_with_an_earlier_one_is_as_a_fresh_one_of_these_ranks_and_so_are_its_flows(
    one: Case, two: Case
) -> None:
    book, compiled = NO_BOOK, NOTHING
    for case in (one, two, one):
        book = make_rulebook(case.policy, book)
        fresh = make_rulebook(case.policy, Rulebook(rules=RuleViews(ranks=book.rules.ranks)))
        assert book == fresh
        assert [book.classes.of(name) for name in case.policy.endpoints if fresh != NO_BOOK] == [
            fresh.classes.of(name) for name in case.policy.endpoints if fresh != NO_BOOK
        ]
        compiled = compile_bridge(case.policy, case.bindings, compiled, book=book)
        assert compiled.flows() == compile_bridge(case.policy, case.bindings, book=fresh).flows()


def test_a_rule_that_comes_or_goes_leaves_the_units_of_the_others_as_they_are() -> None:
    policy = policy_of(1, 3)
    rules = {f"r{i}": Rule(f"r{i}", Action.ALLOW, origin=Peers((f"e0-{i}",))) for i in range(3)}
    without = {name: rules[name] for name in ("r0", "r2")}
    book, compiled = NO_BOOK, NOTHING
    seen = []
    for some in (rules, without, rules):
        changed = replace(policy, rules=some)
        book = make_rulebook(changed, book)
        compiled = compile_bridge(changed, ports_of(policy), compiled, book=book)
        seen.append(compiled)
    assert seen[2].flows() == seen[0].flows()
    for name in without:
        assert seen[0].rules[name] is seen[1].rules[name] is seen[2].rules[name]


def test_a_member_that_leaves_a_group_leaves_the_other_flows_of_its_rules_as_they_are() -> None:
    policy = policy_of(2, 6)
    rule = Rule(
        "r",
        Action.ALLOW,
        origin=Peers(groups=("g",)),
        target=Peers(("e0-1", "e0-2", "e0-3")),
        service=Service(6, (PortRange(1, 9),)),
    )

    def with_group(*members: str) -> Policy:
        groups = {"g": Group("g", Peers(members)), "single": Group("single", Peers(("e1-1",)))}
        single = Rule("s", Action.DROP, origin=Peers(("e1-2",), groups=("single",)))
        return replace(policy, groups=groups, rules={"r": rule, "s": single})

    one, two = with_group("e1-1", "e1-2", "e1-3"), with_group("e1-2", "e1-3")
    book = make_rulebook(one)
    before = compile_bridge(one, ports_of(one), book=book)
    after = compile_bridge(two, ports_of(two), before, book=make_rulebook(two, book))
    assert after.flows() == compile_bridge(two, ports_of(two)).flows()
    kept = set(map(id, flows_of_rule(before, "r"))) & set(map(id, flows_of_rule(after, "r")))
    assert len(kept) == len(flows_of_rule(after, "r")) == len(flows_of_rule(before, "r")) - 1
    assert after.rules["s"] != before.rules["s"]


def flows_of_rule(compiled: Compiled, name: str) -> list[Flow]:
    flows = compiled.rules[name].flows
    return [*flows.rest, *(flow for one in flows.by_class for flow in one.flows.values())]


def test_a_member_that_joins_a_class_that_is_there_already_is_told_apart_from_then_on() -> None:
    policy = policy_of(1, 3)
    rules = {"r": Rule("r", Action.DROP, target=Peers(groups=("g",)))}
    one, two = (
        replace(policy, groups={"g": Group("g", Peers(members))}, rules=rules)
        for members in (("e0-0", "e0-1"), ("e0-0", "e0-1", "e0-2"))
    )
    book = make_rulebook(one)
    before = compile_bridge(one, ports_of(one), book=book)
    after = compile_bridge(two, ports_of(two), before, book=make_rulebook(two, book))
    assert before.flows() != after.flows() == compile_bridge(two, ports_of(two)).flows()


MEMBERS = tuple(policy_of(2, 5).endpoints)
SELECTED = ("app", "web")


@FEW
@given(data())
def test_members_that_come_and_go_one_by_one_leave_what_a_fresh_compile_makes(draw: DataObject) -> None:
    policy = policy_of(2, 5)
    members = sets(sampled_from(MEMBERS), max_size=6).map(lambda names: Peers(tuple(sorted(names))))
    groups = {name: Group(name, draw.draw(members)) for name in ("one", "two")}
    groups["both"] = Group("both", Peers(groups=("one", "two"), cidrs=(IPv4Network("10.1.0.0/30"),)))
    groups["labelled"] = Group("labelled", selector=(SELECTED,))
    sides = sets(sampled_from(tuple(groups)), max_size=2).map(lambda names: Peers(groups=tuple(sorted(names))))
    service = sampled_from([Service(), Service(6, (PortRange(1, 9),)), Service(17, (PortRange(1, 1),))])
    rules = {
        name: Rule(name, Action.ALLOW, origin=draw.draw(sides), target=draw.draw(sides), service=draw.draw(service))
        for name in ("r", "s", "t")
    }
    policy = replace(policy, groups=groups, rules=rules)
    book, compiled, tally = NO_BOOK, NOTHING, Tally()
    for _ in range(8):
        book, fresh = make_rulebook(policy, book), make_rulebook(policy)
        assert (book, book.groups) == (fresh, fresh.groups)
        assert book.classes.with_atom == fresh.classes.with_atom
        after = compile_bridge(policy, ports_of(policy), compiled, book=book)
        changes = tally.difference(compiled, after)
        had = set(tally.flows)
        tally.replace(compiled, after)
        compiled = after
        assert set(tally.flows) == had - set(changes.remove) | {flow.cookie for flow in changes.add}
        assert compiled.flows() == compile_bridge(policy, ports_of(policy), book=fresh).flows()
        assert sorted(tally.flows) == sorted(flow.cookie for flow in compiled.flows())
        if draw.draw(booleans()):
            name = draw.draw(sampled_from(("one", "two")))
            group = Group(name, draw.draw(members))
            policy = replace(policy, groups={**policy.groups, name: group})
        else:
            endpoint = policy.endpoints[draw.draw(sampled_from(MEMBERS))]
            endpoint = replace(endpoint, labels=() if endpoint.labels else (SELECTED,))
            policy = replace(policy, endpoints={**policy.endpoints, endpoint.name: endpoint})


@FEW
@given(cases(max_frames=1), cases(max_frames=1))
def test_tally_follows_a_sequence_of_policies_and_leaves_no_residue(one: Case, two: Case) -> None:
    tally, compiled = Tally(), NOTHING
    installed: set[int] = set()
    for case in (one, two, one):
        after = compile_bridge(case.policy, case.bindings, compiled)
        changes = tally.difference(compiled, after)
        tally.replace(compiled, after)
        assert installed.isdisjoint(flow.cookie for flow in changes.add)
        assert installed.issuperset(changes.remove)
        installed = installed - set(changes.remove) | {flow.cookie for flow in changes.add}
        compiled = after
        assert installed == set(tally.flows) == {flow.cookie for flow in after.flows()}
    tally.replace(compiled, Compiled())
    assert not tally.flows


def test_change_of_one_member_makes_only_its_own_units_anew_and_the_networks_where_a_port_changes() -> None:
    policy = policy_of(3, 4)
    before = compile_bridge(policy, ports_of(policy))
    moved = Endpoint("e1-2", ("n1",), "e1-2", mac=Mac(0x0200000000FF), ips=policy.endpoints["e1-2"].ips)
    after = compile_bridge(Policy(policy.networks, {**policy.endpoints, "e1-2": moved}, {}), ports_of(policy), before)
    gone, new = changed_units(before, after)
    assert {flow.origin for unit in (*gone, *new) for flow in unit} == {"/endpoints/e1-2"}
    assert after.segments["n0"] is before.segments["n0"]
    assert after.segments["n1"].members["e1-1"] is before.segments["n1"].members["e1-1"]
    gone, new = changed_units(before, compile_bridge(policy, {**ports_of(policy), "e1-2": 99}, before))
    assert {flow.origin for unit in (*gone, *new) for flow in unit} == {"/endpoints/e1-2", "/networks/n1"}


def test_flows_of_a_member_are_at_most_twenty() -> None:
    policy = policy_of(2, 10)
    n_flows = len(compile_bridge(policy, ports_of(policy)).flows())
    fixed = len(compile_bridge(Policy(policy.networks, {}, {}), {}).flows())
    assert (n_flows - fixed) / 20 <= 20


def test_two_flows_for_one_match_are_refused() -> None:
    def unit(port: int) -> Compiled:
        return Compiled(bridge=(Flow(0, 1, (IN_PORT(1),), (Output(port),), origin=f"/{port}"),))

    tally = Tally()
    tally.replace(NOTHING, unit(2))
    twice = Compiled(bridge=(*unit(2).bridge, *unit(3).bridge))
    with pytest.raises(CompileError, match=r"/3.*/2"):
        tally.difference(unit(2), twice)
    assert tally.difference(unit(2), unit(3))


def test_flow_that_two_units_need_stays_until_the_last_is_gone() -> None:
    flow = Flow(0, 1, (IN_PORT(1),))
    both = Compiled(bridge=(flow,), segments={})
    tally = Tally()
    tally.replace(NOTHING, Compiled(bridge=(flow, flow)))
    assert not tally.difference(Compiled(bridge=(flow, flow)), both)
    tally.replace(Compiled(bridge=(flow, flow)), both)
    assert tally.difference(both, Compiled(bridge=())).remove == (flow.cookie,)


def test_stage_refuses_a_flow_outside_its_declaration() -> None:
    emit = {stage.name: emit for stage, emit in EMITTERS}["classify"]
    say = {"origin": "", "why": ""}
    with pytest.raises(CompileError, match="matches eth_src"):
        emit("port", (ETH_SRC(1),), **say)
    with pytest.raises(CompileError, match="may not output"):
        emit("port", (), (Output(1),), **say)
    with pytest.raises(CompileError, match="does not lead to deliver"):
        emit("port", (), goto="deliver", **say)
    with pytest.raises(CompileError, match="no priority"):
        emit("highest", (), **say)


def test_priorities_are_distinct_and_above_the_miss() -> None:
    for stage in PIPELINE:
        numbers = [priority.number for priority in stage.priorities.values()]
        assert len(set(numbers)) == len(numbers), stage.name
        assert all(number > 0 for number in numbers), stage.name
        assert MISS not in stage.priorities


def test_stages_lead_forward_only() -> None:
    for stage in PIPELINE:
        assert all(TABLES[name] > TABLES[stage.name] for name in stage.next)
        assert isinstance(Emit(stage, TABLES), Emit)


def test_pipeline_page_is_what_the_code_declares() -> None:
    with open("docs/PIPELINE.md", encoding="utf-8") as page:
        assert page.read() == render_pipeline()


def test_flow_has_its_identity_by_content() -> None:
    one = Flow(1, 5, (NETWORK(7), IN_PORT(3)), origin="/a", why="x")
    other = Flow(1, 5, (IN_PORT(3), NETWORK(7)), origin="/b", why="y")
    assert one == other
    assert one.cookie == other.cookie
    assert one != Flow(1, 6, (IN_PORT(3), NETWORK(7)))
    assert str(one) == f"cookie={one.cookie:#x},table=1,priority=5,reg0=0x7,in_port=3,actions=drop"


def test_cookie_does_not_depend_on_which_objects_are_shared() -> None:
    address = 2**100 + 1
    shared = Flow(0, 1, ((5, address, address), (6, address, address)))
    apart = Flow(0, 1, ((5, int(str(address)), int(str(address))), (6, int(str(address)), int(str(address)))))
    assert shared.cookie == apart.cookie


def test_difference_is_what_to_add_and_what_to_remove() -> None:
    found = difference({1: "a", 2: "b"}, {2, 3})
    assert (found.add, found.remove) == (("a",), (3,))
    assert not difference({1: "a"}, {1})


def test_shared_untagged_members_in_two_networks_each_get_one_copy() -> None:
    networks = {name: Network(name, vlan=Vlan(i + 1)) for i, name in enumerate("ab")}
    endpoints = {
        name: Endpoint(name, ("a", "b"), name, Attach.UNTAGGED, mac=Mac(0x020000000001 + i), ips=(IPv4Address(i + 99),))
        for i, name in enumerate(("x", "y"))
    }
    flows = compile_bridge(Policy(networks, endpoints, {}), {"x": 1, "y": 2}).flows()
    assert any(flow.table == TABLES["egress"] and "through another network" in flow.why for flow in flows)


@pytest.mark.parametrize("uplinks", [{}, UPLINKS], ids=["networks", "and uplinks"])
def test_a_datapath_that_cannot_advertise_is_asked_for_nothing_that_it_refuses(uplinks: dict[str, int]) -> None:
    """A bundle with one flow that a switch refuses puts nothing in force: there the controller answers for gateways."""
    flows = compile_bridge(world(), PORTS, uplinks=uplinks, bridge=BridgeView(advertises=False)).flows()
    written = {a.field for flow in flows for a in flow.actions if isinstance(a, SetField)}
    assert not written & {ND_RESERVED, ND_OPTIONS_TYPE}


def test_a_route_to_an_uplinks_own_segment_contradicts_nothing() -> None:
    """Who is on the segment is the next hop itself; two flows for one prefix would put nothing in force."""
    policy = world()
    (uplink,) = (policy.uplinks[name] for name in list(UPLINKS)[:1])
    routes = (*uplink.routes, Route(uplink.addresses[0].network, uplink.routes[0].via))
    changed = replace(policy, uplinks={**policy.uplinks, uplink.name: replace(uplink, routes=routes)})
    compiled = compile_bridge(changed, PORTS, uplinks=UPLINKS)
    assert Tally().difference(NOTHING, compiled).add
    assert len({flow.key for flow in compiled.flows()}) == len(compiled.flows())
