"""Endpoints, read from a document. PURE."""

from __future__ import annotations

from controller.policy.fields import Fields
from controller.policy.model import Attach, Endpoint, Interface
from controller.policy.values import (
    Unfit,
    choice,
    read_address,
    read_cidr,
    read_iface_id,
    read_label,
    read_mac,
    read_name,
    read_port,
    read_text,
    shown,
)

ENDPOINT_KEYS = (
    "network", "networks", "attach", "native", "host", "port", "iface_id", "interface", "mac", "ips", "routes",
    "labels",
)  # fmt: skip

_read_attach = choice(Attach)
_read_interface = choice(Interface)


def read_endpoint(name: str, fields: Fields) -> Endpoint:
    value = fields.value
    networks = _read_networks(fields)
    port, iface_id = fields.take("port", read_port), fields.take("iface_id", read_iface_id)
    if "port" in value and "iface_id" in value:
        fields.say("a port is known by its name or by its iface_id, not by both", "leave one of them out", "iface_id")
    elif "port" not in value and "iface_id" not in value and "mac" not in value:
        fields.say("the endpoint has no port", "the name that its port has on the bridge")
    if "interface" in value and not ("port" in value and "host" in value):
        fields.say("only a port of a known name and host is made", "give it a port and a host", "interface")
    mac, ips = fields.take("mac", read_mac), fields.take_list("ips", read_address)
    if "mac" not in value:
        if value.get("ips"):
            fields.say("an endpoint without a mac has no ips", "give it a mac; addresses belong to a known one", "ips")
        if value.get("routes"):
            fields.say("nothing can be routed to an endpoint without a mac", "give it a mac", "routes")
        if len(networks) > 1:
            fields.say("an endpoint without a mac is in one network only", "give it a mac", "networks")
    attach = fields.take("attach", _read_attach) or Attach.UNTAGGED
    native = fields.take("native", read_text)
    if native is not None and attach is not Attach.TAGGED:
        fields.say("only a tagged endpoint has a native network", "write attach: tagged, or leave it out", "native")
    elif native is not None and native not in networks:
        fields.say(f"{shown(native)} is not one of its networks", "name one of its networks", "native")
    return Endpoint(
        name,
        networks=networks,
        port=port or "",
        attach=attach,
        host=fields.take("host", read_text),
        mac=mac,
        ips=ips,
        labels=read_labels(fields, "labels"),
        native=native,
        iface_id=iface_id,
        routes=fields.take_list("routes", read_cidr),
        interface=fields.take("interface", _read_interface) or Interface.SYSTEM,
    )


def _read_networks(fields: Fields) -> tuple[str, ...]:
    one, many = "network" in fields.value, "networks" in fields.value
    if one and many:
        fields.say("an endpoint has network or networks, not both", "put every name into networks", "network")
    elif not one and not many:
        fields.say("the endpoint is in no network", "network: NAME, or networks: [NAME, NAME] for a shared member")
    elif one:
        if isinstance(fields.value["network"], list):
            fields.say("a list is not the name of one network", "the key for several is networks", "network")
            return ()
        name = fields.take("network", read_text)
        return () if name is None else (name,)
    elif fields.value["networks"] == []:
        fields.say("the list is empty, so that the endpoint is in no network", "name at least one", "networks")
    return fields.take_list("networks", read_text)


def read_labels(fields: Fields, section: str) -> tuple[tuple[str, str], ...]:
    """Sorted by key: the order in which labels are written means nothing."""
    labels: list[tuple[str, str]] = []
    for key, value in fields.section(section).items():
        try:
            labels.append((read_name(key), read_label(value)))
        except Unfit as unfit:
            fields.say(unfit.message, unfit.hint, section, key if isinstance(key, str) else shown(key))
    return tuple(sorted(labels))
