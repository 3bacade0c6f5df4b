"""Hosts and the overlay between them, read from a document. PURE."""

from __future__ import annotations

from controller.policy.fields import Fields, open_fields
from controller.policy.model import DatapathType, Encapsulation, Host, Overlay
from controller.policy.values import (
    choice,
    read_address,
    read_boolean,
    read_controller,
    read_database,
    read_dpid,
    read_port,
    read_text,
    whole,
)

HOST_KEYS = ("dpid", "bridge", "trunk", "native", "ovsdb", "datapath_type", "controller", "patch", "vtep", "mtu")
OVERLAY_KEYS = ("type", "l4_port", "mtu", "bfd")
MTU_MIN, MTU_MAX = 576, 65535

_read_encapsulation = choice(Encapsulation)
_read_l4_port = whole(1, 65535)
_read_datapath_type = choice(DatapathType)
_read_mtu = whole(MTU_MIN, MTU_MAX)

_NEEDED = (("datapath_type", "ovsdb"), ("controller", "ovsdb"), ("patch", "ovsdb"), ("patch", "trunk"), ("mtu", "vtep"))
"""Keys of a host, and what each means nothing without."""


def read_overlay(fields: Fields) -> Overlay:
    default = Overlay()
    if "overlay" not in fields.value:
        return default
    overlay = open_fields(("overlay",), fields.value["overlay"], OVERLAY_KEYS, fields.findings)
    if not overlay:
        return default
    encapsulation = overlay.take("type", _read_encapsulation) or default.type
    l4_port = overlay.take("l4_port", _read_l4_port)
    if l4_port is not None and encapsulation is Encapsulation.GRE:
        overlay.say("GRE has no ports", "leave it out", "l4_port")
    mtu = overlay.take("mtu", _read_mtu) if overlay.value.get("mtu") != "auto" else None
    bfd = overlay.take("bfd", read_boolean)
    return Overlay(encapsulation, l4_port, mtu, default.bfd if bfd is None else bfd)


def read_host(name: str, fields: Fields) -> Host:
    managed = "ovsdb" in fields.value
    if ("dpid" in fields.value) == ("bridge" in fields.value) and not managed:
        hint = "leave one out" if "dpid" in fields.value else "bridge: br0, or dpid with 16 hexadecimal digits"
        fields.say("a host is named by exactly one of dpid and bridge", hint)
    if managed and "bridge" not in fields.value:
        fields.say("a host whose database is managed is named by its bridge", "write bridge: br0", "ovsdb")
    for key, needed in _NEEDED:
        if key in fields.value and needed not in fields.value:
            fields.say(f"{key} means nothing without {needed}", f"add {needed}, or leave {key} out", key)
    if managed and fields.value.get("patch") == fields.value.get("bridge") is not None:
        fields.say("the patch leads to the bridge itself", "name another bridge of the host", "patch")
    if "native" in fields.value and "trunk" not in fields.value:
        fields.say("native names the network that is plain on the trunk, and there is no trunk", "add trunk", "native")
    return Host(
        name,
        dpid=fields.take("dpid", read_dpid),
        bridge=fields.take("bridge", read_port),
        trunk=fields.take("trunk", read_port),
        native=fields.take("native", read_text),
        patch=fields.take("patch", read_port),
        ovsdb=fields.take("ovsdb", read_database),
        datapath_type=fields.take("datapath_type", _read_datapath_type) or DatapathType.SYSTEM,
        controller=fields.take("controller", read_controller),
        vtep=fields.take("vtep", read_address),
        mtu=fields.take("mtu", _read_mtu),
    )
