"""Who a rule or a group is about: names and addresses, told apart by what the whole document calls so. PURE.

A name means an endpoint, a network or a group, whichever has it; also one that has a problem of its own. A name that
two of them have is refused where it is used.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_network
from typing import TypeGuard, cast

from controller.policy import rules
from controller.policy.fields import Fields
from controller.policy.firewall import ANYBODY, Peers
from controller.policy.model import OUTSIDE, Cidr, Policy
from controller.policy.values import NAME, Unfit, read_text, shown

ANY = "any"
"""The word for everybody, in `from` and `to`."""
RESERVED = frozenset((ANY, OUTSIDE))
"""Words that name no network, endpoint or group."""

_NEVER_IN_ADDRESSES = re.compile(r"[^0-9A-Fa-f.:/]")
_KINDS = ("endpoint", "network", "group")


@dataclass(frozen=True, slots=True)
class Names:
    """Every name that a document gives to an object which others refer to, whether that could be read or not.

    tiers: as the document lists them, or the one that there is without a list.
    """

    networks: Collection[str] = ()
    endpoints: Collection[str] = ()
    hosts: Collection[str] = ()
    uplinks: Collection[str] = ()
    groups: Collection[str] = ()
    tiers: Collection[str] = ()

    def kinds_of(self, name: str) -> tuple[str, ...]:
        """Which of endpoint, network and group are called so."""
        known = (("endpoint", self.endpoints), ("network", self.networks), ("group", self.groups))
        return tuple([kind for kind, names in known if name in names])


def names_of(policy: Policy) -> Names:
    """The names of a policy that is whole."""
    return Names(policy.networks, policy.endpoints, policy.hosts, policy.uplinks, policy.groups, policy.tiers)


def read_peers(fields: Fields, key: str, names: Names) -> Peers:
    """What stands under `from` or `to`: `any`, one name, prefix or address, or a list of those."""
    if key not in fields.value or fields.value[key] == ANY:
        return ANYBODY
    value = fields.value[key]
    if value == []:
        fields.say("the list is empty, so that the rule is about nobody", f"write {ANY} for everybody", key)
    return read_listed(fields, key, value if isinstance(value, list) else [value], names)


def read_listed(fields: Fields, key: str, items: list[object], names: Names) -> Peers:
    """The union of the names, prefixes and addresses in a list; each once. items: what stands under the key."""
    found: dict[str, dict[object, None]] = {kind: {} for kind in (*_KINDS, OUTSIDE, "cidr")}
    single = not isinstance(fields.value[key], list)
    for index, item in enumerate(items):
        at = (key,) if single else (key, index)
        peer = ("endpoint", item) if _only_endpoint(item, names) else _read_peer(fields, at, item, names)
        if peer is None:
            continue
        kind, value = peer
        if value in found[kind]:
            fields.say(f"{value} stands in the list twice", "write it once", *at)
        found[kind][value] = None
    return Peers(
        endpoints=tuple(str(name) for name in found["endpoint"]),
        networks=tuple(str(name) for name in found["network"]),
        groups=tuple(str(name) for name in found["group"]),
        outside=bool(found[OUTSIDE]),
        cidrs=tuple(cast("Iterable[Cidr]", found["cidr"])),
    )


def _only_endpoint(item: object, names: Names) -> TypeGuard[str]:
    """Whether it can be nothing but an endpoint, as most are in lists of thousands."""
    return (
        type(item) is str
        and item in names.endpoints
        and item not in names.networks
        and item not in names.groups
        and item not in RESERVED
        and _NEVER_IN_ADDRESSES.search(item) is not None
    )


def _read_peer(fields: Fields, at: tuple[str | int, ...], value: object, names: Names) -> tuple[str, str | Cidr] | None:
    """What one item is, and which; None where it is nothing, which is then said."""
    text = fields.attempt(read_text, value, *at)
    if text is None:
        return None
    if text == OUTSIDE:
        return OUTSIDE, text
    if text == ANY:
        fields.say(f"{ANY} is everybody already", f"write {ANY} alone, or leave it out", *at)
        return None
    kinds = names.kinds_of(text)
    cidr = _cidr_of(text)
    if len(kinds) + (cidr is not None) > 1:
        meanings = (*kinds, *(("address",) if cidr is not None else ()))
        words = " and ".join(f"an {one}" if one[0] in "ae" else f"a {one}" for one in meanings)
        fields.tell(rules.AMBIGUOUS, at, name=text, kinds=rules.Words(words))
        return None
    if kinds:
        return kinds[0], text
    if cidr is None and NAME.fullmatch(text) and not _like_address(text):
        known = (*names.endpoints, *names.networks, *names.groups, *RESERVED)
        fields.tell(rules.UNKNOWN_PEER, at, fields.findings.nearest.hint("peer", text, known), name=text)
        return None
    cidr = fields.attempt(read_matched, text, *at)
    return None if cidr is None else ("cidr", cidr)


def read_matched(value: object) -> Cidr:
    """A prefix or one address that packets may have, those of groups and broadcasts too."""
    text = read_text(value)
    hint = "a name, an address or a prefix, like webs, 192.168.5.1 or 10.0.0.0/8"
    _, slash, length = text.partition("/")
    if "%" in text or (slash and not (length.isascii() and length.isdigit())):
        raise Unfit(f"{shown(text)} is neither a name nor a prefix", hint)
    try:
        loose = ip_network(text, strict=False)
    except ValueError:
        raise Unfit(f"{shown(text)} is neither a name nor a prefix", hint) from None
    try:
        cidr = ip_network(text)
    except ValueError:
        raise Unfit(f"{shown(text)} has bits set after its first {loose.prefixlen}", f"write {loose}") from None
    if isinstance(cidr, IPv6Network) and int(cidr.network_address) >> 32 == 0xFFFF:
        raise Unfit(f"{cidr} is IPv4 in IPv6 form, which no packet has", "write it as IPv4")
    return cidr


def _cidr_of(text: str) -> Cidr | None:
    if _NEVER_IN_ADDRESSES.search(text):
        return None
    try:
        return read_matched(text)
    except Unfit:
        return None


def _like_address(text: str) -> bool:
    """Whether somebody who writes this means an IPv4 address; no IPv6 address and no prefix can be a name."""
    return text.count(".") == 3 and text.replace(".", "").isdigit()
