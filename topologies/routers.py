"""The router that a policy speaks of: its addresses, and the MACs under which nodes find it. PURE.

Only as far as the document's shape tells without the controller: what cannot be read is left out. docs/POLICY.md says
what these parts of a document mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface
from typing import Any

from topologies.reading import mappings
from topologies.spec import Address, Lab, Prefix, as_address

ROUTER_MAC = "02:74:70:00:00:01"
"""The router's where the document says no other."""
_FORWARDS = {("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1")}


def router_addresses(lab: Lab) -> dict[Address, str]:
    """Address -> MAC, of everything that the router answers ARP and ND for: gateways, uplinks, rewrites' addresses."""
    found = {address: _router_mac(lab) for _, net in mappings(lab.policy, "networks") for address in _gateways(net)}
    segments: list[tuple[Prefix, str]] = []
    for _, uplink in mappings(lab.policy, "uplinks"):
        own = _mac(uplink.get("mac")) or _router_mac(lab)
        for text in _listed(uplink.get("addresses")):
            try:
                assigned = ip_interface(text)
            except ValueError:
                continue
            found[assigned.ip] = own
            segments.append((assigned.network, own))
    for rewrite in _rewrites(lab):
        for text in (str(rewrite.get("address")), *_ends(rewrite)):
            outside = as_address(text)
            for segment, mac in segments:
                if outside is not None and outside in segment:
                    found.setdefault(outside, mac)
    return found


def router_macs(lab: Lab) -> tuple[str, ...]:
    """The MACs under which frames are routed: the policy's router's, and those of nodes that forward."""
    forwarding = [node for node in lab.nodes.values() if set(node.sysctls) & _FORWARDS]
    own = (face.mac for node in forwarding for face in node.interfaces)
    return tuple(dict.fromkeys([*router_addresses(lab).values(), *own]))


def _router_mac(lab: Lab) -> str:
    defaults = lab.policy.get("defaults") if lab.policy is not None else None
    return _mac(defaults.get("router_mac") if isinstance(defaults, dict) else None) or ROUTER_MAC


def _rewrites(lab: Lab) -> list[dict[str, Any]]:
    listed = lab.policy.get("rewrites") if lab.policy is not None else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _mac(value: object) -> str:
    return value.lower() if isinstance(value, str) else ""


def _gateways(network: dict[str, Any]) -> Iterator[Address]:
    for text in _listed(network.get("gateway")):
        if (address := as_address(text)) is not None:
            yield address


def _ends(rewrite: dict[str, Any]) -> tuple[str, ...]:
    """The first and the last address of a source range; those between are not looked at."""
    return tuple(str(rewrite.get("to", "")).split("-")) if rewrite.get("type") == "snat" else ()


def _listed(value: object) -> list[str]:
    return [str(one) for one in (value if isinstance(value, list) else [value] if value is not None else [])]
