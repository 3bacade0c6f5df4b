"""How long a policy document takes: 5,000 endpoints in 250 networks, whole from each format, and one endpoint changed.

`python -m tests.bench.bench_policy` prints the rows.
"""

from __future__ import annotations

import gc
import json
from statistics import median
from time import perf_counter
from typing import Any

import msgpack
import yaml

from controller.control import Change, DeleteObject, PutObject, PutPolicy, Stored
from controller.policy.advice import Adviser
from controller.policy.check import Checker
from controller.policy.edit import apply_change
from controller.policy.model import EMPTY_POLICY
from controller.policy.parse import parse_document
from tests.bench.row import Row

ENDPOINTS, NETWORKS = 5000, 250
WHOLE_S = 1.0
CHANGE_MS = 5.0
ADVICE_MS = 50.0


def document(endpoints: int = ENDPOINTS, networks: int = NETWORKS) -> dict[str, object]:
    """Dual-stack endpoints on two hosts, spread over the networks; every fifth network has an untagged member in common
    with the one after it, and one tagged member is in fifty."""
    members = {
        f"web{i}": {
            "network": f"net{i % networks}",
            "host": f"box{i % 2}",
            "port": f"web{i}_veth",
            "mac": f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}",
            "ips": [f"10.{i % networks}.0.{i // networks + 1}", f"fd00:{i % networks:x}::{i // networks + 1:x}"],
            "labels": {"app": "web"},
        }
        for i in range(endpoints)
    }
    shared: dict[str, object] = {
        f"nas{i}": {
            "networks": [f"net{i}", f"net{i + 1}"],
            "port": f"nas{i}_veth",
            "mac": f"02:00:00:01:00:{i:02x}",
            "ips": [f"10.{i}.0.250", f"10.{i + 1}.0.250"],
        }
        for i in range(0, networks - 1, 5)
    }
    shared["router"] = {
        "networks": [f"net{i}" for i in range(min(50, networks))],
        "attach": "tagged",
        "port": "trunk",
        "mac": "02:00:00:02:00:00",
        "ips": [f"10.{i}.0.254" for i in range(min(50, networks))],
    }
    return {
        "apiVersion": "tripoint/v1",
        "hosts": {"box0": {"dpid": "00000000000000a0"}, "box1": {"bridge": "br1"}},
        "networks": {
            f"net{i}": {"vlan": i + 1, "vni": 5000 + i, "cidrs": [f"10.{i}.0.0/24", f"fd00:{i:x}::/64"]}
            for i in range(networks)
        },
        "endpoints": {**members, **shared},
    }


def run() -> list[Row]:
    plain = document()
    bodies = {
        "YAML": ("application/yaml", yaml.dump(plain, Dumper=yaml.CSafeDumper, sort_keys=False).encode()),
        "JSON": ("application/json", json.dumps(plain).encode()),
        "msgpack": ("application/msgpack", msgpack.packb(plain)),
    }
    rows = []
    for name, (media_type, body) in bodies.items():
        parse_s, whole_s = zip(*(_whole(body, media_type) for _ in range(5)), strict=True)
        what = f"{ENDPOINTS:,} endpoints in {NETWORKS} networks from {name}: parse, load, check"
        measured = f"{median(whole_s):.3f} s, of which parse {median(parse_s):.3f} s"
        rows.append(Row(what, measured, f"<= {WHOLE_S:g} s", median(whole_s) <= WHOLE_S))
    return [*rows, *_one_by_one(plain), *_among_rules()]


def _whole(body: bytes, media_type: str) -> tuple[float, float]:
    """Seconds to parse, and to parse, load and check, beginning with an empty store."""
    gc.collect()
    start = perf_counter()
    parsed = parse_document(body, media_type)
    parse_s = perf_counter() - start
    apply_change(Stored(0, {}, EMPTY_POLICY), PutPolicy(parsed))
    return parse_s, perf_counter() - start


def _one_by_one(plain: dict[str, object]) -> list[Row]:
    """One endpoint added, moved to another network, removed, at full size: load and check, milliseconds."""
    checker = Checker()
    stored = Stored(1, *apply_change(Stored(0, {}, EMPTY_POLICY), PutPolicy(plain), checker))
    took: dict[str, list[float]] = {"added": [], "moved": [], "removed": []}
    for i in range(20):
        new = {"port": f"new{i}", "mac": f"02:00:00:03:00:{i:02x}"}
        changes: dict[str, Change] = {
            "added": PutObject("endpoints", f"new{i}", {**new, "network": "net7", "ips": ["10.7.0.200"]}),
            "moved": PutObject("endpoints", f"new{i}", {**new, "network": "net9", "ips": ["10.9.0.200"]}),
            "removed": DeleteObject("endpoints", f"new{i}"),
        }
        for kind, change in changes.items():
            start = perf_counter()
            after = apply_change(stored, change, checker)
            took[kind].append((perf_counter() - start) * 1000)
            stored = Stored(stored.revision + 1, *after)
    return [
        Row(
            f"one endpoint {kind} at {ENDPOINTS:,}: load, check",
            f"{median(times):.1f} ms, at most {max(times):.1f} ms",
            f"<= {CHANGE_MS:g} ms",
            median(times) <= CHANGE_MS,
        )
        for kind, times in took.items()
    ]


def with_rules() -> dict[str, object]:
    """1,000 endpoints in 20 routed networks, 50 groups by label, 300 rules between members, groups and prefixes."""
    plain: dict[str, Any] = document(1000, 20)
    plain["endpoints"] = {name: each for name, each in plain["endpoints"].items() if name.startswith("web")}
    for index, network in enumerate(plain["networks"].values()):
        network |= {"mode": "routed", "gateway": f"10.{index}.0.254"}
    for index, endpoint in enumerate(plain["endpoints"].values()):
        endpoint["labels"] = {"app": f"a{index % 50}"}
    rules = [
        {
            "name": f"r{i}", "action": "allow", "from": [f"g{i % 50}", f"web{i}", f"10.{i % 20}.0.0/16"],
            "to": f"g{i * 7 % 50}", "proto": "tcp", "ports": [i + 1, "8000-8080"],
        }
        for i in range(300)
    ]  # fmt: skip
    return {**plain, "groups": {f"g{i}": {"selector": {"app": f"a{i}"}} for i in range(50)}, "rules": rules}


def _among_rules() -> list[Row]:
    """One rule added, one endpoint labelled otherwise, among 300 rules and 1,000 endpoints: milliseconds."""
    checker, adviser = Checker(), Adviser()
    plain: dict[str, Any] = with_rules()
    stored = Stored(1, *apply_change(Stored(0, {}, EMPTY_POLICY), PutPolicy(plain), checker))
    start = perf_counter()
    adviser.advise(stored.policy)
    first_ms = (perf_counter() - start) * 1000
    checked: list[float] = []
    advised: list[float] = []
    for i in range(20):
        labelled = {**plain["endpoints"][f"web{i}"], "labels": {"app": "other"}}
        rule = {"action": "drop", "from": f"web{i}", "to": "any"}
        for change in (PutObject("rules", f"new{i}", rule), PutObject("endpoints", f"web{i}", labelled)):
            start = perf_counter()
            after = apply_change(stored, change, checker)
            checked.append((perf_counter() - start) * 1000)
            start = perf_counter()
            adviser.advise(after[1])
            advised.append((perf_counter() - start) * 1000)
            stored = Stored(stored.revision + 1, *after)
    what = "300 rules, 1,000 endpoints: one rule or endpoint changed"
    shown = f"{median(checked):.1f} ms, at most {max(checked):.1f} ms"
    rows = [Row(f"{what}: load, check", shown, f"<= {CHANGE_MS:g} ms", median(checked) <= CHANGE_MS)]
    for name, ms in (("advice", median(advised)), ("advice on the whole", first_ms)):
        rows.append(Row(f"{what}: {name}", f"{ms:.1f} ms", f"<= {ADVICE_MS:g} ms", ms <= ADVICE_MS))
    return rows


def main() -> int:
    rows = run()
    for row in rows:
        print(f"{'ok  ' if row.ok else 'FAIL'} {row.what}: {row.measured} (target {row.target})")
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
