"""Groups, tiers, rules and defaults, read from a document. PURE."""

from __future__ import annotations

from enum import Enum

from controller.policy import rules
from controller.policy.fields import Fields, open_fields
from controller.policy.firewall import (
    DEFAULT_TIER,
    Action,
    Decision,
    Group,
    IcmpType,
    LogRate,
    OnChange,
    Peers,
    Rule,
    Service,
)
from controller.policy.load_endpoint import read_labels
from controller.policy.load_peers import Names, read_listed, read_matched, read_peers
from controller.policy.model import DEFAULTS, Cidr, Defaults, Pair
from controller.policy.services import (
    DEFAULT_RATE,
    ICMP,
    ICMPV6,
    WITH_PORTS,
    icmp_reader,
    merged,
    read_port_range,
    read_protocol,
    read_rate,
    without_covered,
)
from controller.policy.values import choice, read_mac, read_name, read_text

DEFAULTS_KEYS = ("intra_network", "inter_network", "port_security", "router_mac", "pairs")
PAIR_KEYS = ("from", "to", "action")
GROUP_KEYS = ("members", "selector", "cidrs", "except")
RULE_KEYS = (
    "name", "tier", "action", "from", "to", "proto", "ports", "source_ports", "icmp", "log", "on_change",
)  # fmt: skip


class Strict(Enum):
    """What `defaults.port_security` may be, in this version."""

    STRICT = "strict"


_read_decision = choice(Decision)
_read_strict = choice(Strict)
_read_action = choice(Action)
_read_on_change = choice(OnChange)


def read_defaults(fields: Fields) -> Defaults:
    """fields: the whole document's."""
    if "defaults" not in fields.value:
        return DEFAULTS
    defaults = open_fields(("defaults",), fields.value["defaults"], DEFAULTS_KEYS, fields.findings)
    if not defaults:
        return DEFAULTS
    defaults.take("port_security", _read_strict)
    return Defaults(
        intra_network=defaults.take("intra_network", _read_decision) or DEFAULTS.intra_network,
        inter_network=defaults.take("inter_network", _read_decision) or DEFAULTS.inter_network,
        pairs=_read_pairs(defaults),
        router_mac=defaults.take("router_mac", read_mac) or DEFAULTS.router_mac,
    )


def _read_pairs(defaults: Fields) -> tuple[Pair, ...]:
    found: list[Pair] = []
    for pair in defaults.mappings("pairs", PAIR_KEYS):
        origin, target = pair.require("from", read_text), pair.require("to", read_text)
        decision = pair.require("action", _read_decision)
        if origin is not None and target is not None and decision is not None:
            found.append(Pair(origin, target, decision))
    return tuple(found)


def read_tiers(fields: Fields) -> tuple[str, ...]:
    """fields: the whole document's. Never empty."""
    if "tiers" not in fields.value:
        return (DEFAULT_TIER,)
    if fields.value["tiers"] == []:
        fields.say("the list is empty, so that no rule could be in a tier", "leave the key out for one tier", "tiers")
    return fields.take_list("tiers", read_name) or (DEFAULT_TIER,)


def read_group(name: str, fields: Fields, names: Names) -> Group:
    members = fields.listed("members")
    named = read_listed(fields, "members", members, names) if members else Peers()
    for cidr in named.cidrs:
        fields.say(f"{cidr} is not a name", "put addresses under cidrs", "members")
    cidrs, excluded = fields.take_list("cidrs", read_matched), fields.take_list("except", read_matched)
    if "except" in fields.value and "cidrs" not in fields.value:
        fields.say("there are no cidrs to except anything from", "add cidrs, or leave except out", "except")
    for index, narrow in enumerate(excluded if cidrs else ()):
        if not any(_within(narrow, cidr) for cidr in cidrs):
            fields.say(f"{narrow} lies in none of the cidrs", "name a part of one of them", "except", index)
    if fields.value.get("selector") == {}:
        fields.say("an empty selector selects nobody", "name the labels that an endpoint must have", "selector")
    return Group(
        name,
        Peers(named.endpoints, named.networks, named.groups, named.outside, cidrs),
        selector=read_labels(fields, "selector"),
        excluded=excluded,
    )


def _within(narrow: Cidr, wide: Cidr) -> bool:
    return narrow.version == wide.version and narrow.prefixlen >= wide.prefixlen and narrow.network_address in wide


def read_rule(name: str, fields: Fields, names: Names) -> Rule:
    action = fields.require("action", _read_action)
    log = fields.take("log", read_rate)
    on_change = fields.take("on_change", _read_on_change) or OnChange.CUT
    if on_change is OnChange.KEEP and action not in (None, Action.ALLOW):
        fields.say("only connections that a rule allows can be kept", "leave it out", "on_change")
    return Rule(
        name,
        action or Action.DROP,
        tier=_read_tier(fields, names),
        origin=read_peers(fields, "from", names),
        target=read_peers(fields, "to", names),
        service=_read_service(fields),
        log=_log_of(action, log),
        on_change=on_change,
    )


def _log_of(action: Action | None, given: LogRate | None) -> LogRate | None:
    return DEFAULT_RATE if given is None and action is Action.LOG else given


def _read_tier(fields: Fields, names: Names) -> str:
    tier = fields.take("tier", read_name)
    if tier is not None:
        return tier
    if "tier" not in fields.value and len(names.tiers) > 1:
        fields.tell(rules.TIER_MISSING, (), tiers=tuple(names.tiers))
    return next(iter(names.tiers), DEFAULT_TIER)


def _read_service(fields: Fields) -> Service:
    value = fields.value
    protocol = fields.take("proto", read_protocol)
    told = "proto" in value and protocol is None
    for key in ("ports", "source_ports", "icmp"):
        if value.get(key) == []:
            fields.say("the list is empty, so that the rule is about nothing", "leave the key out for all", key)
    for key in ("ports", "source_ports"):
        if key in value and protocol not in WITH_PORTS and not told:
            fields.say(f"{key} are of TCP, UDP and SCTP", "write proto: tcp, udp or sctp", key)
    if "icmp" in value and protocol not in (ICMP, ICMPV6):
        if not told:
            fields.say("these types are of ICMP and ICMPv6", "write proto: icmp or icmpv6", "icmp")
        icmp: tuple[IcmpType, ...] = ()
    else:
        icmp = without_covered(fields.take_list("icmp", icmp_reader(protocol or ICMP)))
    return Service(
        protocol,
        merged(fields.take_list("ports", read_port_range)),
        merged(fields.take_list("source_ports", read_port_range)),
        icmp,
    )
