"""Connections of tracked networks are looked up; other networks' packets pass by. PURE.

Unicast between the addresses of routed networks is looked up in the one zone of the realm; what is local to a network
(broadcast, multicast, link-local addresses) in the network's own. That is told by the IP addresses, whatever the MAC.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Action, Ct, Load
from controller.flow.fields import (
    ADMITTED,
    ETH_DST,
    ETH_SRC,
    ETH_TYPE,
    ICMPV6_TYPE,
    IP_PROTO,
    IPV4_DST,
    IPV4_SRC,
    IPV6_DST,
    IPV6_SRC,
    NETWORK,
    ZONE,
)
from controller.flow.flow import Flow
from controller.pipeline.ip_fields import BY_VERSION, fields_of
from controller.pipeline.protocols import (
    ICMPV6,
    IPV4,
    IPV4_BROADCAST,
    IPV4_MULTICAST,
    IPV4_MULTICAST_MASK,
    IPV6,
    IPV6_LINK_LOCAL,
    IPV6_LINK_LOCAL_MASK,
    IPV6_MULTICAST,
    IPV6_MULTICAST_MASK,
    LINK_CONTROL,
)
from controller.pipeline.router_view import RealmView, Router, UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import NetworkView, broadcasts_of
from controller.policy.tracking import REALM_ZONE

_FOR_MANY = (
    (ETH_TYPE(IPV4), IPV4_DST(IPV4_BROADCAST)),
    (ETH_TYPE(IPV4), IPV4_DST(IPV4_MULTICAST, IPV4_MULTICAST_MASK)),
    (ETH_TYPE(IPV6), IPV6_DST(IPV6_MULTICAST, IPV6_MULTICAST_MASK)),
)


def _realm(emit: Emit, _: RealmView) -> Iterator[Flow]:
    yield emit("past", (ADMITTED(1),), goto="undnat", origin="", why="the controller's own answer to a packet")
    for kind in LINK_CONTROL:
        yield emit(
            "past",
            (ETH_TYPE(IPV6), IP_PROTO(ICMPV6), ICMPV6_TYPE(kind)),
            goto="spread",
            origin="",
            why="neighbor discovery and multicast listeners are of the link, and no rule's",
        )


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    if view.judged is None:
        return
    here = NETWORK(view.network.number)
    own = _look_up(emit, view.judged.zone)
    for fields in BY_VERSION.values():
        if view.router is None:
            why = "connections of this network are tracked in its own zone"
            yield emit("network", (here, fields.is_it), own, origin=view.origin, why=why)
            continue
        why = "connections in and out of this network are tracked in the zone of all routed networks"
        yield emit("network", (here, fields.is_it), _look_up(emit, REALM_ZONE), origin=view.origin, why=why)
    if view.router is not None:
        yield from _asked_elsewhere(emit, view, view.router)
        broadcasts = ((ETH_TYPE(IPV4), IPV4_DST(address)) for address in broadcasts_of(view.network))
        for local in (*_FOR_MANY, *broadcasts):
            why = "broadcast and multicast stay in the network, and so does what is known of them"
            yield emit("local", (here, *local), own, origin=view.origin, why=why)
        for field in (IPV6_SRC, IPV6_DST):
            link = (here, ETH_TYPE(IPV6), field(IPV6_LINK_LOCAL, IPV6_LINK_LOCAL_MASK))
            why = "link-local addresses mean something in their network only"
            yield emit("local", link, own, origin=view.origin, why=why)


def _asked_elsewhere(emit: Emit, view: NetworkView, router: Router) -> Iterator[Flow]:
    """Members that use outside addresses, from here or from other hosts."""
    for address in router.elsewhere:
        fields, value = fields_of(address), int(address)
        to_it = (ETH_DST(router.mac.value), fields.destination(value))
        from_it = (ETH_SRC(router.mac.value), fields.source(value))
        for way in (to_it, from_it):
            why = "who this is with is known on the host that has the uplink, and rules are asked there"
            match = (NETWORK(view.network.number), fields.is_it, *way)
            yield emit("past", match, goto="spread", origin=view.origin, why=why)


def _uplink(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    for fields in BY_VERSION.values():
        yield emit(
            "network",
            (NETWORK(view.number), fields.is_it),
            _look_up(emit, REALM_ZONE),
            origin=view.origin,
            why="connections to the outside are tracked in the zone of all routed networks",
        )


def _look_up(emit: Emit, zone: int) -> tuple[Action, ...]:
    return (Load(ZONE, zone), Ct(zone, emit.table("state")))


TRACK = Stage(
    name="track",
    purpose="Conntrack says which connection a packet of a tracked network belongs to. All else goes past the rules.",
    matches=frozenset(
        {
            ADMITTED.field,
            ETH_DST,
            ETH_SRC,
            ETH_TYPE,
            ICMPV6_TYPE,
            IPV4_DST,
            IPV4_SRC,
            IPV6_DST,
            IPV6_SRC,
            IP_PROTO,
            NETWORK.field,
        }
    ),
    writes=frozenset({ZONE.field}),
    next=("state", "undnat", "spread"),
    priorities={
        "past": Priority(300, "what rules are never asked about"),
        "local": Priority(200, "what is local to a routed network"),
        "network": Priority(100, "IP packets of a tracked network"),
    },
    miss=Miss("nothing is said of this network's connections, or this is no IP", goto="spread"),
    tracks=True,
    realm=_realm,
    network=_network,
    uplink=_uplink,
)
