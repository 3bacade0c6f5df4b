"""Changes of a stored policy: what they make, what they leave alone, and what they cost."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controller.control import Change, DeleteObject, Kind, NoSuchObject, PutObject, PutPolicy, Stored
from controller.errors import PolicyError, Problem
from controller.policy.advice import advise
from controller.policy.check import Checker, check
from controller.policy.document import as_written
from controller.policy.edit import apply_change
from controller.policy.load import load
from controller.policy.model import API_VERSION, EMPTY_POLICY

DOCUMENT: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "hosts": {"boxA": {"bridge": "br0"}},
    "networks": {"green": {"vlan": 10, "cidrs": ["10.0.0.0/24"]}, "pink": {"vlan": 20}},
    "endpoints": {
        "web1": {"network": "green", "host": "boxA", "port": "w1", "mac": "02:00:00:00:00:01", "ips": ["10.0.0.1"]},
        "web2": {"networks": ["pink"], "port": "w2", "mac": "02:00:00:00:00:02"},
        "nas": {"networks": ["green", "pink"], "port": "n", "mac": "02:00:00:00:00:09"},
    },
}
STORED = Stored(7, DOCUMENT, load(DOCUMENT))
EMPTY = Stored(0, {}, EMPTY_POLICY)
WEB3 = {"network": "green", "port": "w3", "mac": "02:00:00:00:00:03", "ips": ["10.0.0.3"]}


@pytest.fixture(autouse=True)
def _nothing_is_mutated() -> Any:
    before = copy.deepcopy(DOCUMENT)
    yield
    assert before == DOCUMENT
    assert load(before) == STORED.policy


def refused(change: Change, stored: Stored = STORED) -> list[tuple[str, str]]:
    with pytest.raises(PolicyError) as caught:
        apply_change(stored, change)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def test_a_new_object_comes_last_and_the_rest_is_shared() -> None:
    document, policy = apply_change(STORED, PutObject("endpoints", "web3", WEB3))
    assert list(policy.endpoints) == ["web1", "web2", "nas", "web3"]
    assert document == {**DOCUMENT, "endpoints": {**DOCUMENT["endpoints"], "web3": WEB3}}
    assert list(document) == list(DOCUMENT)
    assert document["networks"] is DOCUMENT["networks"]
    assert policy.endpoints["web1"] is STORED.policy.endpoints["web1"]
    assert policy == load(document)


def test_a_replaced_object_keeps_its_place() -> None:
    document, policy = apply_change(STORED, PutObject("endpoints", "web1", {**WEB3, "port": "w1"}))
    assert list(policy.endpoints) == ["web1", "web2", "nas"]
    assert list(document["endpoints"]) == ["web1", "web2", "nas"]  # type: ignore[call-overload]
    assert policy == load(document)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [("networks", "blue", {"vlan": 30}), ("hosts", "boxB", {"dpid": "00000000000000aa"}), ("endpoints", "web3", WEB3)],
)
def test_every_kind_can_be_put_and_deleted(kind: Kind, name: str, value: object) -> None:
    document, policy = apply_change(STORED, PutObject(kind, name, value))
    assert policy == load(document)
    assert policy != STORED.policy
    assert apply_change(Stored(8, document, policy), DeleteObject(kind, name)) == (DOCUMENT, STORED.policy)


@pytest.mark.parametrize("kind", ["networks", "endpoints", "hosts"])
def test_what_is_equal_changes_nothing(kind: Kind) -> None:
    for name, value in DOCUMENT[kind].items():
        document, policy = apply_change(STORED, PutObject(kind, name, copy.deepcopy(value)))
        assert document is DOCUMENT
        assert policy is STORED.policy
    document, policy = apply_change(STORED, PutPolicy(copy.deepcopy(DOCUMENT)))
    assert document is DOCUMENT
    assert policy is STORED.policy


def test_true_is_not_equal_to_one() -> None:
    document, policy = apply_change(STORED, PutObject("networks", "blue", {"vlan": 1}))
    stored = Stored(8, document, policy)
    assert refused(PutObject("networks", "blue", {"vlan": True}), stored)[0][0] == "/networks/blue/vlan"
    wrong = {**document, "networks": {**DOCUMENT["networks"], "blue": {"vlan": True}}}
    assert refused(PutPolicy(wrong), stored)[0][0] == "/networks/blue/vlan"


def test_same_meaning_written_otherwise_is_a_new_document_and_the_same_object() -> None:
    written = {**DOCUMENT["endpoints"]["web1"], "mac": "02-00-00-00-00-01"}
    wrapped = {**DOCUMENT, "endpoints": {**DOCUMENT["endpoints"], "web1": written}}
    document, policy = apply_change(STORED, PutPolicy(wrapped))
    assert document is wrapped
    assert policy.endpoints["web1"] is STORED.policy.endpoints["web1"]


def test_put_policy_keeps_equal_objects_and_takes_the_new_order() -> None:
    turned = copy.deepcopy(DOCUMENT)
    turned["networks"] = dict(reversed(turned["networks"].items()))
    turned["networks"]["pink"]["vlan"] = 21
    document, policy = apply_change(STORED, PutPolicy(turned))
    assert document is turned
    assert list(policy.networks) == ["pink", "green"]
    assert policy.networks["green"] is STORED.policy.networks["green"]
    assert policy == load(turned)


def test_first_object_of_an_empty_store_brings_the_api_version() -> None:
    document, policy = apply_change(EMPTY, PutObject("networks", "green", {"vlan": 10}))
    assert document == {"apiVersion": API_VERSION, "networks": {"green": {"vlan": 10}}}
    assert list(document) == ["apiVersion", "networks"]
    assert policy == load(document)
    assert EMPTY.document == {}


@pytest.mark.parametrize("kind", ["networks", "endpoints", "hosts"])
@pytest.mark.parametrize("stored", [STORED, EMPTY])
def test_what_does_not_exist_cannot_be_deleted(kind: Kind, stored: Stored) -> None:
    with pytest.raises(NoSuchObject, match="nobody"):
        apply_change(stored, DeleteObject(kind, "nobody"))


def test_a_network_with_members_cannot_be_deleted_and_the_error_names_them() -> None:
    assert refused(DeleteObject("networks", "pink")) == [
        ("/endpoints/web2/networks/0", "endpoint 'web2' is a member of network 'pink', which was to be deleted"),
        ("/endpoints/nas/networks/1", "endpoint 'nas' is a member of network 'pink', which was to be deleted"),
    ]


def test_a_host_with_endpoints_cannot_be_deleted_and_the_error_names_them() -> None:
    assert refused(DeleteObject("hosts", "boxA")) == [
        ("/endpoints/web1/host", "endpoint 'web1' is on host 'boxA', which was to be deleted")
    ]


def test_paths_of_one_object_are_those_of_the_whole_document() -> None:
    value = {"network": "green", "port": "w3", "mac": "x", "ips": ["10.0.0.1/8"], "labels": {"a": 1}}
    assert [path for path, _ in refused(PutObject("endpoints", "web3", value))] == [
        "/endpoints/web3/mac",
        "/endpoints/web3/ips/0",
        "/endpoints/web3/labels/a",
    ]
    assert refused(PutObject("networks", "a/b", {"vlan": 3}))[0][0] == "/networks/a~1b"


def test_a_change_is_checked_against_the_rest() -> None:
    assert refused(PutObject("endpoints", "web3", {**WEB3, "ips": ["10.0.0.1"]})) == [
        ("/endpoints/web3/ips/0", "10.0.0.1 belongs to endpoint 'web1' too, in network 'green'")
    ]


def test_path_of_an_unknown_network_follows_how_it_is_written() -> None:
    written = {"port": "w3", "mac": "02:00:00:00:00:03"}
    for keys, path in (({"network": "gren"}, "network"), ({"networks": ["gren"]}, "networks/0")):
        assert refused(PutObject("endpoints", "web3", {**written, **keys}))[0][0] == f"/endpoints/web3/{path}"


def test_problems_of_objects_and_between_objects_come_together() -> None:
    wrong = copy.deepcopy(DOCUMENT)
    wrong["networks"]["pink"]["vlan"] = "20"
    wrong["endpoints"]["web2"]["mac"] = "02:00:00:00:00:0"
    wrong["endpoints"]["nas"]["networks"] = ["pink", "gren"]
    wrong["endpoints"]["web1"]["ips"] = ["10.1.0.1"]
    assert [path for path, _ in refused(PutPolicy(wrong))] == [
        "/networks/pink/vlan",
        "/endpoints/web2/mac",
        "/endpoints/nas/networks/1",
        "/endpoints/web1/ips/0",
    ]


@pytest.mark.parametrize("value", [None, [], 3, "x", {}])
def test_whole_documents_that_are_none_are_refused(value: object) -> None:
    assert refused(PutPolicy(value))[0][0] == ""


ROUTED: dict[str, Any] = {
    **DOCUMENT,
    "networks": {
        **DOCUMENT["networks"],
        "dmz": {"vlan": 30, "cidrs": ["10.3.0.0/24"], "mode": "nat", "gateway": "10.3.0.1", "uplink": "wan"},
    },
    "uplinks": {"wan": {"host": "boxA", "port": "eth1", "addresses": ["198.51.100.2/24"]}},
    "endpoints": {
        **DOCUMENT["endpoints"],
        "www": {"network": "dmz", "port": "www", "mac": "02:00:00:00:00:21", "ips": ["10.3.0.2"]},
    },
    "groups": {"webs": {"members": ["web1", "green"]}, "all": {"members": ["webs"]}},
    "rules": [
        {"name": "first", "action": "log"},
        {"name": "second", "action": "allow", "from": "webs", "to": ["pink", "nas"]},
        {"name": "third", "action": "drop"},
    ],
    "rewrites": [{"name": "in", "network": "dmz", "type": "dnat", "address": "198.51.100.9", "to": "www"}],
    "defaults": {"pairs": [{"from": "dmz", "to": "outside", "action": "drop"}]},
}
FULL = Stored(9, ROUTED, load(ROUTED))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("uplinks", "dsl", {"port": "eth2", "addresses": ["203.0.113.2/24"]}),
        ("groups", "new", {"members": ["webs"]}),
        ("rules", "new", {"action": "allow", "from": "webs", "to": "dmz"}),
        ("rewrites", "new", {"type": "masquerade", "network": "dmz"}),
    ],
)
def test_every_other_kind_can_be_put_and_deleted(kind: Kind, name: str, value: dict[str, Any]) -> None:
    document, policy = apply_change(FULL, PutObject(kind, name, value))
    assert policy == load(document)
    assert list(getattr(policy, kind))[-1] == name
    assert apply_change(Stored(10, document, policy), PutObject(kind, name, value))[0] is document
    assert apply_change(Stored(10, document, policy), DeleteObject(kind, name)) == (ROUTED, FULL.policy)


def test_a_rule_that_is_there_keeps_its_place_and_a_new_one_comes_last() -> None:
    document, policy = apply_change(FULL, PutObject("rules", "first", {"action": "drop", "to": "nas"}))
    assert list(policy.rules) == ["first", "second", "third"]
    assert document["rules"][0] == {"name": "first", "action": "drop", "to": "nas"}  # type: ignore[index]
    document, policy = apply_change(FULL, PutObject("rules", "new", {"action": "drop", "name": "new"}))
    assert list(policy.rules) == ["first", "second", "third", "new"]
    assert document["rules"][3] == {"action": "drop", "name": "new"}  # type: ignore[index]
    assert policy == load(document)


def test_a_rule_is_put_before_another_one_whether_it_is_new_or_not() -> None:
    new, third = {"action": "drop", "to": "nas"}, {"name": "third", "action": "drop"}
    for change, order in (
        (PutObject("rules", "new", new, before="first"), ["new", "first", "second", "third"]),
        (PutObject("rules", "new", new, before="third"), ["first", "second", "new", "third"]),
        (PutObject("rules", "third", third, before="first"), ["third", "first", "second"]),
        (PutObject("rules", "first", new, before="third"), ["second", "first", "third"]),
        (PutObject("rules", "second", new, before="third"), ["first", "second", "third"]),
    ):
        document, policy = apply_change(FULL, change)
        assert list(policy.rules) == [rule["name"] for rule in document["rules"]] == order  # type: ignore[attr-defined]
        assert policy == load(document)
        assert apply_change(Stored(10, document, policy), change) == (document, policy)
        assert apply_change(Stored(10, document, policy), change)[0] is document
    assert apply_change(FULL, PutObject("rules", "second", ROUTED["rules"][1], before="third"))[0] is ROUTED
    masquerade = {"type": "masquerade", "network": "dmz"}
    assert list(apply_change(FULL, PutObject("rewrites", "out", masquerade, before="in"))[1].rewrites) == ["out", "in"]


def test_what_a_rule_is_to_come_before_must_be_another_rule() -> None:
    drop = {"action": "drop"}
    with pytest.raises(PolicyError, match="did you mean 'second'") as caught:
        apply_change(FULL, PutObject("rules", "new", drop, before="secnd"))
    assert caught.value.problems[0].path == "/rules/3"
    assert refused(PutObject("rules", "first", drop, before="first"), FULL) == [
        ("/rules/2", "'first' cannot come before itself")
    ]
    assert refused(PutObject("rules", "new", {"action": "x"}, before="web1"), FULL) == [
        ("/rules/3", "there is no rule 'web1' that this one could come before"),
        ("/rules/3/action", "'x' is not one of: allow, drop, reject, pass, log"),
    ]
    assert refused(PutObject("rules", "new", {"action": "x"}, before="second"), FULL)[0][0] == "/rules/1/action"
    assert refused(PutObject("rules", "first", drop, before="x"), Stored(0, {}, EMPTY_POLICY))[0][0] == "/rules/0"
    assert refused(PutObject("rewrites", "x", {"type": "masquerade", "network": "dmz"}, before="first"), FULL) == [
        ("/rewrites/1", "there is no rewrite 'first' that this one could come before")
    ]
    assert refused(PutObject("networks", "blue", {"vlan": 30}, before="green"), FULL) == [
        ("/networks/blue", "networks have no order, so that none can come before 'green'")
    ]


def test_paths_of_one_rule_are_those_of_the_whole_document() -> None:
    assert refused(PutObject("rules", "second", {"action": "x", "to": "nobody"}), FULL) == [
        ("/rules/1/action", "'x' is not one of: allow, drop, reject, pass, log"),
        ("/rules/1/to", "nothing is called 'nobody'"),
    ]
    assert refused(PutObject("rules", "new", {"action": "drop", "tier": "x"}), FULL)[0][0] == "/rules/3/tier"
    assert refused(PutObject("rules", "new", 3), FULL)[0][0] == "/rules/3"
    assert refused(PutObject("rules", "a b", {"action": "drop"}), FULL)[0][0] == "/rules/3/name"
    assert refused(PutObject("rules", "new", {"action": "drop", "name": "other"}), FULL) == [
        ("/rules/3/name", "'other' is not 'new', which was to be put")
    ]
    assert refused(PutObject("rewrites", "in", {"type": "masquerade", "network": "pink"}), FULL)[0][0] == (
        "/rewrites/0/network"
    )
    assert refused(PutObject("networks", "dmz", {**ROUTED["networks"]["dmz"], "gateway": "10.3.0.2"}), FULL) == [
        ("/networks/dmz/gateway", "gateway 10.3.0.2 belongs to endpoint 'www'")
    ]


def test_names_of_a_rule_are_told_apart_by_what_is_stored() -> None:
    _, policy = apply_change(FULL, PutObject("rules", "new", {"action": "drop", "from": ["web1", "pink", "all"]}))
    origin = policy.rules["new"].origin
    assert (origin.endpoints, origin.networks, origin.groups) == (("web1",), ("pink",), ("all",))
    assert refused(PutObject("groups", "all", {"members": ["all"]}), FULL) == [
        ("/groups/all/members", "the group is in itself: 'all' -> 'all'")
    ]


def test_a_new_object_takes_no_name_that_a_rule_means_another_by() -> None:
    vlan = {"vlan": 99}
    assert refused(PutObject("networks", "webs", vlan), FULL) == [
        ("/rules/1/from", "'webs' may be a group and a network"),
        ("/groups/all/members", "'webs' may be a group and a network"),
    ]
    assert refused(PutObject("groups", "nas", {}), FULL) == [("/rules/1/to", "'nas' may be an endpoint and a group")]
    apply_change(FULL, PutObject("networks", "web2", vlan))
    apply_change(FULL, PutObject("networks", "first", vlan))


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("groups", "webs", [("/rules/1/from", "rule 'second' names group 'webs'"),
                            ("/groups/all/members", "group 'all' names group 'webs'")]),
        ("endpoints", "web1", [("/groups/webs/members", "group 'webs' names endpoint 'web1'")]),
        ("endpoints", "nas", [("/rules/1/to", "rule 'second' names endpoint 'nas'")]),
        ("endpoints", "www", [("/rewrites/0/to", "rewrite 'in' leads to endpoint 'www'")]),
        ("uplinks", "wan", [("/networks/dmz/uplink", "network 'dmz' has uplink 'wan'")]),
    ],
)  # fmt: skip
def test_what_others_name_cannot_be_deleted_and_the_error_names_them(
    kind: Kind, name: str, expected: list[tuple[str, str]]
) -> None:
    found = refused(DeleteObject(kind, name), FULL)
    assert found == [(path, f"{words}, which was to be deleted") for path, words in expected]


def test_a_network_is_named_by_members_pairs_rewrites_and_rules() -> None:
    assert [path for path, _ in refused(DeleteObject("networks", "dmz"), FULL)] == [
        "/endpoints/www/network",
        "/defaults/pairs/0/from",
        "/rewrites/0/network",
    ]
    assert "/rules/1/to" in [path for path, _ in refused(DeleteObject("networks", "pink"), FULL)]
    assert [path for path, _ in refused(DeleteObject("hosts", "boxA"), FULL)] == [
        "/endpoints/web1/host",
        "/uplinks/wan/host",
    ]


NETWORKS = st.sampled_from(["green", "pink", "blue"])
NAMES = st.sampled_from(["a", "b", "c", "d"])
NETWORK_VALUES = st.fixed_dictionaries(
    {"vlan": st.integers(0, 4)},
    optional={"cidrs": st.sampled_from([[], ["10.0.0.0/24"], "x"]), "members": st.sampled_from(["open", "declared"])},
) | st.builds(
    lambda vlan: {"vlan": vlan, "cidrs": ["10.0.0.0/24"], "mode": "nat", "gateway": "10.0.0.254", "uplink": "wan"},
    st.integers(1, 4),
)
PEERS = st.sampled_from(["any", "green", "a", "g", ["pink", "h"], "10.0.0.0/8", "outside"])
GROUP_VALUES = st.fixed_dictionaries(
    {}, optional={"members": st.lists(st.sampled_from(["a", "green", "g", "h"]), max_size=2, unique=True)}
)
RULE_NAMES = st.sampled_from(["r", "s", "t"])
RULE_VALUES = st.fixed_dictionaries(
    {"action": st.sampled_from(["allow", "log"])}, optional={"from": PEERS, "to": PEERS}
)
ENDPOINT_VALUES = st.fixed_dictionaries(
    {
        "networks": st.lists(NETWORKS, min_size=1, max_size=2, unique=True),
        "port": st.sampled_from(["p1", "p2", "p3", "p4"]),
    },
    optional={
        "mac": st.integers(0, 5).map(lambda octet: f"02:00:00:00:00:0{octet}"),
        "ips": st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.1.0.1", "10.0.0.0"]), max_size=2),
        "attach": st.sampled_from(["tagged", "untagged"]),
        "host": st.sampled_from(["h1", "h2"]),
    },
)
HOST_VALUES = st.sampled_from([{"bridge": "br0"}, {"bridge": "br1"}, {"dpid": "00000000000000aa"}, {}])


class Edits(RuleBasedStateMachine):
    """Any sequence of changes ends where loading its final document would; what is refused changes nothing."""

    @initialize()
    def start(self) -> None:
        self.stored = EMPTY
        self.checker = Checker()

    def change(self, change: Change) -> None:
        problems: tuple[Problem, ...] | None = None
        try:
            document, policy = apply_change(self.stored, change, self.checker)
        except PolicyError as error:
            problems = error.problems
        except NoSuchObject:
            return
        # Without memory the same must come out.
        if problems is None:
            assert apply_change(self.stored, change) == (document, policy)
            self.stored = Stored(self.stored.revision + 1, document, policy)
        else:
            assert problems
            with pytest.raises(PolicyError) as caught:
                apply_change(self.stored, change)
            assert caught.value.problems == problems

    @rule(name=NETWORKS, value=NETWORK_VALUES)
    def put_network(self, name: str, value: object) -> None:
        self.change(PutObject("networks", name, value))

    @rule(name=NAMES, value=ENDPOINT_VALUES)
    def put_endpoint(self, name: str, value: object) -> None:
        self.change(PutObject("endpoints", name, value))

    @rule(name=st.sampled_from(["h1", "h2"]), value=HOST_VALUES)
    def put_host(self, name: str, value: object) -> None:
        self.change(PutObject("hosts", name, value))

    @rule(
        kind=st.sampled_from(["networks", "endpoints", "hosts"]), name=NETWORKS | NAMES | st.sampled_from(["h1", "h2"])
    )
    def delete(self, kind: Kind, name: str) -> None:
        self.change(DeleteObject(kind, name))

    @rule(
        networks=st.dictionaries(NETWORKS, NETWORK_VALUES, max_size=3),
        endpoints=st.dictionaries(NAMES, ENDPOINT_VALUES, max_size=3),
    )
    def put_policy(self, networks: object, endpoints: object) -> None:
        self.change(PutPolicy({"apiVersion": API_VERSION, "networks": networks, "endpoints": endpoints}))

    @invariant()
    def policy_is_that_of_the_document(self) -> None:
        if self.stored.document:
            fresh = load(self.stored.document)
            assert fresh == self.stored.policy
            for kind in ("networks", "endpoints", "hosts", "uplinks", "groups", "rules", "rewrites"):
                assert list(getattr(fresh, kind)) == list(getattr(self.stored.policy, kind))
            assert check(fresh) == ()

    @rule(name=st.sampled_from(["g", "h", "a", "green"]), value=GROUP_VALUES)
    def put_group(self, name: str, value: object) -> None:
        self.change(PutObject("groups", name, value))

    @rule(name=RULE_NAMES, value=RULE_VALUES, before=st.none() | RULE_NAMES)
    def put_rule(self, name: str, value: object, before: str | None) -> None:
        self.change(PutObject("rules", name, value, before))

    @rule(value=st.sampled_from([{"port": "eth1", "addresses": ["198.51.100.2/24"]}, {"port": "p1"}]))
    def put_uplink(self, value: object) -> None:
        self.change(PutObject("uplinks", "wan", value))

    @rule(name=st.sampled_from(["o", "p"]), network=NETWORKS, before=st.sampled_from([None, "o", "p"]))
    def put_rewrite(self, name: str, network: str, before: str | None) -> None:
        self.change(PutObject("rewrites", name, {"type": "masquerade", "network": network}, before))

    @rule(
        kind=st.sampled_from(["groups", "rules", "uplinks", "rewrites"]),
        name=st.sampled_from(["g", "h", "a", "green", "r", "s", "wan", "o"]),
    )
    def delete_more(self, kind: Kind, name: str) -> None:
        self.change(DeleteObject(kind, name))


TestEdits = Edits.TestCase
TestEdits.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.dictionaries(NETWORKS, NETWORK_VALUES, min_size=1), st.dictionaries(NAMES, ENDPOINT_VALUES), st.data())
def test_putting_objects_one_by_one_equals_putting_the_document(
    networks: dict[str, Any], endpoints: dict[str, Any], data: st.DataObject
) -> None:
    whole = {"apiVersion": API_VERSION, "networks": networks, "endpoints": endpoints}
    try:
        _, expected = apply_change(EMPTY, PutPolicy(whole))
    except PolicyError as error:
        for problem in error.problems:
            value: Any = whole
            for step in problem.path.split("/")[1:]:  # raises where a path leads nowhere
                value = value[int(step)] if isinstance(value, list) else value[step]
        return
    stored = EMPTY
    for kind, objects in (("networks", networks), ("endpoints", endpoints)):
        for name in data.draw(st.permutations(sorted(objects))):
            stored = Stored(1, *apply_change(stored, PutObject(kind, name, objects[name])))  # type: ignore[arg-type]
    assert stored.policy == expected
    assert {**stored.document, "endpoints": stored.document.get("endpoints", {})} == whole


REWRITE_VALUES = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["o", "p", "q"]),
        "network": NETWORKS,
        "type": st.sampled_from(["masquerade", "snat", "dnat", "forward", "one_to_one"]),
        "to": st.sampled_from(["a", "b:80", "198.51.100.9", "10.0.0.9"]),
    },
    optional={
        "address": st.sampled_from(["198.51.100.2", "198.51.100.9", "10.0.0.9"]),
        "proto": st.just("tcp"),
        "l4_port": st.just(80),
    },
)
UPLINK_VALUES = st.fixed_dictionaries(
    {
        "port": st.sampled_from(["p1", "eth1"]),
        "addresses": st.sampled_from([["198.51.100.2/24"], ["10.0.0.5/24", "2001:db8::1/64"]]),
    },
    optional={"routes": st.just([{"to": "0.0.0.0/0", "via": "203.0.113.1"}]), "host": st.just("h1")},
)
PAIRS = st.lists(
    st.fixed_dictionaries(
        {"from": NETWORKS | st.just("outside"), "to": NETWORKS | st.just("outside"), "action": st.just("drop")}
    ),
    max_size=2,
)
RICH = st.fixed_dictionaries(
    {
        "apiVersion": st.just(API_VERSION),
        "networks": st.dictionaries(NETWORKS, NETWORK_VALUES, max_size=3),
        "endpoints": st.dictionaries(NAMES, ENDPOINT_VALUES, max_size=4),
        "groups": st.dictionaries(st.sampled_from(["g", "h", "a"]), GROUP_VALUES, max_size=3),
        "uplinks": st.dictionaries(st.sampled_from(["wan", "dsl"]), UPLINK_VALUES, max_size=2),
        "rules": st.lists(
            st.builds(lambda name, value: {"name": name, **value}, st.sampled_from(["r", "s", "t"]), RULE_VALUES),
            max_size=3,
            unique_by=lambda rule: rule["name"],
        ),
        "rewrites": st.lists(REWRITE_VALUES, max_size=3, unique_by=lambda rewrite: rewrite["name"]),
        "defaults": st.fixed_dictionaries({"pairs": PAIRS}),
    }
)


@settings(max_examples=300, deadline=None)
@given(RICH)
def test_every_path_of_a_problem_or_warning_leads_somewhere(whole: dict[str, Any]) -> None:
    found: tuple[Problem, ...]
    try:
        document, policy = apply_change(EMPTY, PutPolicy(whole))
        found = tuple(as_written(each, document) for each in advise(policy))
    except PolicyError as error:
        found = error.problems
    for problem in found:
        value: Any = whole
        for step in problem.path.split("/")[1:]:  # raises where a path leads nowhere
            value = value[int(step)] if isinstance(value, list) else value[step]
