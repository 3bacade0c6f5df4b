"""From a document to a Policy, with every problem found on the way. PURE.

A document is what `parse` returns: dicts, lists, strings, numbers, booleans and None. Here each object is read by
itself; what must hold between objects is for `check`. Whole documents and single objects go through the same readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeVar, overload

from controller.errors import PolicyError, Problem
from controller.policy.findings import Findings
from controller.policy.model import (
    API_VERSION,
    Attach,
    Cidr,
    DatapathType,
    Encapsulation,
    Endpoint,
    Host,
    Interface,
    Members,
    Mode,
    Network,
    Overlay,
    Policy,
    Vlan,
    Vni,
)
from controller.policy.values import (
    Unfit,
    choice,
    read_address,
    read_boolean,
    read_cidr,
    read_controller,
    read_database,
    read_dpid,
    read_iface_id,
    read_label,
    read_mac,
    read_name,
    read_port,
    read_text,
    shown,
    whole,
)

T = TypeVar("T")
Kind = Literal["networks", "endpoints", "hosts"]


class Allow(Enum):
    """What `defaults.intra_network` may be, in this version."""

    ALLOW = "allow"


class Drop(Enum):
    """What `defaults.inter_network` may be, in this version."""

    DROP = "drop"


class Strict(Enum):
    """What `defaults.port_security` may be, in this version."""

    STRICT = "strict"


DOCUMENT_KEYS = ("apiVersion", "defaults", "hosts", "overlay", "networks", "endpoints")
DEFAULTS_KEYS = ("intra_network", "inter_network", "port_security")
HOST_KEYS = ("dpid", "bridge", "trunk", "native", "ovsdb", "datapath_type", "controller", "patch", "vtep", "mtu")
OVERLAY_KEYS = ("type", "l4_port", "mtu", "bfd")
NETWORK_KEYS = ("vlan", "vni", "cidrs", "mode", "members", "macs_per_port", "mac_age_s")
ENDPOINT_KEYS = (
    "network", "networks", "attach", "native", "host", "port", "iface_id", "interface", "mac", "ips", "labels",
)  # fmt: skip

LATER = frozenset(("groups", "filters", "tiers", "rules", "rewrites", "gateway", "uplink"))
"""Keys of the whole design that this version does not have."""

MACS_PER_PORT_MAX = 4096
MAC_AGE_MAX_S = 65535
MTU_MIN, MTU_MAX = 576, 65535

_NETWORK = Network("")
"""Holds the model's defaults."""

_read_vlan = whole(1, 4094)
_read_vni = whole(1, (1 << 24) - 1)
_read_macs_per_port = whole(1, MACS_PER_PORT_MAX)
_read_mac_age_s = whole(1, MAC_AGE_MAX_S)
_read_mode = choice(Mode)
_read_members = choice(Members)
_read_attach = choice(Attach)
_read_encapsulation = choice(Encapsulation)
_read_l4_port = whole(1, 65535)
_read_datapath_type = choice(DatapathType)
_read_interface = choice(Interface)
_read_mtu = whole(MTU_MIN, MTU_MAX)


_NEEDED = (("datapath_type", "ovsdb"), ("controller", "ovsdb"), ("patch", "ovsdb"), ("patch", "trunk"), ("mtu", "vtep"))
"""Keys of a host, and what each means nothing without."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What could be read of a document. policy: the objects without a problem of their own; problems: of the others.

    networks, hosts: every name that the document gives to one, read or not, so that an endpoint's reference to an
    object that has a problem of its own is not called unknown.
    """

    policy: Policy
    problems: tuple[Problem, ...]
    networks: frozenset[str]
    hosts: frozenset[str]


def load(document: object) -> Policy:
    """The policy of a document. Raises PolicyError with every problem that an object has by itself."""
    draft = read(document)
    if draft.problems:
        raise PolicyError(draft.problems)
    return draft.policy


def read(document: object) -> Draft:
    """As `load`, but what is sound is returned beside the problems. Raises nothing."""
    findings = Findings()
    fields = _open((), document, DOCUMENT_KEYS, findings)
    sections: dict[str, Mapping[str, object]] = {}
    if fields:
        _read_header(fields)
        for kind in ("hosts", "networks", "endpoints"):
            sections[kind] = fields.section(kind)
    networks, hosts = sections.get("networks", {}), sections.get("hosts", {})
    policy = Policy(
        networks=_read_all("networks", networks, findings),
        endpoints=_read_all("endpoints", sections.get("endpoints", {}), findings),
        hosts=_read_all("hosts", hosts, findings),
        overlay=_read_overlay(fields) if fields else Overlay(),
    )
    return Draft(policy, tuple(findings.problems), frozenset(networks), frozenset(hosts))


@overload
def load_object(kind: Literal["networks"], name: str, value: object, findings: Findings) -> Network | None: ...
@overload
def load_object(kind: Literal["endpoints"], name: str, value: object, findings: Findings) -> Endpoint | None: ...
@overload
def load_object(kind: Literal["hosts"], name: str, value: object, findings: Findings) -> Host | None: ...


def load_object(kind: Kind, name: str, value: object, findings: Findings) -> Network | Endpoint | Host | None:
    """One named object; None where something is wrong: then `findings` says what, with paths in the whole document."""
    known = len(findings.problems)
    at = (kind, name if isinstance(name, str) else shown(name))
    try:
        read_name(name)
    except Unfit as unfit:
        findings.say(at, unfit.message, unfit.hint)
    fields = _open(at, value, _OBJECT_KEYS[kind], findings)
    if fields is None:
        return None
    found = _READERS[kind](name, fields)
    return found if len(findings.problems) == known else None


@overload
def _read_all(kind: Literal["networks"], section: Mapping[str, object], findings: Findings) -> dict[str, Network]: ...
@overload
def _read_all(kind: Literal["endpoints"], section: Mapping[str, object], findings: Findings) -> dict[str, Endpoint]: ...
@overload
def _read_all(kind: Literal["hosts"], section: Mapping[str, object], findings: Findings) -> dict[str, Host]: ...


def _read_all(kind: Kind, section: Mapping[str, object], findings: Findings) -> Mapping[str, object]:
    read_objects = ((name, load_object(kind, name, value, findings)) for name, value in section.items())
    return {name: found for name, found in read_objects if found is not None}


class _Fields:
    """One mapping of the document while it is being read: hands out its keys and says where a problem is."""

    __slots__ = ("at", "findings", "value")

    def __init__(self, at: tuple[str, ...], value: Mapping[str, object], findings: Findings) -> None:
        self.at = at
        self.value = value
        self.findings = findings

    def say(self, message: str, hint: str = "", *key: str | int) -> None:
        self.findings.say((*self.at, *key), message, hint)

    def take(self, key: str, reader: Callable[[object], T]) -> T | None:
        """The value of a key; None where it is missing or has a problem."""
        if key not in self.value:
            return None
        return self._try(reader, self.value[key], key)

    def take_list(self, key: str, reader: Callable[[object], T]) -> tuple[T, ...]:
        """The sound items of a list; () where it is missing."""
        if key not in self.value:
            return ()
        items = self.value[key]
        if not isinstance(items, list):
            example = f"write [{items}]" if isinstance(items, str) and items.isprintable() and len(items) < 64 else ""
            self.say(f"{shown(items)} is not a list", example, key)
            return ()
        found: dict[T, None] = {}
        for index, item in enumerate(items):
            value = self._try(reader, item, key, index)
            if value is None:
                continue
            if value in found:
                self.say(f"{value} stands in the list twice", "write it once", key, index)
            found[value] = None
        return tuple(found)

    def section(self, key: str) -> Mapping[str, object]:
        """The mapping under a key; empty where it is missing or not one."""
        value = self.value.get(key, {})
        if not isinstance(value, dict):
            hint = "write {} for none, or leave the key out" if value is None else "a mapping from names to objects"
            self.say(f"{shown(value)} is not a mapping", hint, key)
            return {}
        return value

    def _try(self, reader: Callable[[object], T], value: object, *key: str | int) -> T | None:
        try:
            return reader(value)
        except Unfit as unfit:
            self.say(unfit.message, unfit.hint, *key)
            return None


def _open(at: tuple[str, ...], value: object, keys: tuple[str, ...], findings: Findings) -> _Fields | None:
    """A mapping with its unknown keys reported; None where it is none."""
    if not isinstance(value, dict):
        what = " of ".join(("a mapping", ", ".join(keys)))
        findings.say(at, f"{shown(value)} is not a mapping", what)
        return None
    for key in value:
        if key not in keys:
            if not isinstance(key, str):
                findings.say((*at, str(shown(key))), f"the key {shown(key)} is not a string", "put it in quotes")
                continue
            hint = findings.nearest.hint(" ".join(keys), key, keys) or f"known are: {', '.join(keys)}"
            if key in LATER:
                hint = "this version does not have it yet"
            findings.say((*at, key), f"the key {shown(key)} is unknown", hint)
    return _Fields(at, value, findings)


def _read_header(fields: _Fields) -> None:
    version = fields.value.get("apiVersion")
    if "apiVersion" not in fields.value:
        fields.say("apiVersion is missing", f"write apiVersion: {API_VERSION}")
    elif version != API_VERSION:
        fields.say(f"{shown(version)} is not a version known here", f"write {API_VERSION}", "apiVersion")
    if "defaults" in fields.value:
        defaults = _open(("defaults",), fields.value["defaults"], DEFAULTS_KEYS, fields.findings)
        if defaults:
            defaults.take("intra_network", choice(Allow))
            defaults.take("inter_network", choice(Drop))
            defaults.take("port_security", choice(Strict))


def _read_overlay(fields: _Fields) -> Overlay:
    default = Overlay()
    if "overlay" not in fields.value:
        return default
    overlay = _open(("overlay",), fields.value["overlay"], OVERLAY_KEYS, fields.findings)
    if not overlay:
        return default
    encapsulation = overlay.take("type", _read_encapsulation) or default.type
    l4_port = overlay.take("l4_port", _read_l4_port)
    if l4_port is not None and encapsulation is Encapsulation.GRE:
        overlay.say("GRE has no ports", "leave it out", "l4_port")
    mtu = overlay.take("mtu", _read_mtu) if overlay.value.get("mtu") != "auto" else None
    bfd = overlay.take("bfd", read_boolean)
    return Overlay(encapsulation, l4_port, mtu, default.bfd if bfd is None else bfd)


def _read_host(name: str, fields: _Fields) -> Host:
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


def _read_network(name: str, fields: _Fields) -> Network:
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


def _read_endpoint(name: str, fields: _Fields) -> Endpoint:
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
        labels=_read_labels(fields),
        native=native,
        iface_id=iface_id,
        interface=fields.take("interface", _read_interface) or Interface.SYSTEM,
    )


def _read_networks(fields: _Fields) -> tuple[str, ...]:
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


def _read_labels(fields: _Fields) -> tuple[tuple[str, str], ...]:
    """Sorted by key: the order in which labels are written means nothing."""
    labels: list[tuple[str, str]] = []
    for key, value in fields.section("labels").items():
        try:
            labels.append((read_name(key), read_label(value)))
        except Unfit as unfit:
            fields.say(unfit.message, unfit.hint, "labels", key if isinstance(key, str) else shown(key))
    return tuple(sorted(labels))


_OBJECT_KEYS: Mapping[str, tuple[str, ...]] = {"networks": NETWORK_KEYS, "endpoints": ENDPOINT_KEYS, "hosts": HOST_KEYS}
_READERS: Mapping[str, Callable[[str, _Fields], Network | Endpoint | Host]] = {
    "networks": _read_network,
    "endpoints": _read_endpoint,
    "hosts": _read_host,
}
KEYS: Mapping[str, tuple[str, ...]] = {
    "": DOCUMENT_KEYS,
    "defaults": DEFAULTS_KEYS,
    "overlay": OVERLAY_KEYS,
    **_OBJECT_KEYS,
}
"""Every key that a document may have, by where it stands. docs/POLICY.md is held against it."""
