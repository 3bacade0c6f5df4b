"""Every rule between objects of a policy, with the words in which its breach is told. PURE.

`check` applies them, and `advice` those that only warn; docs/POLICY.md lists them from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.errors import Problem, pointer
from controller.policy.values import shown


@dataclass(frozen=True, slots=True)
class Rule:
    """message, hint: with names in braces, which stand for what was found in the document."""

    message: str
    hint: str = ""

    def problem(self, at: tuple[str | int, ...], suggestion: str = "", **found: object) -> Problem:
        """This rule's breach at a path. suggestion: stands in the hint's place where it is not empty."""
        words = {key: _words(value) for key, value in found.items()}
        return Problem(pointer(*at), self.message.format(**words), suggestion or self.hint.format(**words))


VLAN_TWICE = Rule("vlan {vlan} is used twice: network {other} has it too", "give each network a vlan of its own")
VNI_TWICE = Rule("vni {vni} is used twice: network {other} has it too", "give each network a vni of its own")
NUMBER_TWICE = Rule(
    "the network has the same number in the switch, {number}, as network {other}",
    "change the vlan or vni of one of them",
)
MANY_MEMBERS = Rule(
    "network {network} has {count} members; a switch cannot flood one packet to more than {most}",
    "divide it into smaller networks",
)
JOINED_MANY = Rule(
    "the endpoint is untagged and sends into all of its networks at once, which have {count} members together; "
    "a switch cannot flood one packet to more than {most}",
    "attach it tagged, or divide the networks into smaller ones",
)

DPID_TWICE = Rule("host {other} has the same dpid {dpid}", "name each bridge once")
BRIDGE_TWICE = Rule("host {other} has the same bridge {bridge}", "name each bridge once, or name it by its dpid")
NATIVE_DIFFERS = Rule(
    "the native network of the trunk is {native}, and on host {other} it is {other_native}: plain frames would change "
    "networks",
    "give all trunks the same native network, or none",
)

VTEP_TWICE = Rule("host {other} has the same vtep {vtep}", "each host has an address of its own")
VTEP_VERSION = Rule(
    "vtep {vtep} and that of host {other}, {other_vtep}, are of different IP versions: no tunnel can join them",
    "give all hosts vteps of one IP version",
)
DATABASE_TWICE = Rule(
    "host {other} has the same database {ovsdb} and the same bridge {bridge}", "one host a bridge of a database"
)
NOT_MANAGED = Rule(
    "host {host} has no ovsdb, so that no interface can be made there", "give the host an ovsdb, or leave the key out"
)

UNKNOWN_NETWORK = Rule("there is no network {network}", "add it under networks, or name another one")
UNKNOWN_HOST = Rule("there is no host {host}", "add it under hosts, or leave the key out")

PORT_TAKEN = Rule("endpoint {other} is on port {port} of host {host} already", "an endpoint has a port of its own")
PORT_TAKEN_ANYWHERE = Rule(
    "endpoint {other} is on a port {port} already, and not both of them name a host",
    "name the host of each where two bridges have ports of that name",
)
TRUNK_PORT = Rule("{port} is the trunk of host {host}, which carries networks", "the name of another port")
LOCAL_PORT = Rule(
    "{port} is the local port of bridge {port} itself, which leads to no other host", "the name of another port"
)

MAC_MISSING = Rule("the endpoint has no mac, and network {network} has declared members only", "give it a mac")
MAC_TWICE = Rule("mac {address} belongs to endpoint {other} too, in network {network}", "a MAC is unique in a network")
IP_TWICE = Rule("{address} belongs to endpoint {other} too, in network {network}", "an address is unique in a network")
IP_OUTSIDE = Rule("{address} is outside all cidrs of {networks}", "choose an address in {cidrs}")
IP_OF_NETWORK = Rule("{address} is the network address of {cidr} in network {network}", "choose the next one")
IP_OF_BROADCAST = Rule("{address} is the broadcast address of {cidr} in network {network}", "choose the one before")

JOINED_TWICE = Rule(
    "{address} of endpoint {name} in network {network} is also that of endpoint {other} in network {other_network}, "
    "and {sharer} is an untagged member of both: what it sends there could not be told apart",
    "change one of the two, or attach {sharer} tagged",
)
OPEN_SHARED = Rule(
    "an untagged shared member cannot be in network {network}, whose members are open", "write attach: tagged"
)
TAG_MISSING = Rule("the endpoint is tagged, and network {network} has no vlan to tag with", "give the network a vlan")
TAG_TWICE = Rule(
    "the endpoint is tagged, and its networks {network} and {other} have the same vlan {vlan}",
    "give each a vlan of its own",
)

GATEWAY_OUTSIDE = Rule("gateway {address} is outside all cidrs of {network}", "choose an address in {cidrs}")
GATEWAY_TAKEN = Rule("gateway {address} belongs to endpoint {endpoint}", "an address that no member has")
IP_OF_GATEWAY = Rule("{address} is the gateway of network {network}", "choose another one")
ROUTED_TWICE = Rule(
    "{address} in network {network} is also that of endpoint {other} in network {other_network}, and a router leads to "
    "both: it could not be told whose it is",
    "an address is unique among all networks with a router",
)
ROUTER_MAC = Rule("{mac} is the router's mac", "give the endpoint another one, or the router with defaults.router_mac")
UNKNOWN_UPLINK = Rule("there is no uplink {uplink}", "add it under uplinks")
UPLINK_PORT = Rule(
    "{kind} {other} is on port {port}, and an uplink's port has nothing else on it",
    "the name of another port; or name the host of each where two bridges have ports of that name",
)
UPLINK_ADDRESS_TWICE = Rule("{address} belongs to uplink {other} too", "an address is at one uplink")
VIA_OUTSIDE = Rule("{via} is on none of the uplink's segments, {segments}", "a router that is on one of them")
OUTSIDE_INSIDE = Rule(
    "{address} lies in {cidr} of network {network}, and what is outside has no address of a network",
    "choose an address outside all cidrs, or make those smaller",
)

NO_UPLINK = Rule("network {network} has no uplink, where addresses are rewritten", "give the network an uplink")
UNKNOWN_ENDPOINT = Rule("there is no endpoint {endpoint}", "add it under endpoints, or name another one")
TARGET_FOREIGN = Rule("endpoint {endpoint} is no member of network {network}", "name a member, or another network")
TARGET_VERSION = Rule(
    "endpoint {endpoint} has no IPv{version} address in network {network}", "give it one, or name another endpoint"
)
NO_VERSION = Rule(
    "there is no IP version of which uplink {uplink} and all of the endpoints have an address",
    "give them addresses of one version",
)
UPLINK_VERSION = Rule("uplink {uplink} has no IPv{version} address", "give it one, or use the other version here")
OF_OTHER_UPLINK = Rule(
    "{address} belongs to uplink {other}, and the network is at uplink {uplink}", "choose an address of its own uplink"
)
OUTSIDE_VIA = Rule(
    "{address} is the next router of a route of uplink {uplink}", "choose an address that nobody outside has"
)
OUTSIDE_END = Rule(
    "{address} is the network or the broadcast address of {cidr} at uplink {uplink}", "choose an address between them"
)
MASQUERADED = Rule(
    "{address} is the source that many have at uplink {uplink}, so that it cannot lead to one",
    "choose another address, or forward single ports of it",
)
FORWARD_TWICE = Rule(
    "port {port} of {address} is forwarded by rewrite {other} already",
    "one rewrite a port, with several targets",
)
ADDRESS_TWICE = Rule("rewrite {other} says already where {address} leads", "choose another address")
STOOD_FOR_TWICE = Rule(
    "rewrite {other} gives endpoint {endpoint} an outside address of this IP version already", "keep one of them"
)
SOURCE_TWICE = Rule("rewrite {other} says the same kind of thing of network {network} already", "keep one of them")

UNKNOWN_PEER = Rule(
    "nothing is called {name}", "the name of an endpoint, network or group of the document, outside, or an address"
)
AMBIGUOUS = Rule("{name} may be {kinds}", "give them different names")
UNKNOWN_TIER = Rule("there is no tier {tier}", "one of {tiers}")
TIER_MISSING = Rule("the rule is in no tier", "add tier, one of {tiers}")
MANY_RULES = Rule("there are {count} rules; a policy has at most {most}", "use groups, lists and prefixes")
MANY_PREFIXES = Rule(
    "rules and groups hold {count} prefixes, those in a group of a group counted in each; at most {most} are possible",
    "name fewer or wider ones",
)
MANY_FLOWS = Rule(
    "rules need {count} flows, one for each class of members that are in the same groups; at most {most} are possible",
    "name fewer groups in a rule, or groups that lie across each other less",
)
MANY_TABLES = Rule(
    "{tiers} tiers and {logs} rules that only log need more than {most} tables",
    "use fewer tiers, or give log to rules that decide",
)
GROUP_CYCLE = Rule("the group is in itself: {cycle}", "leave one of them out")
PAIR_TWICE = Rule("pair number {first} says already what holds from {origin} to {target}", "keep one of them")
PAIR_ISOLATED = Rule(
    "nothing can pass from {origin} to {target}: network {network} is isolated",
    "write mode: routed for it, or leave the pair out",
)
PAIR_NO_UPLINK = Rule(
    "nothing can pass from {origin} to {target}: network {network} has no uplink", "give it one, or leave the pair out"
)
PAIR_OUTSIDE = Rule("nothing passes from outside to outside", "leave the pair out")

GROUP_EMPTY = Rule("nobody is in group {group}", "give it members, cidrs, or a selector that some endpoint matches")
SELECTS_NOBODY = Rule("rule {rule} is about nobody here", "name somebody, or leave the rule out")
SHADOWED = Rule(
    "rule {rule} can never match: rule {other} ({action}) is about all of the same, and stands before it in the tier",
    "move it up, or leave it out",
)
NO_WAY = Rule(
    "rule {rule} allows what cannot pass: nothing leads from {origin} to {target}",
    "write mode: routed for both, or name members of one network",
)
STATELESS = Rule(
    "rewrite {rewrite} is stateless: ICMP errors from outside do not reach {endpoint}, so that it cannot find out what "
    "size of packet a path takes, and those that it sends show its inside address",
    "leave stateless out where the switch has conntrack with NAT",
)


class Words(str):
    """Text that stands in a message as it is; a plain str is a name, and stands in quotes."""


def _words(value: object) -> str:
    """Names in quotes, lists of them with commas, addresses and numbers as they are."""
    if isinstance(value, Words):
        return str(value)
    if isinstance(value, tuple):
        return ", ".join(_words(item) for item in value)
    return shown(value) if isinstance(value, str) else str(value)


WARNINGS = (GROUP_EMPTY, SELECTS_NOBODY, SHADOWED, NO_WAY, STATELESS)
"""What `advice` says; none of these refuses a document."""
ALL: tuple[Rule, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Rule) and value not in WARNINGS
)
