"""The documents that the controller is measured with. PURE."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import msgpack
import yaml

Document = dict[str, object]
MEMBERS_A_NETWORK = 20
SPARE_PORT = "spare"
"""A port of the measured bridge that no endpoint of `document` is on."""


@dataclass(frozen=True, slots=True)
class Body:
    """A document as it goes over the wire."""

    media_type: str
    data: bytes


def document(endpoints: int, *, dual_stack: bool = False) -> Document:
    """Endpoints with one IPv4 address each, or an IPv6 address too, MEMBERS_A_NETWORK to a network, on p0, p1 ..."""
    networks = endpoints // MEMBERS_A_NETWORK
    members = {}
    for i in range(endpoints):
        network, host = i % networks, i // networks + 1
        ips = [f"10.{network}.0.{host}", *([f"fd00:{network:x}::{host:x}"] if dual_stack else [])]
        mac = f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}"
        members[f"web{i}"] = {"network": f"net{network}", "port": f"p{i}", "mac": mac, "ips": ips}
    return {
        "apiVersion": "tripoint/v1",
        "networks": {
            f"net{i}": {"vlan": i + 1, "vni": 5000 + i, "cidrs": [f"10.{i}.0.0/24", f"fd00:{i:x}::/64"]}
            for i in range(networks)
        },
        "endpoints": members,
    }


EMPTY: Document = {"apiVersion": "tripoint/v1"}


def ports(endpoints: int) -> dict[str, int]:
    """Port name -> ofport, for `document` and one endpoint more."""
    return {**{f"p{i}": i + 1 for i in range(endpoints)}, SPARE_PORT: endpoints + 1}


def newcomer(network: int) -> Document:
    """One endpoint more, on the spare port."""
    mac = "02:00:00:03:00:00"
    return {"network": f"net{network}", "port": SPARE_PORT, "mac": mac, "ips": [f"10.{network}.0.200"]}


def bodies(plain: Mapping[str, object]) -> dict[str, Body]:
    """A document in each format that is taken."""
    return {
        "JSON": Body("application/json", json.dumps(plain).encode()),
        "msgpack": Body("application/msgpack", msgpack.packb(plain)),
        "YAML": Body("application/yaml", yaml.dump(plain, Dumper=yaml.CSafeDumper, sort_keys=False).encode()),
    }
