"""Values and matches in ovs-ofctl(8) syntax. PURE."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import assert_never

from controller.flow.fields import ETH_TYPE, FIELDS, IP_PROTO, LOCAL_PORT, VLAN_VID, CtState, Field, Form, Term
from controller.mac import Mac

_PROTOCOLS = {0x0800: "ip", 0x0806: "arp", 0x86DD: "ipv6"}
_TRANSPORTS = {
    (0x0800, 1): "icmp",
    (0x0800, 6): "tcp",
    (0x0800, 17): "udp",
    (0x0800, 132): "sctp",
    (0x86DD, 6): "tcp6",
    (0x86DD, 17): "udp6",
    (0x86DD, 58): "icmp6",
    (0x86DD, 132): "sctp6",
}

_FRAGMENTS = {(1, 1): "yes", (2, 2): "later"}
_CT_STATES = tuple((flag.value, str(flag.name).lower()) for flag in CtState)


def form_value(field: Field, value: int) -> str:
    """A value of a field as ovs-ofctl writes it."""
    match field.form:
        case Form.DECIMAL:
            return str(value)
        case Form.PORT:
            return "LOCAL" if value == LOCAL_PORT else str(value)
        case Form.HEX | Form.CT_STATE | Form.FRAGMENT:
            return f"{value:#x}"
        case Form.MAC:
            return str(Mac(value))
        case Form.IPV4:
            return str(IPv4Address(value))
        case Form.IPV6:
            return str(IPv6Address(value))
        case never:
            assert_never(never)


def form_match(terms: tuple[Term, ...]) -> str:
    """A match as ovs-ofctl reads it: protocol words first, then one `field=value[/mask]` a term."""
    exact = {index: value for index, value, mask in terms if mask == FIELDS[index].all_ones}
    eth_type = exact.get(ETH_TYPE.index)
    word = _TRANSPORTS.get((eth_type or 0, exact.get(IP_PROTO.index, -1)))
    said = {ETH_TYPE.index, IP_PROTO.index} if word else set()
    if not word and eth_type in _PROTOCOLS:
        word, said = _PROTOCOLS[eth_type], {ETH_TYPE.index}
    parts = [word] if word else []
    for index, value, mask in terms:
        if index not in said:
            parts.append(_form_term(FIELDS[index], value, mask))
    return ",".join(parts)


def _form_term(field: Field, value: int, mask: int) -> str:
    if field is VLAN_VID and value == 0 and mask == field.all_ones:
        return "vlan_tci=0x0000/0x1fff"
    if field.form is Form.CT_STATE and mask <= sum(CtState):
        return f"{field.name}={_form_ct_state(value, mask)}"
    if field.form is Form.FRAGMENT and (value, mask) in _FRAGMENTS:
        return f"{field.name}={_FRAGMENTS[value, mask]}"
    text = f"{field.name}={form_value(field, value)}"
    return text if mask == field.all_ones else f"{text}/{_form_mask(field, mask)}"


def _form_ct_state(value: int, mask: int) -> str:
    """`+trk-inv`: the flags that must be set and those that must not."""
    return "".join(f"{'+' if value & bit else '-'}{name}" for bit, name in _CT_STATES if mask & bit)


def _form_mask(field: Field, mask: int) -> str:
    """The length where it is a prefix: ovs-ofctl takes an IPv6 mask that begins with a digit for a length."""
    ones = mask.bit_count()
    if field.form in (Form.IPV4, Form.IPV6) and mask == field.all_ones >> (field.n_bits - ones) << (
        field.n_bits - ones
    ):
        return str(ones)
    return form_value(field, mask)
