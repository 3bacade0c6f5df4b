"""A managed host with a thousand ports: from PUT to the rows in its database, against ovs-vsctl(8). I/O.

Two hosts of one kind, each database with its ovs-vswitchd: the controller keeps one, ovs-vsctl writes the other. What
is timed ends, on both sides, when the same watch sees the last row, whatever the daemons do afterwards.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from statistics import median

from controller.pipeline import TABLES
from tests.bench import policies
from tests.bench.database_watch import DatabaseWatch
from tests.bench.row import Row
from tests.bench.simulated import BRIDGE, Simulated, quiet_down
from tests.bench.spread import spread
from tests.rig.controller import Rest, wait_until
from topologies import netns

PORTS = 1000
ROUNDS = 5
SINGLE_ROUNDS = 20
MOST_RATIO = 1.5
SINGLE_S = 0.030
WITHIN_S = 60.0
DPID = "00000000000000aa"
NEW = "new"


class OneHost:
    """ours: the host that the controller keeps. theirs: the one that ovs-vsctl writes."""

    def __init__(self, rest: Rest, ours: Simulated, theirs: Simulated) -> None:
        self.rest, self.ours, self.theirs = rest, ours, theirs
        self.names = {BRIDGE, *(f"p{i}" for i in range(PORTS))}
        plain = policies.document(PORTS)
        endpoints = plain["endpoints"]
        assert isinstance(endpoints, dict)
        placed = {name: {**one, "host": "h0"} for name, one in endpoints.items()}
        hosts = {"h0": {**ours.document(), "dpid": DPID}}
        self.bodies = policies.bodies({**plain, "hosts": hosts, "endpoints": placed})
        self.empty = policies.bodies(policies.EMPTY)["JSON"]

    def run(self) -> list[Row]:
        watches = DatabaseWatch(self.ours.database), DatabaseWatch(self.theirs.database)
        try:
            return [*self.whole(*watches), *self.single(watches[0])]
        finally:
            for watch in watches:
                watch.close()

    # -- a thousand ports

    def whole(self, our_watch: DatabaseWatch, their_watch: DatabaseWatch) -> Iterator[Row]:
        took: dict[str, list[float]] = {name: [] for name in (*self.bodies, "ovs-vsctl --no-wait", "ovs-vsctl")}
        in_force: list[float] = []
        for number in range(ROUNDS):
            for name, body in self.bodies.items():
                began = time.monotonic()
                self.put(body)
                took[name].append(our_watch.when(self.names.issubset, WITHIN_S) - began)
                self.wait_until_in_force()
                if name == "JSON":
                    in_force.append(time.monotonic() - began)
                rows = self.rows(self.ours) if number == 0 else []
                self.put(self.empty)
                our_watch.when(lambda names: not names, WITHIN_S)
                quiet_down([self.ours, self.theirs])
            for name in ("ovs-vsctl --no-wait", "ovs-vsctl"):
                began = time.monotonic()
                self.vsctl(*self.same(), wait=name == "ovs-vsctl")
                if name == "ovs-vsctl":
                    took[name].append(time.monotonic() - began)
                else:
                    took[name].append(their_watch.when(self.names.issubset, WITHIN_S) - began)
                    quiet_down([self.theirs])
                if number == 0:
                    assert self.rows(self.theirs) == rows
                    assert len(rows) > 2 * PORTS
                self.vsctl("del-br", BRIDGE, wait=True)
                their_watch.when(lambda names: not names, WITHIN_S)
                quiet_down([self.ours, self.theirs])
        theirs = took["ovs-vsctl --no-wait"]
        for name in self.bodies:
            # Round by round, so that both sides of a ratio meet with the same load of the machine.
            ratio = median(our_s / their_s for our_s, their_s in zip(took[name], theirs, strict=True))
            measured = f"{spread(took[name])}, against {spread(theirs)}: {ratio:.2f} times"
            what = f"a bridge with {PORTS:,} ports on one host, from PUT ({name}) to the rows in its database, against"
            what += " one ovs-vsctl --no-wait with the same rows"
            yield Row(what, measured, f"<= {MOST_RATIO:g} times", ratio <= MOST_RATIO)
        measured = f"{spread(in_force)}, against {spread(took['ovs-vsctl'])}"
        what = "the same, from PUT (JSON) to in force (ports made by the switch, and all flows), against ovs-vsctl that"
        yield Row(f"{what} waits for the switch, and makes no flows", measured, "", True)

    def put(self, body: policies.Body) -> None:
        answer = self.rest.ask("PUT", "/v1/policy", body.data, body.media_type)
        assert answer["changed"], answer

    def wait_until_in_force(self) -> None:
        def so() -> bool:
            status = self.rest.status()
            hosts, bridges = status["hosts"], [one for one in status["bridges"] if one["connected"]]
            return bool(status["in_force"] and hosts and bridges and hosts[0]["in_force"])

        wait_until(so, WITHIN_S, lambda: f"not in force: {self.rest.status()}")
        (bridge,) = (one for one in self.rest.status()["bridges"] if one["connected"])
        assert self.ours.n_flows() == bridge["flows_desired"] > PORTS

    def same(self) -> list[str]:
        """What the controller writes, in words of ovs-vsctl."""
        mark = "external_ids:tripoint=tripoint"
        words = ["add-br", BRIDGE, "--", "set", "port", BRIDGE, mark, "--", "set", "interface", BRIDGE, mark]
        words += ["--", "set", "bridge", BRIDGE, mark, "datapath_type=system", "fail_mode=secure"]
        words += ["protocols=OpenFlow10,OpenFlow13,OpenFlow14", f"other_config:datapath-id={DPID}"]
        words += ["other_config:disable-in-band=true"]
        # A port where nobody listens: this host's bridge is to have the row, and not the controller's attention.
        words += ["--", "set-controller", BRIDGE, "tcp:127.0.0.1:9"]
        words += ["--", "set", "controller", BRIDGE, mark, "max_backoff=1000", "inactivity_probe=5000"]
        for name, number in TABLES.items():
            words += ["--", f"--id=@t{number}", "create", "flow_table", f"name={name}", mark]
            words += ["--", "set", "bridge", BRIDGE, f"flow_tables:{number}=@t{number}"]
        for i in range(PORTS):
            tag = i % (PORTS // policies.MEMBERS_A_NETWORK) + 1
            words += ["--", "add-port", BRIDGE, f"p{i}", f"tag={tag}", mark, "--", "set", "interface", f"p{i}", mark]
        return words

    def rows(self, host: Simulated) -> list[str]:
        """Everything that somebody has written, but for the controller's address, which differs."""
        columns = {
            "bridge": "name,datapath_type,fail_mode,protocols,other_config,external_ids",
            "port": "name,tag,trunks,external_ids",
            "interface": "name,type,options,external_ids",
            "flow_table": "name,external_ids",
            "controller": "max_backoff,inactivity_probe,external_ids",
        }
        listing = partial(netns.run, env=host.switch.environment)
        head = ["ovs-vsctl", f"--db={host.switch.database}", "--format=csv", "--no-headings"]
        return sorted(
            f"{table}: {line}"
            for table, names in columns.items()
            for line in listing([*head, f"--columns={names}", "list", table]).splitlines()
        )

    def vsctl(self, *words: str, wait: bool) -> None:
        env = {**os.environ, **self.theirs.switch.environment}
        head = ["ovs-vsctl", *([] if wait else ["--no-wait"]), f"--db={self.theirs.switch.database}", "--timeout=60"]
        done = subprocess.run([*head, *words], env=env, stdout=subprocess.DEVNULL, check=False)
        assert done.returncode == 0

    # -- one more

    def single(self, watch: DatabaseWatch) -> Iterator[Row]:
        self.put(self.bodies["JSON"])
        watch.when(self.names.issubset, WITHIN_S)
        self.wait_until_in_force()
        quiet_down([self.ours, self.theirs])
        took: dict[str, list[float]] = {"seen": [], "answered": [], "gone": []}
        value = {**policies.newcomer(3), "host": "h0", "port": NEW}
        for _ in range(SINGLE_ROUNDS):
            began = time.monotonic()
            answer = self.rest.ask("PUT", "/v1/endpoints/new", value)
            took["answered"].append(time.monotonic() - began)
            assert answer["in_force"], answer
            took["seen"].append(watch.when(lambda names: NEW in names, WITHIN_S) - began)
            began = time.monotonic()
            self.rest.ask("DELETE", "/v1/endpoints/new")
            took["gone"].append(watch.when(lambda names: NEW not in names, WITHIN_S) - began)
        seen_s, answered_s, gone_s = took["seen"], took["answered"], took["gone"]
        measured = f"{spread(seen_s, 1000)}; answered as in force after {spread(answered_s, 1000)}"
        what = f"one port more on a host with {PORTS:,}, from PUT to the row in its database"
        yield Row(what, measured, f"<= {SINGLE_S * 1000:g} ms", median(seen_s) <= SINGLE_S)
        yield Row("the same port taken away, to the row gone", spread(gone_s, 1000), "", True)
