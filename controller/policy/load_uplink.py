"""Uplinks, read from a document. PURE."""

from __future__ import annotations

from ipaddress import ip_interface

from controller.policy.fields import Fields
from controller.policy.model import Attached, Route, Uplink
from controller.policy.values import Unfit, read_address, read_cidr, read_mac, read_port, read_text, shown

UPLINK_KEYS = ("host", "port", "mac", "addresses", "routes")
ROUTE_KEYS = ("to", "via")

ADDRESSES_MAX = 8


def read_uplink(name: str, fields: Fields) -> Uplink:
    if "addresses" not in fields.value or fields.value["addresses"] == []:
        key = ("addresses",) if "addresses" in fields.value else ()
        fields.say("the uplink has no addresses", "the router's there, with its segment: [192.0.2.1/24]", *key)
    addresses = fields.take_list("addresses", read_attached)
    if len(addresses) > ADDRESSES_MAX:
        fields.say(f"an uplink has at most {ADDRESSES_MAX} addresses, and this one has {len(addresses)}",
                   "rewrites may use addresses that are not listed here", "addresses")  # fmt: skip
    for index, each in enumerate(addresses):
        if any(each.ip == other.ip for other in addresses[:index]):
            fields.say(f"{each.ip} stands in the list twice", "write it once", "addresses", index)
    return Uplink(
        name,
        port=fields.require("port", read_port) or "",
        addresses=addresses,
        host=fields.take("host", read_text),
        mac=fields.take("mac", read_mac),
        routes=_read_routes(fields, addresses),
    )


def read_attached(value: object) -> Attached:
    """A unicast address with the length of its segment's prefix: 192.0.2.1/24."""
    text = read_text(value)
    address, slash, length = text.partition("/")
    if not slash:
        raise Unfit(f"{shown(text)} has no length", "an address with its segment's length, like 192.0.2.1/24")
    ip = read_address(address)
    if not (length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= ip.max_prefixlen):
        raise Unfit(f"{shown(text)} is not an address with a length", "like 192.0.2.1/24 or 2001:db8::1/64")
    attached: Attached = ip_interface(f"{ip}/{length}")
    network = attached.network
    if ip.version == 4 and network.prefixlen < 31 and ip in (network.network_address, network.broadcast_address):
        raise Unfit(f"{ip} is the network or the broadcast address of {network}", "an address between them")
    return attached


def _read_routes(fields: Fields, addresses: tuple[Attached, ...]) -> tuple[Route, ...]:
    found: dict[object, Route] = {}
    for route in fields.mappings("routes", ROUTE_KEYS):
        to, via = route.require("to", read_cidr), route.require("via", read_address)
        if to is None or via is None:
            continue
        if to.version != via.version:
            route.say(f"{via} is not of the IP version of {to}", "a next hop of the same version", "via")
        elif any(via == each.ip for each in addresses):
            route.say(f"{via} is the uplink's own address", "the address of the next router", "via")
        if to in found:
            route.say(f"there is a route to {to} already", "one route a prefix", "to")
        found[to] = Route(to, via)
    return tuple(found.values())
