"""Numbers of networks and names of hosts: what no two of them may have in common. PURE."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from controller.errors import Problem
from controller.policy import rules
from controller.policy.findings import Nearest
from controller.policy.model import Address, Network, Policy


def check_numbers(networks: Iterable[Network]) -> Iterator[Problem]:
    """No vlan, no vni and no number in the switch is two networks'."""
    vlans: dict[int, str] = {}
    vnis: dict[int, str] = {}
    numbers: dict[int, str] = {}
    for network in networks:
        told = False
        if network.vlan is not None and (other := vlans.setdefault(network.vlan, network.name)) != network.name:
            yield rules.VLAN_TWICE.problem(("networks", network.name, "vlan"), vlan=network.vlan, other=other)
            told = True
        if network.vni is not None and (other := vnis.setdefault(network.vni, network.name)) != network.name:
            yield rules.VNI_TWICE.problem(("networks", network.name, "vni"), vni=network.vni, other=other)
            told = True
        if (other := numbers.setdefault(network.number, network.name)) != network.name and not told:
            yield rules.NUMBER_TWICE.problem(("networks", network.name), number=network.number, other=other)


def check_hosts(policy: Policy, networks: Collection[str]) -> Iterator[Problem]:
    dpids: dict[int, str] = {}
    bridges: dict[tuple[str | None, str], str] = {}
    vteps: dict[Address, str] = {}
    nearest = Nearest()
    trunks = [host for host in policy.hosts.values() if host.trunk is not None]
    for host in trunks[1:]:
        if host.native != trunks[0].native:
            at = ("hosts", host.name, "native" if host.native is not None else "trunk")
            yield rules.NATIVE_DIFFERS.problem(at, native=host.native or "none", other=trunks[0].name,
                                               other_native=trunks[0].native or "none")  # fmt: skip
    for host in policy.hosts.values():
        if host.native is not None and host.native not in networks:
            hint = nearest.hint("network", host.native, networks)
            yield rules.UNKNOWN_NETWORK.problem(("hosts", host.name, "native"), hint, network=host.native)
        if host.vtep is not None and (other := vteps.setdefault(host.vtep, host.name)) != host.name:
            yield rules.VTEP_TWICE.problem(("hosts", host.name, "vtep"), other=other, vtep=host.vtep)
        first = next(iter(vteps), host.vtep)
        if host.vtep is not None and first is not None and first.version != host.vtep.version:
            yield rules.VTEP_VERSION.problem(("hosts", host.name, "vtep"), vtep=host.vtep, other=vteps[first],
                                             other_vtep=first)  # fmt: skip
        if host.trunk is not None and host.trunk == host.bridge:
            yield rules.LOCAL_PORT.problem(("hosts", host.name, "trunk"), port=host.trunk)
        dpid = host.datapath_id
        if dpid is not None and (other := dpids.setdefault(dpid, host.name)) != host.name:
            yield rules.DPID_TWICE.problem(("hosts", host.name, "dpid"), other=other, dpid=f"{dpid:016x}")
        if host.bridge is None or (other := bridges.setdefault((host.ovsdb, host.bridge), host.name)) == host.name:
            continue
        at = ("hosts", host.name, "bridge")
        if host.ovsdb is None:
            yield rules.BRIDGE_TWICE.problem(at, other=other, bridge=host.bridge)
        else:
            yield rules.DATABASE_TWICE.problem(at, other=other, ovsdb=host.ovsdb, bridge=host.bridge)
