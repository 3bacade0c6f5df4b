"""The names of OpenFlow 1.4's errors, as far as Open vSwitch sends them about flow-mods and bundles. PURE.

Source: OpenFlow 1.4.0 section 7.5.4; for Open vSwitch's own errors its ofp-errors.h (those marked NX1.2+).
"""

from __future__ import annotations

from typing import Final

from controller.openflow.protocol import EXPERIMENTER

HELLO_FAILED: Final = 0

_TYPES: Final = (
    "HELLO_FAILED",
    "BAD_REQUEST",
    "BAD_ACTION",
    "BAD_INSTRUCTION",
    "BAD_MATCH",
    "FLOW_MOD_FAILED",
    "GROUP_MOD_FAILED",
    "PORT_MOD_FAILED",
    "TABLE_MOD_FAILED",
    "QUEUE_OP_FAILED",
    "SWITCH_CONFIG_FAILED",
    "ROLE_REQUEST_FAILED",
    "METER_MOD_FAILED",
    "TABLE_FEATURES_FAILED",
    "BAD_PROPERTY",
    "ASYNC_CONFIG_FAILED",
    "FLOW_MONITOR_FAILED",
    "BUNDLE_FAILED",
)
"""OFPET_*, by number."""

_CODES: Final = {
    "HELLO_FAILED": "OFPHFC: INCOMPATIBLE EPERM",
    "BAD_REQUEST": """OFPBRC: BAD_VERSION BAD_TYPE BAD_MULTIPART BAD_EXPERIMENTER BAD_EXP_TYPE EPERM BAD_LEN
        BUFFER_EMPTY BUFFER_UNKNOWN BAD_TABLE_ID IS_SLAVE BAD_PORT BAD_PACKET MULTIPART_BUFFER_OVERFLOW
        MULTIPART_REQUEST_TIMEOUT MULTIPART_REPLY_TIMEOUT""",
    "BAD_ACTION": """OFPBAC: BAD_TYPE BAD_LEN BAD_EXPERIMENTER BAD_EXP_TYPE BAD_OUT_PORT BAD_ARGUMENT EPERM TOO_MANY
        BAD_QUEUE BAD_OUT_GROUP MATCH_INCONSISTENT UNSUPPORTED_ORDER BAD_TAG BAD_SET_TYPE BAD_SET_LEN
        BAD_SET_ARGUMENT""",
    "BAD_INSTRUCTION": """OFPBIC: UNKNOWN_INST UNSUP_INST BAD_TABLE_ID UNSUP_METADATA UNSUP_METADATA_MASK
        BAD_EXPERIMENTER BAD_EXP_TYPE BAD_LEN EPERM DUP_INST""",
    "BAD_MATCH": """OFPBMC: BAD_TYPE BAD_LEN BAD_TAG BAD_DL_ADDR_MASK BAD_NW_ADDR_MASK BAD_WILDCARDS BAD_FIELD
        BAD_VALUE BAD_MASK BAD_PREREQ DUP_FIELD EPERM""",
    "FLOW_MOD_FAILED": """OFPFMFC: UNKNOWN TABLE_FULL BAD_TABLE_ID OVERLAP EPERM BAD_TIMEOUT BAD_COMMAND BAD_FLAGS
        CANT_SYNC BAD_PRIORITY""",
    "METER_MOD_FAILED": """OFPMMFC: UNKNOWN METER_EXISTS INVALID_METER UNKNOWN_METER BAD_COMMAND BAD_FLAGS BAD_RATE
        BAD_BURST BAD_BAND BAD_BAND_VALUE OUT_OF_METERS OUT_OF_BANDS""",
    "BUNDLE_FAILED": """OFPBFC: UNKNOWN EPERM BAD_ID BUNDLE_EXIST BUNDLE_CLOSED OUT_OF_BUNDLES BAD_TYPE BAD_FLAGS
        MSG_BAD_LEN MSG_BAD_XID MSG_UNSUP MSG_CONFLICT MSG_TOO_MANY MSG_FAILED TIMEOUT BUNDLE_IN_PROGRESS""",
}
"""By type: prefix, then the codes from 0 up."""

_OWN: Final = {
    2: "NXBRC_NXM_INVALID",
    3: "NXBRC_NXM_BAD_TYPE",
    4: "NXBRC_MUST_BE_ZERO",
    10: "NXBRC_UNENCODABLE_ERROR",
    11: "NXBAC_MUST_BE_ZERO",
    12: "NXFMFC_HARDWARE",
    13: "NXFMFC_BAD_TABLE_ID",
    15: "NXBAC_BAD_CONJUNCTION",
}
"""Open vSwitch's own, by experimenter type."""


def name_error(type_: int, code: int) -> str:
    """The name of an error as the specification writes it, its numbers where we know none.

    For type 0xffff (experimenter) code is the experimenter's type, taken to be one of Open vSwitch's.
    """
    if type_ == EXPERIMENTER:
        return _OWN.get(code, f"experimenter error {code}")
    if type_ >= len(_TYPES):
        return f"error type {type_} code {code}"
    prefix, _, names = _CODES.get(_TYPES[type_], "").partition(":")
    codes = names.split()
    return f"{prefix}_{codes[code]}" if code < len(codes) else f"OFPET_{_TYPES[type_]} code {code}"
