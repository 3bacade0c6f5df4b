"""docs/POLICY.md is held to the code: every key, every rule, and an example that loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from controller.policy import rules
from controller.policy.check import check
from controller.policy.check_firewall import RULES_MAX, TABLES_MAX
from controller.policy.check_network import MEMBERS_MAX
from controller.policy.check_shared import JOINED_MAX
from controller.policy.fields import LATER
from controller.policy.load import KEYS, load
from controller.policy.load_network import MAC_AGE_MAX_S, MACS_PER_PORT_MAX
from controller.policy.load_rewrites import SNAT_MAX, TARGETS_MAX
from controller.policy.load_uplink import ADDRESSES_MAX
from controller.policy.model import DEFAULT_ROUTER_MAC, Network
from controller.policy.parse import KEY_MAX, MEDIA_TYPES, parse_document
from controller.policy.plain import DEPTH_MAX
from controller.policy.services import ICMP_TYPES, ICMPV6_TYPES, LOG_MAX
from controller.policy.yaml_text import ALIASED_MAX

PAGE = (Path(__file__).parents[3] / "docs" / "POLICY.md").read_text()
SECTIONS = ("hosts", "networks", "uplinks", "endpoints", "groups", "rules", "rewrites")
TITLES = {"": "### The document", "defaults": "### `defaults`", "overlay": "### `overlay`"} | {
    **{kind: f"### `{kind}.NAME`" for kind in SECTIONS},
    "defaults.pairs": "#### `defaults.pairs`",
    "uplinks.routes": "#### `uplinks.NAME.routes`",
}


def section(title: str) -> str:
    return PAGE.split(f"{title}\n", 1)[1].split("\n#", 1)[0]


@pytest.mark.parametrize("where", KEYS)
def test_each_table_lists_exactly_the_keys_that_the_loader_knows(where: str) -> None:
    assert re.findall(r"^\| `(\w+)` \|", section(TITLES[where]), re.MULTILINE) == list(KEYS[where])


def test_the_list_of_checks_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| (.+) \| (.+) \|$", section("## What is checked"), re.MULTILINE)
    assert rows[0] == ("message", "hint")
    assert [tuple(row) for row in rows[1:]] == [(rule.message, rule.hint) for rule in rules.ALL]


def test_the_list_of_warnings_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| (.+) \| (.+) \|$", section("## What is warned of"), re.MULTILINE)
    assert [tuple(row) for row in rows[1:]] == [(rule.message, rule.hint) for rule in rules.WARNINGS]


def test_the_example_is_a_policy_and_uses_every_key() -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", section("## A whole example"), re.MULTILINE | re.DOTALL)
    document = parse_document(text.encode(), "application/yaml")
    assert check(load(document)) == ()
    for where, keys in KEYS.items():
        objects: list[Any] = [document]
        for key in where.split(".") if where else ():
            objects = [item for each in objects for item in _items(each.get(key, []), key in SECTIONS)]
        assert {key for value in objects for key in value} == set(keys), where


def _items(value: Any, named: bool) -> list[Any]:
    """What a key holds: the objects of a section, the items of a list, or the one mapping."""
    if isinstance(value, list):
        return value
    return list(value.values()) if named else [value]


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    model = Network("x")
    assert f"| `macs_per_port` | number | {model.macs_per_port} | 1 to {MACS_PER_PORT_MAX}:" in PAGE
    assert f"| `mac_age_s` | number | {model.mac_age_s} | 1 to {MAC_AGE_MAX_S} seconds:" in PAGE
    assert f"more than {MEMBERS_MAX:,} members" in PAGE
    assert f"together they may have {JOINED_MAX:,}," in PAGE
    assert f"Keys have at most {KEY_MAX} characters" in PAGE
    assert f"at most {DEPTH_MAX} deep" in PAGE
    assert f"more than {ALIASED_MAX:,} values" in PAGE
    assert all(f"`{name}`" in PAGE for name in MEDIA_TYPES if name != "text/json")
    assert all(f"`{key}`" in PAGE for key in LATER)
    assert f"There are at most {RULES_MAX:,}." in PAGE
    assert f"are at most {TABLES_MAX} together" in PAGE
    assert f"for `snat` an address, or up to {SNAT_MAX} of them" in PAGE
    assert f"and up to {TARGETS_MAX} in a list" in PAGE
    assert f"; 1 to {ADDRESSES_MAX}. The first" in PAGE
    assert f"a count, up to {LOG_MAX:,}, and" in PAGE
    assert f"| `router_mac` | string | `{DEFAULT_ROUTER_MAC}` |" in PAGE


@pytest.mark.parametrize(("title", "types"), [("Names of ICMP types", ICMP_TYPES), ("Of ICMPv6", ICMPV6_TYPES)])
def test_names_of_icmp_types_are_those_of_the_code(title: str, types: dict[str, object]) -> None:
    (line,) = re.findall(rf"^{title}: (.+)\.$", PAGE, re.MULTILINE)
    assert line == ", ".join(f"`{name}`" for name in types)
