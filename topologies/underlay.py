"""Hosts that know each other on their underlay before anything is judged. I/O.

A switch that does not know yet at which MAC a tunnel's far end is drops what goes there, and asks by ARP; a fabric that
has not heard of a host sends what is for it everywhere. On a network that has been used for a moment neither happens.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time

from topologies import netns, ovs
from topologies.netns import NetworkError
from topologies.ovs import Switch
from topologies.records import Record
from topologies.spec import Lab

PATIENCE_S = 10.0
_ANSWER_WITHIN_S = 0.02
_DISCARD_PORT = 9


def acquaint(lab: Lab, record: Record) -> None:
    """Each host's address on an underlay is known to every other one there. Raises NetworkError."""
    hosts = [bridge for bridge in lab.bridges.values() if bridge.addresses and not bridge.controlled]
    for one in hosts:
        for other in hosts:
            for address in other.addresses:
                if one is not other and any(address.ip in own.network for own in one.addresses):
                    _resolve(ovs.switch_of(record, one.node), one.name, str(address.ip))


def _resolve(switch: Switch, device: str, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.inside(switch.namespace):
        handle = socket.socket(family, socket.SOCK_DGRAM)
    with handle:
        deadline = time.monotonic() + PATIENCE_S
        while not _knows(switch, device, address):
            if time.monotonic() > deadline:
                raise NetworkError(f"{device} in {switch.namespace} does not find {address}")
            # What was learned from the other's own question is not enough: a switch takes a MAC from answers only.
            with contextlib.suppress(NetworkError):
                netns.batch([f"neigh del {address} dev {device}"], switch.namespace)
            handle.sendto(b"", (address, _DISCARD_PORT))
            time.sleep(_ANSWER_WITHIN_S)


def _knows(switch: Switch, device: str, address: str) -> bool:
    """A switch in userspace keeps what it knows itself (ovs-vswitchd(8), tnl/neigh/show); else the kernel does."""
    if ovs.datapath_type() == "netdev":
        lines = switch.appctl("tnl/neigh/show").splitlines()
        return any(line.split()[:1] == [address] for line in lines)
    words = ["ip", "-n", switch.namespace, "-json", "neigh", "show", "to", address, "dev", device]
    return any("lladdr" in entry for entry in json.loads(netns.run(words) or "[]"))
