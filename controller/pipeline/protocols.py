"""Protocol numbers and well-known addresses that stages share, under the names their standards give them. PURE."""

from __future__ import annotations

IPV4 = 0x0800
ARP = 0x0806
IPV6 = 0x86DD
VLAN_TAG = 0x8100
SERVICE_TAG = 0x88A8
"""The tag protocol identifiers of IEEE 802.1Q section 9.5."""

ICMP = 1
TCP = 6
UDP = 17
SCTP = 132
ICMPV6 = 58

ARP_REQUEST = 1
ARP_REPLY = 2

DHCP_SERVER = 67
DHCP_CLIENT = 68

NEIGHBOR_SOLICITATION = 135
NEIGHBOR_ADVERTISEMENT = 136
ROUTER_ADVERTISEMENT = 134
REDIRECT = 137
"""ICMPv6 types (RFC 4861 section 4)."""
LINK_CONTROL = (130, 131, 132, 133, 134, 135, 136, 137, 143)
"""ICMPv6 types of Multicast Listener Discovery (RFC 2710, RFC 3810) and Neighbor Discovery: of the link alone."""
ICMP_ECHO_REPLY, ICMP_ECHO = 0, 8
ICMPV6_ECHO, ICMPV6_ECHO_REPLY = 128, 129
"""RFC 792, RFC 4443 section 4."""
ROUTER_SOLICITED_OVERRIDE = 0xE0000000
"""The R, S and O flags of a neighbor advertisement by a router."""
SOLICITED_OVERRIDE = 0x60000000
"""The S and O flags of a neighbor advertisement (RFC 4861 section 4.4)."""
TARGET_LINK_LAYER_OPTION = 2

GROUP_BIT = 1 << 40
"""The I/G bit: set in broadcast and multicast MACs."""
IPV4_BROADCAST = 0xFFFFFFFF
IPV4_MULTICAST = 0xE0000000
IPV4_MULTICAST_MASK = 0xF0000000
IPV6_MULTICAST = 0xFF << 120
IPV6_MULTICAST_MASK = 0xFF << 120
IPV6_LINK_LOCAL = 0xFE80 << 112
IPV6_LINK_LOCAL_MASK = 0xFFC0 << 112
"""fe80::/10 (RFC 4291 section 2.5.6)."""
