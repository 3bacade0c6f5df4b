"""Labs with several hosts: they can fail, live beside each other, and hold when a controller or a switch ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.lab.running import STREAM_PORT, Stream, document_of, failed, judged, point, until, up
from topologies import frames, records
from topologies.capture import packet_socket, receive
from topologies.frames import Party
from topologies.ovs import switch_of
from topologies.rest import Rest, missing, wait_for
from topologies.restarting import restart_switch
from topologies.spec import Carries, Expect, Hostile, Probe
from topologies.verdict import Verdict

pytestmark = pytest.mark.usefixtures("nothing_left")
# -- they can fail ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two_hosts_one_subnet", "two_switches"])
def test_on_hubs_in_place_of_the_hosts_every_never_and_every_cable_fails(name: str) -> None:
    """Frames of every attack and every impostor do arrive there, and are seen; and the trunk carries them untagged."""
    document = document_of(name)
    del document["policy"]
    for bridge in document["bridges"].values():
        bridge["flows"] = ["priority=1,actions=all,local"]
    with up(document) as record:
        rows, lab = judged(record, lambda e: not e.during), record.lab
    # An impostor's frames do not come back to the host at whose end of the cable they were put in.
    behind = {link.a.owner for link in lab.links if link.b.owner in ("br-b", "br-r")}
    sent_back = [row for row in rows if row.source in lab.impostors and row.target in behind]
    nevers = [row for row in rows if row.expected is Expect.NEVER and row not in sent_back]
    assert len(nevers) > 50
    assert [row for row in nevers if row.verdict is not Verdict.FAIL] == []
    carried = [row for row in rows if row.expected is Expect.CARRIES]
    assert len(carried) >= 4
    assert [row for row in carried if row.verdict is not Verdict.FAIL] == []


def test_a_host_that_forgets_the_tag_for_one_member_is_noticed_on_the_trunk() -> None:
    with up("two_hosts") as record:
        switch = switch_of(record, "boxA")
        leak = "table=0,priority=65535,in_port=1,dl_dst=ff:ff:ff:ff:ff:ff,actions=output:3"
        switch.ofctl("-O", "OpenFlow14", "add-flow", switch.management("br-a"), leak)
        rows = judged(record, lambda e: isinstance(e, Carries) or (isinstance(e, Probe) and e.source == "web1"))
    (row,) = (row for row in rows if row.source == "br-a:trunk")
    assert row.verdict is Verdict.FAIL
    assert "carried" in row.seen
    assert "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff" in row.seen
    assert " vid " not in row.seen


def test_a_cable_on_which_nothing_was_sent_does_not_pass() -> None:
    with up("two_hosts") as record:
        rows = judged(record, lambda e: isinstance(e, Carries))
    assert {row.verdict for row in rows} == {Verdict.FAIL}
    assert rows[0].observed == "none of vid 100, vid 200"


# -- beside each other -----------------------------------------------------------------------------------------------


def test_two_labs_of_several_hosts_live_beside_each_other() -> None:
    with contextlib.ExitStack() as stack:
        labs = [stack.enter_context(up("two_hosts_one_subnet")) for _ in range(2)]
        assert not set(labs[0].namespaces.values()) & set(labs[1].namespaces.values())
        assert not set(labs[0].dpids.values()) & set(labs[1].dpids.values())
        with ThreadPoolExecutor() as pool:
            rows = list(pool.map(lambda record: judged(record, lambda e: not isinstance(e, Hostile)), labs))
    assert [failed(of_one) for of_one in rows] == [[], []]


# -- a dead controller -----------------------------------------------------------------------------------------------


def flows_of(record: records.Record, node: str, bridge: str) -> list[str]:
    switch = switch_of(record, node)
    return sorted(
        switch.ofctl("-O", "OpenFlow14", "--no-stats", "dump-flows", switch.management(bridge)).splitlines()[1:]
    )


def test_a_dead_controller_changes_nothing() -> None:
    with up("two_hosts_one_subnet") as record:
        before = {bridge: flows_of(record, node, bridge) for node, bridge in (("boxA", "br-a"), ("boxB", "br-b"))}
        (controller,) = (d for d in record.daemons if d.role == "controller")
        os.kill(controller.pid, signal.SIGKILL)
        for node, bridge in (("boxA", "br-a"), ("boxB", "br-b")):
            switch = switch_of(record, node)
            until(lambda s=switch, b=bridge: "true" not in s.vsctl("get", "controller", b, "is_connected"), 20, "loss")
        assert failed(judged(record)) == []
        after = {bridge: flows_of(record, node, bridge) for node, bridge in (("boxA", "br-a"), ("boxB", "br-b"))}
    assert all(len(flows) > 10 for flows in before.values())
    assert after == before


# -- a switch restarts -----------------------------------------------------------------------------------------------


def test_a_host_whose_switch_restarts_comes_back_by_itself_and_the_others_lose_nothing(
    record_property: Callable[[str, object], None],
) -> None:
    with up("three_point_hosts_untagged") as record:
        with Stream(record, "common", "green1") as through, Stream(record, "common", "pink1") as beside:
            until(lambda: through.flows() and beside.flows(), 10, "the traffic before")
            restart_switch(record, "boxA")
            back = time.monotonic()
            until(lambda: any(when > back for when in list(through.came.values())), 20, "the traffic after")
            until(lambda: through.flows() and beside.flows(), 10, "the traffic, steadily")
        assert through.lost, "the restart was not noticed, so that it shows nothing"
        assert beside.lost == []
        first = min(when for number, when in through.came.items() if number > through.lost[0])
        again_s = max(0.0, first - back)
        record_property("in_force_again_s", round(again_s, 3))
        print(f"in force again {again_s:.3f} s after the switch was back; {len(through.lost)} of {through.sent} lost")
        assert again_s < 10
        rest = Rest(record.controller)
        wait_for(lambda: missing(rest, record.dpids, record.lab.policy["endpoints"]), 10)  # type: ignore[index, arg-type]
        assert failed(judged(record, lambda e: not e.during)) == []


def test_while_a_switch_restarts_nothing_leaks() -> None:
    """A member calls to everybody all the time; the other VLAN's member on its host never hears it, its own does."""
    with up("two_hosts_one_subnet") as record:
        lab, mark = record.lab, b"tripoint-restart"
        everybody = Party(frames.BROADCAST, point(lab, "web3").ip, STREAM_PORT)
        call = frames.udp(point(lab, "web1"), everybody, mark)
        heard: dict[str, int] = {"web2": 0, "web3": 0, "web4": 0}
        ears = {n: packet_socket(record.namespaces[n], "eth0", receive=True) for n in heard}
        mouth = packet_socket(record.namespaces["web1"], "eth0", receive=False)
        end = threading.Event()

        def talk() -> None:
            while not end.is_set():
                mouth.send(call)
                for node, ear in ears.items():
                    while (got := receive(ear)) is not None:
                        heard[node] += mark in got[0]
                time.sleep(0.002)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            until(lambda: heard["web3"] > 0, 5, "hearing web1 before")
            restart_switch(record, "boxA")
            before = heard["web3"]
            until(lambda: heard["web3"] > before + 50, 20, "hearing web1 again")
        finally:
            end.set()
            thread.join()
            for handle in (*ears.values(), mouth):
                handle.close()
    assert heard["web2"] == heard["web4"] == 0


# -- a transparent bridge --------------------------------------------------------------------------------------------


@dataclass
class Segments:
    """The transparent bridge's stations, by raw frames. heard: node -> how often the last call was seen there."""

    record: records.Record
    number: int = 0

    def call(self, source: str, source_mac: str, target_mac: str) -> set[str]:
        """One frame; at which of boxC and boxD it was seen. It was seen somewhere, or there were none."""
        self.number += 1
        mark = b"segment-%06d." % self.number
        lab, ears = self.record.lab, {}
        for node in ("boxC", "boxD"):
            ears[node] = packet_socket(self.record.namespaces[node], "eth0", receive=True)
        one, other = point(lab, source), point(lab, "boxC")
        try:
            with packet_socket(self.record.namespaces[source], "eth0", receive=False) as mouth:
                mouth.send(frames.udp(Party(source_mac, one.ip, 1), Party(target_mac, other.ip, 2), mark))
            seen: set[str] = set()
            # A second frame behind it in the same queues, for everybody: when it has come, the first has come too.
            with packet_socket(self.record.namespaces["boxA"], "eth0", receive=False) as mouth:
                after = frames.udp(point(lab, "boxA"), Party(frames.BROADCAST, other.ip, 2), b"behind-" + mark)
                mouth.send(after)
            passed: set[str] = set()
            deadline = time.monotonic() + 5
            while passed != set(ears):
                assert time.monotonic() < deadline, f"only {passed} can hear"
                for node, ear in ears.items():
                    while (got := receive(ear)) is not None:
                        if b"behind-" + mark in got[0]:
                            passed.add(node)
                        elif mark in got[0] and not got[1]:
                            seen.add(node)
                time.sleep(0.002)
            return seen
        finally:
            for ear in ears.values():
                ear.close()


def test_a_moved_mac_is_followed_and_a_silent_one_is_forgotten() -> None:
    document = document_of("transparent_bridge")
    document["policy"]["networks"]["ethernet"]["mac_age_s"] = age_s = 3
    with up(document) as record:
        lab, segments = record.lab, Segments(record)
        a, c = point(lab, "boxA").mac, point(lab, "boxC").mac
        roaming = "02:00:00:00:00:77"
        assert segments.call("boxA", a, roaming) == {"boxC", "boxD"}, "unknown: looked for everywhere"
        assert segments.call("boxC", roaming, a) == set()
        assert segments.call("boxA", a, roaming) == {"boxC"}
        assert segments.call("boxD", roaming, a) == set()
        assert segments.call("boxA", a, roaming) == {"boxD"}, "it has moved"
        assert segments.call("boxC", c, a) == set()
        assert segments.call("boxA", a, roaming) == {"boxD"}, "another one's frames do not bring it back"
        started = time.monotonic()
        age(record, roaming)
        assert time.monotonic() - started > age_s - 1.5
        assert segments.call("boxA", a, roaming) == {"boxC", "boxD"}


def age(record: records.Record, mac: str) -> None:
    """Until the switch has no flow for this MAC any more; asked without a frame, so that nothing keeps it."""
    switch = switch_of(record, "boxB")
    words = ("-O", "OpenFlow14", "--no-stats", "dump-flows", switch.management("br0"), f"dl_dst={mac}")
    assert f"dl_dst={mac}" in switch.ofctl(*words)
    until(lambda: f"dl_dst={mac}" not in switch.ofctl(*words), 20, f"forgetting {mac}")


def test_a_silent_mac_is_forgotten_also_while_it_is_spoken_to() -> None:
    document = document_of("transparent_bridge")
    document["policy"]["networks"]["ethernet"]["mac_age_s"] = age_s = 3
    with up(document) as record:
        a, roaming, segments = point(record.lab, "boxA").mac, "02:00:00:00:00:77", Segments(record)
        assert segments.call("boxA", a, roaming) == {"boxC", "boxD"}
        assert segments.call("boxC", roaming, a) == set()
        started = time.monotonic()
        while segments.call("boxA", a, roaming) == {"boxC"}:
            assert time.monotonic() < started + age_s + 7, "a silent MAC is never forgotten"
            time.sleep(0.1)


def test_a_mac_that_speaks_is_not_forgotten() -> None:
    document = document_of("transparent_bridge")
    document["policy"]["networks"]["ethernet"]["mac_age_s"] = age_s = 2
    with up(document) as record:
        a, roaming, segments = point(record.lab, "boxA").mac, "02:00:00:00:00:77", Segments(record)
        assert segments.call("boxA", a, roaming) == {"boxC", "boxD"}
        started = time.monotonic()
        while time.monotonic() < started + 3 * age_s:
            assert segments.call("boxC", roaming, a) == set()
            assert segments.call("boxA", a, roaming) == {"boxC"}
            time.sleep(0.3)
