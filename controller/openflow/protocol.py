"""The numbers of OpenFlow 1.4 that we speak. PURE.

Source: OpenFlow Switch Specification 1.4.0, section 7.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

VERSION: Final = 0x05
"""OpenFlow 1.4."""
HEADER_BYTES: Final = 8
MAX_MESSAGE_BYTES: Final = 0xFFFF
MAX_XID: Final = 0xFFFFFFFF

TABLE_ALL: Final = 0xFF
CONTROLLER_PORT: Final = 0xFFFFFFFD
"""OFPP_CONTROLLER: where a packet comes from that the controller has made."""
PORT_ANY: Final = 0xFFFFFFFF
GROUP_ANY: Final = 0xFFFFFFFF
NO_BUFFER: Final = 0xFFFFFFFF
ALL_COOKIE_BITS: Final = 0xFFFFFFFFFFFFFFFF
REPLY_MORE: Final = 1
"""OFPMPF_REPLY_MORE: more parts of this multipart reply follow."""
EXPERIMENTER: Final = 0xFFFF
"""The type of an action or error whose meaning an experimenter id says."""
NICIRA: Final = 0x00002320
"""The experimenter id of Open vSwitch's own messages, actions and errors."""
PADDING: Final = tuple(bytes(-length % 8) for length in range(8))
"""By length modulo 8: the zeros that make it a multiple of 8."""


class Message(IntEnum):
    """OFPT_*: the type of a message."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    EXPERIMENTER = 4
    FEATURES_REQUEST = 5
    FEATURES_REPLY = 6
    SET_CONFIG = 9
    PACKET_IN = 10
    FLOW_REMOVED = 11
    PORT_STATUS = 12
    PACKET_OUT = 13
    FLOW_MOD = 14
    MULTIPART_REQUEST = 18
    MULTIPART_REPLY = 19
    BARRIER_REQUEST = 20
    BARRIER_REPLY = 21
    METER_MOD = 29
    ROLE_STATUS = 30
    TABLE_STATUS = 31
    REQUESTFORWARD = 32
    BUNDLE_CONTROL = 33
    BUNDLE_ADD_MESSAGE = 34


CT_FLUSH: Final = 32
"""NXT_CT_FLUSH, of Open vSwitch from 3.1 on: have conntrack forget connections."""


class Multipart(IntEnum):
    """OFPMP_*: what a multipart message asks for or brings."""

    FLOW = 1
    PORT_DESC = 13


FRAGMENTS_NX_MATCH: Final = 3
"""OFPC_FRAG_NX_MATCH of Open vSwitch: what is in a first fragment can be matched (ovs-ofctl(8) set-frags)."""


class FlowCommand(IntEnum):
    """OFPFC_*: what a flow-mod does."""

    ADD = 0
    DELETE = 3
    DELETE_STRICT = 4


class MeterCommand(IntEnum):
    """OFPMC_*: what a meter-mod does."""

    ADD = 0
    MODIFY = 1


class NiciraAction(IntEnum):
    """NXAST_*: the subtype of an action of Open vSwitch's own."""

    REG_MOVE = 6
    REG_LOAD = 7
    RESUBMIT_TABLE = 14
    CONJUNCTION = 34
    CT = 35
    NAT = 36
    CONTROLLER2 = 37
    CLONE = 42
    LEARN2 = 45


class BundleControl(IntEnum):
    """OFPBCT_*: the step of a bundle's life; every request's reply is the number that follows it."""

    OPEN_REQUEST = 0
    OPEN_REPLY = 1
    COMMIT_REQUEST = 4
    COMMIT_REPLY = 5
    DISCARD_REQUEST = 6
    DISCARD_REPLY = 7


ATOMIC_ORDERED: Final = 3
"""OFPBF_ATOMIC | OFPBF_ORDERED."""
