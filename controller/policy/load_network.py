"""Networks, read from a document. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.policy.fields import Fields
from controller.policy.model import Cidr, Members, Mode, Network, Vlan, Vni
from controller.policy.values import choice, read_cidr, whole

NETWORK_KEYS = ("vlan", "vni", "cidrs", "mode", "members", "macs_per_port", "mac_age_s")

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
    return Network(
        name,
        vlan=None if vlan is None else Vlan(vlan),
        vni=None if vni is None else Vni(vni),
        cidrs=cidrs,
        mode=fields.take("mode", _read_mode) or Mode.ISOLATED,
        members=fields.take("members", _read_members) or Members.DECLARED,
        macs_per_port=fields.take("macs_per_port", _read_macs_per_port) or _NETWORK.macs_per_port,
        mac_age_s=fields.take("mac_age_s", _read_mac_age_s) or _NETWORK.mac_age_s,
    )


def _nested(cidrs: tuple[Cidr, ...]) -> Iterator[tuple[Cidr, Cidr]]:
    """(narrow, wide) for each prefix that lies in another: prefixes overlap only so, and follow it when sorted."""
    wide: Cidr | None = None
    for cidr in sorted(cidrs, key=lambda cidr: (cidr.version, int(cidr.network_address), cidr.prefixlen)):
        if wide is not None and wide.version == cidr.version and cidr.network_address in wide:
            yield cidr, wide
        else:
            wide = cidr
