"""Networks, read from a document. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.policy.fields import Fields
from controller.policy.model import Address, Cidr, Members, Mode, Network, Vlan, Vni
from controller.policy.values import choice, read_address, read_cidr, read_text, whole

NETWORK_KEYS = ("vlan", "vni", "cidrs", "mode", "gateway", "uplink", "members", "macs_per_port", "mac_age_s")

MACS_PER_PORT_MAX = 4096
MAC_AGE_MAX_S = 65535

_NETWORK = Network("")
"""Holds the model's defaults."""

_read_vlan = whole(1, 4094)
_read_vni = whole(1, (1 << 24) - 1)
_read_macs_per_port = whole(1, MACS_PER_PORT_MAX)
_read_mac_age_s = whole(1, MAC_AGE_MAX_S)
_read_mode = choice(Mode)
_read_members = choice(Members)


def read_network(name: str, fields: Fields) -> Network:
    vlan, vni = fields.take("vlan", _read_vlan), fields.take("vni", _read_vni)
    if "vlan" not in fields.value and "vni" not in fields.value:
        fields.say("a network has a vlan, a vni or both, and this one has none", "give it a vlan from 1 to 4094")
    cidrs = fields.take_list("cidrs", read_cidr)
    for narrow, wide in _nested(cidrs):
        fields.say(f"{narrow} lies in {wide}", f"leave {narrow} out", "cidrs")
    mode = fields.take("mode", _read_mode) or Mode.ISOLATED
    members = fields.take("members", _read_members) or Members.DECLARED
    gateways = _read_gateways(fields)
    _check_router(fields, mode, members)
    return Network(
        name,
        vlan=None if vlan is None else Vlan(vlan),
        vni=None if vni is None else Vni(vni),
        cidrs=cidrs,
        mode=mode,
        members=members,
        macs_per_port=fields.take("macs_per_port", _read_macs_per_port) or _NETWORK.macs_per_port,
        mac_age_s=fields.take("mac_age_s", _read_mac_age_s) or _NETWORK.mac_age_s,
        gateways=gateways,
        uplink=fields.take("uplink", read_text),
    )


def _read_gateways(fields: Fields) -> tuple[Address, ...]:
    """One address or a list of them."""
    if not isinstance(fields.value.get("gateway"), list):
        one = fields.take("gateway", read_address)
        return () if one is None else (one,)
    found = fields.take_list("gateway", read_address)
    for version in (4, 6):
        if sum(1 for address in found if address.version == version) > 1:
            fields.say(f"the network has several gateways of IPv{version}", "one of each IP version", "gateway")
    return found


def _check_router(fields: Fields, mode: Mode, members: Members) -> None:
    """What a network with a router needs, and what one without cannot have."""
    value = fields.value
    if mode is Mode.ISOLATED:
        for key in ("gateway", "uplink"):
            if key in value and value.get("mode", "isolated") == "isolated":
                hint = "write mode: routed or mode: nat, or leave it out"
                fields.say("an isolated network leads nowhere else", hint, key)
        return
    if "gateway" not in value or value["gateway"] == []:
        fields.say(f"a network with mode {mode.value} needs a gateway", "an address of its cidrs that no member has")
    if "cidrs" not in value or value["cidrs"] == []:
        hint = "the prefixes that its members' addresses lie in"
        fields.say(f"a network with mode {mode.value} needs cidrs", hint)
    if members is not Members.DECLARED:
        fields.say(f"a network with mode {mode.value} routes to members that are known", "members: declared", "members")
    if mode is Mode.NAT and "uplink" not in value:
        fields.say("a network with mode nat needs an uplink", "a name under uplinks")


def _nested(cidrs: tuple[Cidr, ...]) -> Iterator[tuple[Cidr, Cidr]]:
    """(narrow, wide) for each prefix that lies in another: prefixes overlap only so, and follow it when sorted."""
    wide: Cidr | None = None
    for cidr in sorted(cidrs, key=lambda cidr: (cidr.version, int(cidr.network_address), cidr.prefixlen)):
        if wide is not None and wide.version == cidr.version and cidr.network_address in wide:
            yield cidr, wide
        else:
            wide = cidr
