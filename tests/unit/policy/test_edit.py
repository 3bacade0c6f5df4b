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
from controller.policy.check import Checker, check
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


NETWORKS = st.sampled_from(["green", "pink", "blue"])
NAMES = st.sampled_from(["a", "b", "c", "d"])
NETWORK_VALUES = st.fixed_dictionaries(
    {"vlan": st.integers(0, 4)},
    optional={"cidrs": st.sampled_from([[], ["10.0.0.0/24"], "x"]), "members": st.sampled_from(["open", "declared"])},
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
            for kind in ("networks", "endpoints", "hosts"):
                assert list(getattr(fresh, kind)) == list(getattr(self.stored.policy, kind))
            assert check(fresh) == ()


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
