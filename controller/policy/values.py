"""Scalars of a policy document, each read into its type. PURE.

Every reader takes one value as it stands in the document and returns what the model holds, or raises `Unfit`, which
says what is wrong and what would be right; where it stood is the caller's to add. Types are strict: true is not 1 and
"10" is not 10, because a document that is only nearly right is not what its author thinks it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeVar

from controller.errors import TripointError
from controller.mac import Mac
from controller.policy.model import Address, Cidr, Dpid

E = TypeVar("E", bound=Enum)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
PORT_BYTES = 15
"""Linux IFNAMSIZ without the closing zero; the OpenFlow port name is as long."""
LABEL_CHARACTERS = 255

_DPID = re.compile(r"[0-9A-Fa-f]{16}|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){7}")
_SHOWN = 48


class Unfit(TripointError):
    """A value that its key cannot have. Caught by `load`, which knows the path."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)


def shown(value: object) -> str:
    """A value as a message shows it: short, printable, and never the contents of a list or mapping."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "…")
        case int() if value.bit_length() > 64:
            return "a number of more than 64 bits"
        case int() | float():
            return str(value)
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case bytes():
            return "binary data"
        case _:
            return f"a {type(value).__name__}"


def read_text(value: object) -> str:
    if not isinstance(value, str):
        quote = isinstance(value, (int, float))
        raise Unfit(f"{shown(value)} is not a string", "put it in quotes" if quote else "write one string")
    return value


def read_name(value: object) -> str:
    """1 to 63 of A-Z a-z 0-9 _ . -, the first one a letter or a digit."""
    name = read_text(value)
    if not NAME.fullmatch(name):
        raise Unfit(f"{shown(name)} is not a name", "1 to 63 of A-Z a-z 0-9 _ . - with a letter or a digit first")
    return name


_TUNNEL_PORT = re.compile("tp-p?[0-9a-f]{10}")
"""Names that `tunnels` makes."""


def read_port(value: object) -> str:
    """The name of a port or bridge: 1 to 15 printable bytes without whitespace, `/` and `:` (Linux dev_valid_name)."""
    port = read_text(value)
    if not port:
        raise Unfit("the name of a port is empty", "the name that the port has on its bridge")
    if len(port.encode(errors="replace")) > PORT_BYTES:
        raise Unfit(f"{shown(port)} is longer than {PORT_BYTES} bytes", "Linux has no interface with so long a name")
    if _TUNNEL_PORT.fullmatch(port):
        raise Unfit(f"{shown(port)} is what a tunnel's port is called", "the name of another port")
    unfit = port in (".", "..") or "/" in port or ":" in port
    if unfit or not port.isprintable() or any(letter.isspace() for letter in port):
        raise Unfit(f"{shown(port)} is not the name of a port", "1 to 15 printable bytes without / : and whitespace")
    return port


def read_boolean(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise Unfit(f"{shown(value)} is neither true nor false", "write true or false")
    return value


def read_iface_id(value: object) -> str:
    """What identifies a port to those who made it: 1 to 255 printable characters."""
    text = read_text(value)
    if not 0 < len(text) < 256 or not text.isprintable():
        raise Unfit(f"{shown(text)} is not an iface-id", "1 to 255 printable characters")
    return text


def read_database(value: object) -> str:
    """A database as ovs-vsctl(8) --db takes it, or `from:SYSTEM-ID` for one whose host connects by itself."""
    text = read_text(value)
    kind, _, rest = text.partition(":")
    if not _is_remote(kind, rest) and not (kind == "from" and NAME.fullmatch(rest)):
        raise Unfit(f"{shown(text)} names no database", "unix:/FILE, tcp:IP:PORT, ssl:IP:PORT or from:SYSTEM-ID")
    return text


def read_controller(value: object) -> str:
    """Where a bridge looks for its controller, as ovs-vsctl(8) set-controller takes it."""
    text = read_text(value)
    if not _is_remote(*text.partition(":")[::2]):
        raise Unfit(f"{shown(text)} is no place of a controller", "tcp:IP:PORT, ssl:IP:PORT or unix:/FILE")
    return text


def _is_remote(kind: str, rest: str) -> bool:
    """Whether `kind:rest` is an active connection method (ovsdb(7)); an IPv6 address stands in brackets."""
    if kind == "unix":
        return rest.startswith("/") and rest.isprintable()
    address, _, port = rest.rpartition(":")
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if kind not in ("tcp", "ssl") or (":" in bare) != (bare != address):
        return False
    try:
        ip_address(bare)
    except ValueError:
        return False
    return port.isascii() and port.isdecimal() and 0 < int(port) < 65536


def read_mac(value: object) -> Mac:
    """A unicast MAC address other than zero."""
    if not isinstance(value, str):
        raise Unfit(f"{shown(value)} is not a MAC address", 'six octets in quotes, like "02:00:00:00:00:01"')
    try:
        mac = Mac.parse(value)
    except ValueError:
        raise Unfit(f"{shown(value)} is not a MAC address", "six octets, like 02:00:00:00:00:01") from None
    if mac.is_multicast:
        raise Unfit(f"{mac} is a multicast address", "the lowest bit of the first octet must be 0")
    if not mac.value:
        raise Unfit("a MAC address of zero is nobody's", "the address of the endpoint's interface")
    return mac


def read_address(value: object) -> Address:
    """One unicast address without a prefix; not unspecified, loopback, broadcast, nor IPv4 in IPv6 form."""
    text = read_text(value)
    try:
        address = _address(text)
    except ValueError:
        raise Unfit(f"{shown(text)} is not an IP address", _address_hint(text)) from None
    if nature := _unusable(address):
        raise Unfit(f"{address} is {nature}, which nobody can have", "a unicast address")
    return address


def read_cidr(value: object) -> Cidr:
    """An IPv4 or IPv6 prefix in the form address/length, with no host bits set."""
    text = read_text(value)
    _, slash, length = text.partition("/")
    if not slash or not (length.isascii() and length.isdigit()) or "%" in text:
        raise Unfit(f"{shown(text)} is not a prefix", "an address and a length, like 192.168.5.0/24 or 2001:db8::/64")
    kind = IPv6Network if ":" in text else IPv4Network
    try:
        loose: Cidr = kind(text, strict=False)
    except ValueError:
        raise Unfit(f"{shown(text)} is not a prefix", "like 192.168.5.0/24 or 2001:db8::/64") from None
    try:
        cidr: Cidr = kind(text)
    except ValueError:
        raise Unfit(f"{shown(text)} has bits set after its first {loose.prefixlen}", f"write {loose}") from None
    mapped = isinstance(cidr, IPv6Network) and int(cidr.network_address) >> 32 == 0xFFFF
    if cidr.is_multicast or cidr.is_loopback or mapped:
        raise Unfit(f"{cidr} holds no address that an endpoint can have", "a unicast prefix")
    return cidr


def read_dpid(value: object) -> Dpid:
    """16 hexadecimal digits, colons between the octets tolerated; not zero."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise Unfit(f"{shown(value)} is a number, not a string", "put the 16 hexadecimal digits in quotes")
    text = read_text(value)
    if not _DPID.fullmatch(text):
        raise Unfit(
            f"{shown(text)} is not a datapath id",
            "16 hexadecimal digits, as `ovs-vsctl get bridge NAME datapath_id` prints them",
        )
    dpid = int(text.replace(":", ""), 16)
    if not dpid:
        raise Unfit("a datapath id of zero is no bridge's", "as `ovs-vsctl get bridge NAME datapath_id` prints it")
    return Dpid(dpid)


def read_label(value: object) -> str:
    text = read_text(value)
    if len(text) > LABEL_CHARACTERS or not text.isprintable():
        raise Unfit(f"{shown(text)} is not a label's value", f"at most {LABEL_CHARACTERS} printable characters")
    return text


def whole(low: int, high: int) -> Callable[[object], int]:
    """A reader of whole numbers from low to high, both included."""

    def read(value: object) -> int:
        if type(value) is not int:
            digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20
            raise Unfit(
                f"{shown(value)} is not a whole number",
                f"drop the quotes: {value}" if digits else f"a number from {low} to {high}",
            )
        if not low <= value <= high:
            raise Unfit(f"{shown(value)} is not from {low} to {high}", f"a number from {low} to {high}")
        return value

    return read


def choice(kind: type[E]) -> Callable[[object], E]:
    """A reader of one of an enum's values."""
    by_value = {str(member.value): member for member in kind}
    hint = "write " + " or ".join(by_value)

    def read(value: object) -> E:
        found = by_value.get(value) if isinstance(value, str) else None
        if found is None:
            raise Unfit(f"{shown(value)} is not one of: {', '.join(by_value)}", hint)
        return found

    return read


def _address(text: str) -> Address:
    if "%" in text or "/" in text:
        raise ValueError(text)
    return IPv6Address(text) if ":" in text else IPv4Address(text)


def _address_hint(text: str) -> str:
    address, slash, _ = text.partition("/")
    if slash:
        try:
            return f"without the prefix: {ip_network(address)[0]}"
        except ValueError:
            pass
    if "%" in text:
        return "without the zone after '%'"
    return "like 192.168.5.1 or 2001:db8::1"


def _unusable(address: Address) -> str:
    """What keeps an address from being an endpoint's own (RFC 1122 section 3.2.1.3, RFC 4291); "" if nothing."""
    value = int(address)
    if not value:
        return "the unspecified address"
    if isinstance(address, IPv4Address):
        if value == 0xFFFFFFFF:
            return "the broadcast address"
        return {127: "a loopback address"}.get(value >> 24, "a multicast address" if value >> 28 == 14 else "")
    if value == 1:
        return "the loopback address"
    if value >> 120 == 0xFF:
        return "a multicast address"
    return "an IPv4 address in IPv6 form" if value >> 32 == 0xFFFF else ""
