"""Rewrites, read from a document. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import assert_never

from controller.policy.fields import Fields
from controller.policy.model import Address
from controller.policy.rewrites import Forward, Masquerade, OneToOne, Rewrite, Snat, Target
from controller.policy.services import WITH_PORTS, read_protocol
from controller.policy.values import Unfit, choice, read_address, read_boolean, read_name, read_text, shown, whole

REWRITE_KEYS = ("name", "network", "type", "address", "proto", "l4_port", "to", "stateless")

SNAT_MAX = 256
"""Addresses of a range."""
TARGETS_MAX = 16
"""Endpoints of a forward: they are told apart by four bits of the source port."""


class Type(Enum):
    """What `type` may be."""

    MASQUERADE = "masquerade"
    SNAT = "snat"
    DNAT = "dnat"
    FORWARD = "forward"
    ONE_TO_ONE = "one_to_one"


_KEYS: Mapping[Type, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Type.MASQUERADE: ((), ()),
    Type.SNAT: (("to",), ()),
    Type.DNAT: (("address", "to"), ()),
    Type.FORWARD: (("proto", "l4_port", "to"), ("address",)),
    Type.ONE_TO_ONE: (("address", "to"), ("stateless",)),
}
"""Besides name, network and type: what a type must have, and what it may have."""

_read_type = choice(Type)
_read_l4_port = whole(1, 65535)


def read_rewrite(name: str, fields: Fields) -> Rewrite:
    network = fields.require("network", read_text) or ""
    kind = fields.require("type", _read_type)
    if kind is None:
        return Masquerade(name, network)
    needed, possible = _KEYS[kind]
    for key in needed:
        if key not in fields.value:
            fields.say(f"{key} is missing", f"{kind.value} needs {', '.join(needed)}")
    for key in REWRITE_KEYS[3:]:
        if key in fields.value and key not in (*needed, *possible):
            fields.say(f"{key} means nothing for {kind.value}", "leave it out", key)
    match kind:
        case Type.MASQUERADE:
            return Masquerade(name, network)
        case Type.SNAT:
            first, last = fields.take("to", _read_range) or (_NO_ADDRESS, _NO_ADDRESS)
            return Snat(name, network, first, last)
        case Type.DNAT:
            target = fields.take("to", _read_endpoint)
            return Forward(name, network, None, None, (target or _NOBODY,), fields.take("address", read_address))
        case Type.FORWARD:
            return _read_forward(name, network, fields)
        case Type.ONE_TO_ONE:
            address = fields.take("address", read_address) or _NO_ADDRESS
            target = fields.take("to", _read_endpoint) or _NOBODY
            return OneToOne(name, network, address, target, fields.take("stateless", read_boolean) or False)
        case _:
            assert_never(kind)


_NO_ADDRESS: Address = read_address("192.0.2.1")
_NOBODY = Target("")
"""Stand in for what could not be read, in a rewrite that is refused for it."""


def _read_forward(name: str, network: str, fields: Fields) -> Forward:
    value = fields.value.get("to")
    if isinstance(value, list):
        targets = fields.take_list("to", _read_target)
        if not value:
            fields.say("the list is empty, so that it leads nowhere", "name at least one endpoint", "to")
        if len(value) > TARGETS_MAX:
            fields.say(f"more than {TARGETS_MAX} endpoints cannot share a port", "name fewer", "to")
    else:
        target = fields.take("to", _read_target)
        targets = (target,) if target is not None else ()
    return Forward(
        name,
        network,
        fields.take("proto", _read_protocol),
        fields.take("l4_port", _read_l4_port),
        targets,
        fields.take("address", read_address),
    )


def _read_protocol(value: object) -> int:
    protocol = read_protocol(value)
    if protocol not in WITH_PORTS:
        raise Unfit(f"{shown(value)} has no ports", "tcp, udp or sctp; dnat leads every protocol to one endpoint")
    return protocol


def _read_target(value: object) -> Target:
    """An endpoint, and the port there where it is another one: web1:8800."""
    text = read_text(value)
    endpoint, colon, port = text.partition(":")
    if not colon:
        return Target(read_name(text))
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise Unfit(f"{shown(text)} is not an endpoint and a port", "like web1, or web1:8800")
    return Target(read_name(endpoint), int(port))


def _read_endpoint(value: object) -> Target:
    """An endpoint, every port of it."""
    if isinstance(value, str) and ":" in value:
        raise Unfit(f"{shown(value)} names a port, and every port is meant", f"write {value.partition(':')[0]}")
    if isinstance(value, list):
        raise Unfit("a list is not one endpoint", "only forward leads to several")
    return Target(read_name(value))


def _read_range(value: object) -> tuple[Address, Address]:
    """One address, or several from first to last: 192.0.2.10-192.0.2.20."""
    text = read_text(value)
    low, dash, high = text.partition("-")
    first = read_address(low)
    last = read_address(high) if dash else first
    if first.version != last.version:
        raise Unfit(f"{first} and {last} are of different IP versions", "a range is of one IP version")
    count = int(last) - int(first) + 1
    if count < 1:
        raise Unfit(f"{shown(text)} ends before it begins", f"write {last}-{first}")
    if count > SNAT_MAX:
        raise Unfit(f"{shown(text)} has more than {SNAT_MAX} addresses", "a smaller range")
    return first, last
