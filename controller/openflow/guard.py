"""The length-checking framer that stands between a peer's bytes and every parser. PURE.

Until it has shown otherwise, whoever connects is hostile. A parser that trusts a length inside a message can be made to
loop for ever with a zero (CVE-2024-34483 to CVE-2024-34489 name seven places in Ryu's), or to fail in the
middle of a handshake. So a connection goes through three phases, each message type has its place, and every length and
name inside what is let through has been checked. What a switch sends unasked and nobody here reads is dropped; what it
has no reason to send ends the connection.

Layouts: OpenFlow 1.4.0 sections 7.1.1 (header), 7.2.1 (ports), 7.3.1, 7.3.5, 7.3.9, 7.4.1, 7.4.3, 7.5.
"""

from __future__ import annotations

from enum import Enum
from struct import Struct
from typing import Final

from controller.errors import SwitchError
from controller.openflow.decode import FLOW_STATS, MULTIPART_BYTES, PORT, PortReason, has_more, multipart_type
from controller.openflow.error_names import HELLO_FAILED, name_error
from controller.openflow.packets import FRAME_PADDING_BYTES, PACKET_IN
from controller.openflow.protocol import EXPERIMENTER, HEADER_BYTES, VERSION, BundleControl, Message, Multipart

_HEADER: Final = Struct("!BBH")
_PAIR: Final = Struct("!HH")
_U16: Final = Struct("!H")
_OLDEST, _NEWEST = 1, 6  # OpenFlow 1.0 and 1.5: the versions a HELLO may name in its header
_VERSION_BITMAP: Final = 1
_FEATURES_BYTES: Final = 32
_BUNDLE_BYTES: Final = 16
_MOST_PORTS: Final = 0xFFFF
"""A switch with more is not believed: OpenFlow 1.0, which Open vSwitch also serves, has 16 bits for them."""
_LEAST_MATCH_BYTES: Final = 8
_SMALLEST_PROPERTY: Final = {0: 32, 1: 40, EXPERIMENTER: 12}
"""Octets of a port's Ethernet, optical and experimenter property."""

_DROPPED: Final = frozenset(
    (
        Message.PACKET_IN,  # in the handshake
        Message.FLOW_REMOVED,
        Message.ROLE_STATUS,
        Message.TABLE_STATUS,
        Message.REQUESTFORWARD,
    )
)
"""What a switch may send unasked and nobody here reads."""


class GuardError(SwitchError):
    """The peer's bytes are not what an OpenFlow 1.4 switch sends at this point; the connection must end."""


def is_wholly_checked(message: bytes) -> bool:
    """Whether nothing inside a message that the framer passed is left unread by it: also a careless parser ends on it.

    Not so the flows of an OFPMP_FLOW reply, whose instructions nobody here reads.
    """
    return message[1] != Message.MULTIPART_REPLY or multipart_type(message) == Multipart.PORT_DESC


class Phase(Enum):
    """How far the handshake is. READY: features and all ports are known."""

    HELLO = "hello"
    FEATURES = "features"
    PORTS = "ports"
    READY = "ready"


class Framer:
    """Cuts one connection's bytes into checked messages. After a GuardError it must not be fed again."""

    def __init__(self) -> None:
        self.phase = Phase.HELLO
        self._buffer = bytearray()
        self._handshake_ports = 0

    @property
    def pending_bytes(self) -> int:
        """Octets of a message that is not complete yet; below 65,536 between two calls of `feed`."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now, each checked, in order. Raises GuardError with a sentence.

        What preceded the offending message in `data` is then lost too: the connection ends anyway.
        """
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        offset, available = 0, len(buffer)
        while available - offset >= HEADER_BYTES:
            version, kind, length = _HEADER.unpack_from(buffer, offset)
            if length < HEADER_BYTES:
                raise GuardError(f"the peer sent a message of length {length}; a header takes {HEADER_BYTES} octets")
            self._check_header(version, kind)
            if available - offset < length:
                break
            message = bytes(buffer[offset : offset + length])
            offset += length
            if self._admit(kind, message):
                messages.append(message)
        del buffer[:offset]
        return messages

    def _check_header(self, version: int, kind: int) -> None:
        """Refuse what can be refused before the rest of the message is there."""
        if self.phase is Phase.HELLO:
            if not _OLDEST <= version <= _NEWEST:
                raise GuardError(f"the peer speaks OpenFlow wire version {version:#04x}, which does not exist")
            if kind not in (Message.HELLO, Message.ERROR):
                raise GuardError(f"the peer began with a message of type {kind} in place of an OpenFlow HELLO")
        elif version != VERSION:
            raise GuardError(f"the peer sent wire version {version:#04x} after OpenFlow 1.4 was agreed on")

    def _admit(self, kind: int, message: bytes) -> bool:
        """Check a whole message. True: pass it on; False: drop it."""
        phase = self.phase
        match kind:
            case Message.HELLO if phase is Phase.HELLO:
                _check_hello(message)
                self.phase = Phase.FEATURES
            case Message.ERROR:
                _check_error(message, phase)
            case Message.ECHO_REQUEST | Message.ECHO_REPLY:
                pass  # any length is right: the rest is data
            case Message.FEATURES_REPLY if phase is Phase.FEATURES:
                _check_features(message)
                self.phase = Phase.PORTS
            case Message.PORT_STATUS:
                _check_port_status(message)
            case Message.PACKET_IN if phase is Phase.READY:
                _check_packet_in(message)
            case Message.MULTIPART_REPLY if phase in (Phase.PORTS, Phase.READY):
                self._check_multipart(message)
            case Message.BARRIER_REPLY if phase is Phase.READY:
                _exactly(message, HEADER_BYTES, "barrier reply")
            case Message.BUNDLE_CONTROL if phase is Phase.READY:
                _check_bundle_control(message)
            case _ if kind in _DROPPED:
                return False
            case _:
                raise GuardError(f"the peer sent a message of type {kind}, which has no place in phase {phase.value!r}")
        return True

    def _check_multipart(self, message: bytes) -> None:
        if len(message) < MULTIPART_BYTES:
            raise GuardError(f"the peer sent a multipart reply of {len(message)} octets")
        kind = multipart_type(message)
        if kind == Multipart.PORT_DESC:
            n_ports = _check_ports(message)
            if self.phase is Phase.PORTS:
                self._handshake_ports += n_ports
                if self._handshake_ports > _MOST_PORTS:
                    raise GuardError(f"the peer describes more than {_MOST_PORTS} ports")
                if not has_more(message):
                    self.phase = Phase.READY
        elif kind == Multipart.FLOW and self.phase is Phase.READY:
            _check_flow_stats(message)
        else:
            raise GuardError(f"the peer sent a multipart reply of type {kind}, for which nobody asked")


def _exactly(message: bytes, length: int, name: str) -> None:
    if len(message) != length:
        raise GuardError(f"the peer sent a {name} of {len(message)} octets; it takes {length}")


def _check_hello(message: bytes) -> None:
    """Every element has its header and lies inside; OpenFlow 1.4 is on offer (section 7.5.1)."""
    offset, end = HEADER_BYTES, len(message)
    offered: set[int] | None = None
    while offset < end:
        if end - offset < _PAIR.size:
            raise GuardError("the peer sent a HELLO with half an element")
        kind, length = _PAIR.unpack_from(message, offset)
        if length < _PAIR.size or offset + length > end:
            raise GuardError(f"the peer sent a HELLO with an element of length {length}")
        if kind == _VERSION_BITMAP:
            if length % 4:
                raise GuardError(f"the peer sent a HELLO with a version bitmap of length {length}")
            bits = int.from_bytes(message[offset + 4 : offset + 8], "big")
            offered = {bit for bit in range(32) if bits >> bit & 1}
        # Not to the next multiple of 8: Ryu takes padding for an element of length 0 and never returns.
        offset += length
    if VERSION not in offered if offered is not None else message[0] < VERSION:
        raise GuardError("the switch does not offer OpenFlow 1.4 (ovs-vsctl set bridge BRIDGE protocols=OpenFlow14)")


def _check_error(message: bytes, phase: Phase) -> None:
    least = HEADER_BYTES + _PAIR.size
    if len(message) < least:
        raise GuardError(f"the peer sent an error message of {len(message)} octets")
    kind, code = _PAIR.unpack_from(message, HEADER_BYTES)
    if kind == HELLO_FAILED or phase is Phase.HELLO:
        text = message[least:].decode("ascii", "backslashreplace")
        raise GuardError(f"the switch refused the handshake: {name_error(kind, code)} {text}".rstrip())
    if kind == EXPERIMENTER and len(message) < least + 4:
        raise GuardError(f"the peer sent an experimenter error of {len(message)} octets")


def _check_features(message: bytes) -> None:
    _exactly(message, _FEATURES_BYTES, "features reply")
    if message[21]:
        raise GuardError("the peer opened an auxiliary connection; only main connections are served")


def _check_port_status(message: bytes) -> None:
    if len(message) < 16 or message[8] not in {reason.value for reason in PortReason}:
        raise GuardError("the peer sent a port status without a port or with an unknown reason")
    if _check_port(message, 16) != len(message):
        raise GuardError("the peer sent a port status with more in it than one port")


def _check_ports(message: bytes) -> int:
    """Check every port; how many there are."""
    offset, n_ports = MULTIPART_BYTES, 0
    while offset < len(message):
        offset = _check_port(message, offset)
        n_ports += 1
    return n_ports


def _check_port(message: bytes, offset: int) -> int:
    """Check one ofp_port with its properties; where the next one begins."""
    if len(message) - offset < PORT.size:
        raise GuardError("the peer sent half a port description")
    ofport, length, _, name = PORT.unpack_from(message, offset)
    end: int = offset + length
    if length < PORT.size or end > len(message):
        raise GuardError(f"the peer sent a description of port {ofport} with length {length}")
    try:
        name.rstrip(b"\0").decode()
    except UnicodeDecodeError as error:
        raise GuardError(f"port {ofport} has a name that is not UTF-8") from error
    offset += PORT.size
    while offset < end:
        if end - offset < _PAIR.size:
            raise GuardError(f"the peer sent half a property of port {ofport}")
        kind, size = _PAIR.unpack_from(message, offset)
        padded = size + 7 & ~7
        if size < _SMALLEST_PROPERTY.get(kind, _PAIR.size) or offset + padded > end:
            raise GuardError(f"the peer sent a property of port {ofport} with length {size}")
        offset += padded
    return end


def _check_flow_stats(message: bytes) -> None:
    """Every flow has its fixed part, and a match of type OXM that lies inside it. Instructions are read by nobody."""
    offset, end = MULTIPART_BYTES, len(message)
    read_length, read_match, fixed = _U16.unpack_from, _PAIR.unpack_from, FLOW_STATS.size
    least = fixed + _LEAST_MATCH_BYTES
    while offset < end:
        if end - offset < least:
            raise GuardError("the peer sent half a flow")
        (length,) = read_length(message, offset)
        kind, match_length = read_match(message, offset + fixed)
        padded = match_length + 7 & ~7
        if not least <= length <= end - offset or kind != 1 or match_length < 4 or padded > length - fixed:
            raise GuardError(f"the peer sent a flow of length {length} with a match of length {match_length}")
        offset += length


def _check_packet_in(message: bytes) -> None:
    """The match is of type OXM and lies inside, and so does every condition in it. The frame is anybody's."""
    start, end = PACKET_IN.size, len(message) - FRAME_PADDING_BYTES
    if end - start < _LEAST_MATCH_BYTES:
        raise GuardError(f"the peer sent a packet-in of {len(message)} octets")
    kind, length = _PAIR.unpack_from(message, start)
    if kind != 1 or length < _PAIR.size or start + (length + 7 & ~7) > end:
        raise GuardError(f"the peer sent a packet-in with a match of type {kind} and length {length}")
    offset, end = start + _PAIR.size, start + length
    while offset < end:
        if end - offset < 4 or offset + 4 + message[offset + 3] > end:
            raise GuardError("the peer sent a packet-in with half a field in its match")
        offset += 4 + message[offset + 3]


def _check_bundle_control(message: bytes) -> None:
    _exactly(message, _BUNDLE_BYTES, "bundle control message")  # no properties: nobody asked for any
    step = int.from_bytes(message[12:14], "big")
    if step not in (BundleControl.OPEN_REPLY, BundleControl.COMMIT_REPLY, BundleControl.DISCARD_REPLY):
        raise GuardError(f"the peer sent a bundle control message of type {step}, which no switch sends")
