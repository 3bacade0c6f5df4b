"""Hosts on an underlay network, each with an address of its own there: what tunnels between them need."""

from __future__ import annotations

import asyncio

import pytest
import yaml

from topologies import records
from topologies.judge import judge
from topologies.load import parse
from topologies.runner import bring_up, restart_switch, switch_of, with_databases
from topologies.verdict import Row, Verdict

pytestmark = pytest.mark.usefixtures("nothing_left")
LAB = """
name: underlay
description: Two hosts with a tunnel between them that is made by hand.
nodes:
  web1: {interfaces: {eth0: {mac: "02:00:00:00:00:01", addresses: [172.16.0.1/12]}}}
  web3: {interfaces: {eth0: {mac: "02:00:00:00:00:03", addresses: [172.16.0.3/12]}}}
  boxA: {}
  boxB: {}
  between: {}
bridges:
  br-a: {node: boxA, fail_mode: standalone, controlled: false}
  br-b: {node: boxB, fail_mode: standalone, controlled: false}
  under-a: {node: boxA, fail_mode: standalone, controlled: false, addresses: [192.168.50.4/24]}
  under-b: {node: boxB, fail_mode: standalone, controlled: false, addresses: [192.168.50.5/24]}
  underlay: {node: between, fabric: true}
links:
  - [web1:eth0, br-a:veth1]
  - [web3:eth0, br-b:veth3]
  - [under-a:uplink, underlay:to-a]
  - [under-b:uplink, underlay:to-b]
expectations:
  - {from: [web1, web3], to: [web1, web3], via: [ping, tcp, udp, arp], expect: reach}
  - {cable: "under-a:uplink", carries: {plain: [], vni 5010: web1}}
  - {cable: "under-b:uplink", carries: {plain: [], vni 5010: web3}}
  - {cable: web1, carries: {plain: web3}}
"""


def add_tunnel(record: records.Record, kind: str, vni: int) -> None:
    for node, bridge, peer in (("boxA", "br-a", "192.168.50.5"), ("boxB", "br-b", "192.168.50.4")):
        words = ["--may-exist", "add-port", bridge, "tunnel", "--", "set", "interface", "tunnel", f"type={kind}"]
        switch_of(record, node).vsctl(*words, f"options:remote_ip={peer}", f"options:key={vni}")


def rows_of(record: records.Record) -> dict[tuple[str, str, str], Row]:
    return {(row.source, row.target, row.via): row for row in asyncio.run(judge(record))}


@pytest.mark.parametrize("kind", ["vxlan", "geneve", "gre"])
def test_frames_in_a_tunnel_are_seen_with_their_vni(kind: str) -> None:
    record = bring_up(parse(LAB), LAB, "test", "test")
    try:
        add_tunnel(record, kind, 5010)
        rows = rows_of(record)
        assert [row for row in rows.values() if row.verdict is not Verdict.PASS] == []
        add_tunnel(record, kind, 5011)
        wrong = rows_of(record)["under-a:uplink", "", "nothing but plain, vni 5010"]
    finally:
        records.remove(record)
    assert wrong.verdict is Verdict.FAIL
    assert "carried" in wrong.seen


def test_a_tunnel_works_again_after_its_switch_restarted() -> None:
    """The address of the tunnel's end is on a device of the switch's, and goes and comes with it."""
    record = bring_up(parse(LAB), LAB, "test", "test")
    try:
        add_tunnel(record, "vxlan", 5010)
        restart_switch(record, "boxA")
        rows = rows_of(record)
    finally:
        records.remove(record)
    assert [row for row in rows.values() if row.verdict is not Verdict.PASS] == []


def test_a_host_in_the_policy_gets_the_database_of_its_node() -> None:
    lab = parse(LAB)
    record = records.create(lab, LAB, "test", "test")
    try:
        policy = {"hosts": {"a": {"bridge": "br-a", "ovsdb": "unix:boxA"}, "b": {"ovsdb": "unix:/elsewhere"}}}
        hosts = with_databases(yaml.safe_load(yaml.safe_dump(policy)), record)["hosts"]
    finally:
        records.remove(record)
    assert hosts == {
        "a": {"bridge": "br-a", "ovsdb": f"unix:{record.directory}/boxA/db.sock"},
        "b": {"ovsdb": "unix:/elsewhere"},
    }
