"""Databases of Open vSwitch kept as they are wanted: real ovsdb-servers, and ovs-vswitchd where it matters."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ovs import stream

from controller.bridge_settings import BridgeSettings
from controller.hosts import HostSeen, WantedHost, WantedPort
from controller.ovsdb.corrections import AT_ONCE, EVERY_S
from controller.ovsdb.databases import Databases, Tls, TlsError
from controller.ovsdb.passive import STRANGERS, ListenError
from controller.ovsdb.turn import NOT_READ_YET, Turns
from controller.pipeline import TABLES
from controller.policy.model import Dpid
from tests.wire.database import Database, database, free_port, until
from tests.wire.threads import ThreadLoop

pytestmark = pytest.mark.skipif(shutil.which("ovsdb-server") is None, reason="Open vSwitch is not installed")

PROJECT = Path(__file__).parents[2]
DPID = Dpid(0xABC)
HELD_AT_MOST_S = 0.05


class Manager:
    """`Databases` with threads; n_changes: how often it said that something had changed."""

    def __init__(self, watched: tuple[str, ...] = (), controlled: Callable[[], Collection[Dpid]] = tuple) -> None:
        self.n_changes = 0
        self.loop = ThreadLoop()
        self.databases = Databases(self.loop, lambda: datetime.now(UTC), watched, controlled, self._note, 6653)

    def _note(self) -> None:
        self.n_changes += 1

    def want(self, *hosts: WantedHost) -> None:
        self.databases.want(hosts)

    def host(self, name: str = "a") -> HostSeen:
        return self.databases.seen()[name]

    def until_in_force(self, name: str = "a", within_s: float = 10.0) -> float:
        return until(lambda: self.host(name).in_force, lambda: self.host(name).why, within_s)

    def end(self) -> None:
        self.databases.close()
        for thread in self.loop.began:
            thread.join(5)
            assert not thread.is_alive()


@contextmanager
def manager(watched: tuple[str, ...] = (), controlled: Callable[[], Collection[Dpid]] = tuple) -> Iterator[Manager]:
    made = Manager(watched, controlled)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(autouse=True)
def _no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package knows one set of files for a whole process: each test begins and ends without."""
    for file in ("private_key", "certificate", "ca_cert"):
        monkeypatch.setattr(stream.Stream, f"_SSL_{file}_file", None)


@pytest.fixture(scope="module")
def switch() -> Iterator[Database]:
    """One with a daemon, for tests that leave nothing behind in it."""
    with database(switch=True) as made:
        yield made


def internal(name: str, bridge: str = "br-a") -> WantedPort:
    return WantedPort(name, bridge, "/endpoints/x", type="internal")


def wanted(remote: str, *ports: WantedPort, name: str = "a", dpid: Dpid = DPID) -> WantedHost:
    return WantedHost(name, remote, "br-a", dpid, None, ports)


def next_cfg(made: Database) -> str:
    return made.get("Open_vSwitch", ".", "next_cfg")


def clean(made: Manager, db: Database) -> None:
    made.want()
    until(lambda: "br-a" not in db.names("Bridge"))


def test_host_becomes_what_is_wanted_and_is_seen(switch: Database) -> None:
    tunnel = WantedPort("tp-b", "br-a", "/x", type="vxlan", options=(("remote_ip", "192.0.2.2"),), bfd=True)
    with manager() as made:
        made.want(wanted(switch.remote, internal("web"), tunnel))
        made.until_in_force()
        seen = made.host()
        assert (seen.connected, seen.why, seen.system_id, seen.shown.bridges) == (True, "", "host-a", {"br-a": DPID})
        assert seen.ovs_version == "3.1.0"
        ports = {port.name: port for port in seen.shown.ports}
        assert ports.keys() == {"br-a", "web", "tp-b"}
        assert ports["web"].ofport != ports["tp-b"].ofport
        assert None not in (ports["web"].ofport, ports["tp-b"].ofport)
        assert all(port.ours for port in seen.shown.ports)
        assert ports["tp-b"].tunnel is not None
        assert ports["tp-b"].tunnel.up is False
        assert made.databases.settings() == {DPID: BridgeSettings("secure", in_band=False)}
        assert switch.names("Flow_Table") == set(TABLES)
        assert switch.get("Controller", "br-a", "target") == '"tcp:127.0.0.1:6653"'
        clean(made, switch)
        for table in ("Bridge", "Port", "Interface", "Flow_Table"):
            assert not switch.names(table)


def test_restarted_controller_writes_nothing(switch: Database) -> None:
    host = wanted(switch.remote, internal("web"))
    with manager() as made:
        made.want(host)
        made.until_in_force()
    before = next_cfg(switch)
    with manager() as made:
        made.want(host)
        made.until_in_force()
        assert next_cfg(switch) == before
        assert made.host().corrected == ()
        clean(made, switch)
        assert next_cfg(switch) != before


def test_what_is_changed_by_hand_is_set_right_and_told(switch: Database) -> None:
    with manager() as made:
        made.want(wanted(switch.remote, internal("web")))
        made.until_in_force()
        switch.vsctl("set-fail-mode", "br-a", "standalone")
        until(lambda: "bridge br-a: fail_mode was standalone, set to secure" in made.host().corrected)
        switch.vsctl("del-port", "web")
        until(lambda: "port web was gone, made again" in made.host().corrected)
        switch.vsctl("set", "Port", "br-a", "external_ids:who=me", "--", "add-port", "br-a", "mine")
        until(lambda: any(port.name == "mine" for port in made.host().shown.ports))
        made.until_in_force()
        assert switch.get("Bridge", "br-a", "fail_mode") == "secure"
        assert "web" in switch.names("Port")
        assert len(made.host().corrected) == 2
        switch.vsctl("del-port", "mine")
        clean(made, switch)


def test_port_that_comes_with_labels_is_told_at_once(switch: Database) -> None:
    with manager() as made:
        made.want(wanted(switch.remote))
        made.until_in_force()
        before = made.n_changes
        labels = ["external_ids:iface-id=vm-1", 'external_ids:attached-mac="02:00:00:00:00:07"']
        switch.vsctl("add-port", "br-a", "vnet0", "--", "set", "Interface", "vnet0", "type=dummy", *labels)
        until(lambda: any(port.iface_id == "vm-1" and port.ofport for port in made.host().shown.ports))
        (port,) = (port for port in made.host().shown.ports if port.name == "vnet0")
        assert str(port.attached_mac) == "02:00:00:00:00:07"
        assert not port.ours
        assert made.n_changes > before
        switch.vsctl("del-port", "vnet0")
        clean(made, switch)


def test_rows_of_others_are_never_touched() -> None:
    with database() as db:
        db.vsctl(
            *("add-br", "br-x", "--", "set", "Bridge", "br-x", "fail_mode=standalone", "other_config:a=b"),
            *("--", "add-port", "br-x", "eth7", "tag=7", "--", "set-controller", "br-x", "tcp:198.51.100.1:6653"),
            *("--", "add-br", "br-a", "--", "set", "Bridge", "br-a", 'other_config:hwaddr="02:00:00:00:00:01"'),
            *("--", "add-port", "br-a", "eth0", "trunks=1,2"),
        )
        before = {name: db.vsctl("list", *name.split()) for name in ("Bridge br-x", "Port", "Interface", "Controller")}
        with manager() as made:
            made.want(wanted(db.remote, internal("web"), WantedPort("eth7", "br-a", "/x")))
            until(lambda: "web" in db.names("Port"), lambda: made.host().why)
            assert "port eth7 is on bridge br-x already and is not ours to move" in made.host().why
            assert not made.host().in_force
            made.want()
            until(lambda: "web" not in db.names("Port"))
            until(lambda: not db.names("Flow_Table"))
        after = {name: db.vsctl("list", *name.split()) for name in before}
        assert after == before
        assert db.get("Bridge", "br-a", "other_config:hwaddr") == '"02:00:00:00:00:01"'
        assert db.get("Bridge", "br-a", "fail_mode") == "secure"


def test_host_is_in_force_only_once_its_daemon_has_read_it() -> None:
    with database() as db, manager() as made:
        made.want(wanted(db.remote))
        until(lambda: made.host().why == NOT_READ_YET, lambda: made.host().why)
        assert not made.host().in_force
        db.follow()
        made.until_in_force()
        assert made.host().why == ""


def test_database_that_was_killed_is_in_force_soon_after_it_is_back() -> None:
    with database() as db, manager() as made:
        made.want(wanted(db.remote, internal("web")))
        until(lambda: "web" in db.names("Port"))
        db.follow()
        made.until_in_force()
        db.kill("ovsdb-server")
        until(lambda: not made.host().connected)
        lost_at = made.host().since
        assert "has hung up" in made.host().why or "cannot be reached" in made.host().why
        assert not made.host().in_force
        assert [port.name for port in made.host().shown.ports] == ["br-a", "web"]
        until(lambda: "cannot be reached" in made.host().why)
        assert made.host().since == lost_at
        db.begin_server()
        until(lambda: made.host().connected)
        assert not made.host().in_force, "its daemon has not told yet that the bridge is there"
        assert made.host().shown.bridges == {"br-a": DPID}, "what is known of it is not forgotten meanwhile"
        db.follow()
        made.until_in_force(within_s=2.0)
        assert made.host().corrected == ()


def test_database_that_came_back_empty_is_filled_again() -> None:
    with database() as db, manager() as made:
        made.want(wanted(db.remote, internal("web")))
        until(lambda: "web" in db.names("Port"))
        db.kill("ovsdb-server")
        (db.directory / "conf.db").unlink()
        subprocess.run(
            ["ovsdb-tool", "create", db.directory / "conf.db", "/usr/share/openvswitch/vswitch.ovsschema"], check=True
        )
        db.begin_server()
        until(lambda: "web" in db.names("Port"), lambda: made.host().why)


def test_host_whose_turn_fails_is_not_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(turns: Turns, asked: object) -> None:
        raise LookupError("a defect")

    with database() as db, manager() as made:
        made.want(wanted(db.remote))
        until(lambda: "br-a" in db.names("Bridge"))
        db.follow()
        made.until_in_force()
        monkeypatch.setattr(Turns, "take", fail)
        db.vsctl("set", "Bridge", "br-a", "fail_mode=standalone")
        until(lambda: not made.host().in_force)
        assert not made.host().connected
        assert "a defect" in made.host().why


def test_next_cfg_that_was_set_back_is_no_reason_to_wait() -> None:
    with database() as db, manager() as made:
        made.want(wanted(db.remote))
        until(lambda: "br-a" in db.names("Bridge"))
        db.follow()
        made.until_in_force()
        db.vsctl("set", "Open_vSwitch", ".", "next_cfg=0", "cur_cfg=0")
        db.vsctl("set", "Bridge", "br-a", "external_ids:seen=true")
        time.sleep(0.1)
        assert made.host().in_force, made.host().why


def test_dead_hosts_delay_nobody_and_say_why() -> None:
    with database() as db, socket.socket() as silent, manager() as made:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        port = silent.getsockname()[1]
        made.want(
            wanted(f"tcp:127.0.0.1:{port}", name="silent"),
            wanted(f"tcp:127.0.0.1:{free_port()}", name="refusing"),
            wanted("unix:/nowhere/db.sock", name="gone"),
            wanted("ssl:127.0.0.1:1", name="tls"),
            wanted("from:nobody", name="waiting"),
            wanted(db.remote),
        )
        took_s = until(lambda: "br-a" in db.names("Bridge"))
        assert took_s < 1
        until(lambda: "Connection refused" in made.host("refusing").why, lambda: made.host("refusing").why)
        until(lambda: "No such file" in made.host("gone").why, lambda: made.host("gone").why)
        assert made.host("gone").why.startswith("unix:/nowhere/db.sock cannot be reached")
        assert made.host("waiting").why == "from:nobody has not connected yet"
        assert made.host("silent").why.endswith(("answers, but has not been read yet", "has not answered yet"))
        until(lambda: "no key and certificates are set up" in made.host("tls").why, lambda: made.host("tls").why)
        assert not any(made.host(name).connected for name in ("silent", "refusing", "gone", "tls", "waiting"))


def test_two_hosts_of_one_database_and_one_goes() -> None:
    with database() as db, manager() as made:
        other = WantedHost("b", db.remote, "br-b", Dpid(0xB), None, (internal("web-b", "br-b"),))
        made.want(wanted(db.remote, internal("web")), other)
        until(lambda: {"web", "web-b"} <= db.names("Port"))
        made.want(other)
        until(lambda: db.names("Bridge") == {"br-b"})
        assert db.names("Port") == {"br-b", "web-b"}
        assert made.databases.seen().keys() == {"b"}


def test_host_that_nobody_wants_is_cleaned_even_if_it_was_away() -> None:
    with database() as db, manager() as made:
        made.want(wanted(db.remote, internal("web")))
        until(lambda: "web" in db.names("Port"))
        db.kill("ovsdb-server")
        made.want()
        assert not made.databases.seen()
        db.begin_server()
        until(lambda: not db.names("Bridge"))


def test_thousand_ports_are_one_transaction_and_one_port_more_another() -> None:
    ports = tuple(internal(f"p{n}") for n in range(1000))
    with database() as db, manager() as made:
        made.want(wanted(db.remote, *ports))
        until(lambda: len(db.names("Port")) == 1001)
        assert next_cfg(db) == "1"
        db.follow()
        made.until_in_force()
        before = time.monotonic()
        made.want(wanted(db.remote, *ports, internal("one")))
        until(lambda: any(port.name == "one" for port in made.host().shown.ports))
        assert time.monotonic() - before < 0.2
        assert next_cfg(db) == "2"
        made.want(wanted(db.remote, internal("one")))
        until(lambda: db.names("Port") == {"br-a", "one"})
        assert next_cfg(db) == "3"


def test_hand_that_changes_it_again_and_again_is_followed_slowly() -> None:
    with database() as db, manager() as made:
        made.want(wanted(db.remote))
        until(lambda: "br-a" in db.names("Bridge"))
        began, n_changed = time.monotonic(), 0
        while "again and again" not in made.host().why:
            n_changed += 1
            assert n_changed < 10 * AT_ONCE, made.host()
            db.vsctl("set-fail-mode", "br-a", "standalone")
            until(lambda n=n_changed: len(made.host().corrected) == n or "again and again" in made.host().why)
        assert len(made.host().corrected) <= AT_ONCE + (time.monotonic() - began) / EVERY_S
        until(lambda: db.get("Bridge", "br-a", "fail_mode") == "secure", within_s=2 * EVERY_S)


def test_two_who_set_right_what_the_other_has_set_do_not_spin() -> None:
    with database() as db, manager() as one, manager() as other:
        one.want(wanted(db.remote))
        until(lambda: "br-a" in db.names("Bridge"))
        began, before = time.monotonic(), int(next_cfg(db))
        other.want(replace(wanted(db.remote), target="tcp:198.51.100.1:6653"))
        until(lambda: "again and again" in one.host().why or "again and again" in other.host().why)
        time.sleep(1.0)
        # Each does ten at once, then one a second.
        assert int(next_cfg(db)) - before <= 2 * (12 + int(time.monotonic() - began))


def test_watched_bridge_gets_names_and_no_in_band_as_soon_as_it_is_ours_to_control() -> None:
    controlled: set[Dpid] = set()
    with database(switch=True) as db:
        db.vsctl("add-br", "br-x", "--", "set", "Bridge", "br-x", "other_config:datapath-id=00000000000000aa")
        with manager((db.remote,), lambda: controlled) as made:
            until(lambda: made.databases.settings() == {Dpid(0xAA): BridgeSettings("standalone", in_band=True)})
            assert not db.names("Flow_Table")
            assert next_cfg(db) == "0"
            controlled.add(Dpid(0xAA))
            made.databases.look()
            until(lambda: made.databases.settings() == {Dpid(0xAA): BridgeSettings("standalone", in_band=False)})
            assert db.names("Flow_Table") == set(TABLES)
            assert db.get("Bridge", "br-x", "fail_mode") == "[]"
            assert not made.databases.seen()


def test_watched_database_that_a_host_names_is_one_connection() -> None:
    with database() as db, manager((db.remote,)) as made:
        made.want(wanted(db.remote, internal("web")))
        until(lambda: "web" in db.names("Port"))
        assert len(made.loop.began) == 1
        made.want()
        until(lambda: not db.names("Bridge"))


# Databases that connect by themselves


def connect_to(db: Database, port: int) -> None:
    db.vsctl("set-manager", f"tcp:127.0.0.1:{port}")


def test_host_that_connects_by_itself_is_told_by_its_system_id() -> None:
    port = free_port()
    with database("host-a") as db, database("host-x") as unknown, manager() as made:
        made.databases.listen(f"ptcp:{port}:127.0.0.1")
        made.want(wanted("from:host-a", internal("web")))
        connect_to(unknown, port)
        connect_to(db, port)
        until(lambda: "web" in db.names("Port"), lambda: made.host().why)
        db.follow()
        made.until_in_force()
        assert made.host().system_id == "host-a"
        assert not unknown.names("Bridge")
        # One that waits is taken the moment it is wanted.
        made.want(wanted("from:host-a", internal("web")), wanted("from:host-x", name="x"))
        until(lambda: made.host("x").connected, within_s=2.0)
        db.kill("ovsdb-server")
        until(lambda: made.host().why == "from:host-a has hung up", lambda: made.host().why)


def hung_up(connection: socket.socket, within_s: float) -> bool:
    connection.settimeout(within_s)
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def claim(port: int, system_id: str) -> tuple[socket.socket, bytes]:
    """A connection of somebody who says that this is its system-id, and what it is asked then."""
    peer = socket.create_connection(("127.0.0.1", port), 5)
    asked = json.loads(peer.recv(1 << 16))
    row = {"external_ids": ["map", [["system-id", system_id]]]}
    peer.sendall(json.dumps({"id": asked["id"], "error": None, "result": [{"rows": [row]}]}).encode())
    return peer, peer.recv(1 << 16)


def test_newer_connection_has_the_place_only_of_one_that_no_longer_answers() -> None:
    port = free_port()
    with database("host-a") as db, database("host-a") as second, manager() as made:
        made.databases.listen(f"ptcp:{port}:127.0.0.1")
        made.want(wanted("from:host-a", internal("web")))
        connect_to(db, port)
        until(lambda: "web" in db.names("Port"), lambda: made.host().why)
        since = made.host().since
        peer, question = claim(port, "host-a")
        assert question == b""
        peer.close()
        assert (made.host().connected, made.host().since) == (True, since)
        db.freeze("ovsdb-server", frozen=True)
        connect_to(second, port)
        until(lambda: "web" in second.names("Port"), lambda: made.host().why)
        db.freeze("ovsdb-server", frozen=False)


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "binary": bytes(range(256)) * 100,
    "endless": b'{"id":"' + b"x" * 200_000,
    "deep": b'{"id":' + b"[" * 200,
    "no rpc": b'{"hello":1}',
    "big number": b'{"id":1,"error":null,"result":' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_stranger_who_sends_garbage_is_hung_up_on(data: bytes) -> None:
    port = free_port()
    with manager() as made:
        made.databases.listen(f"ptcp:{port}:127.0.0.1")
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.sendall(data)
            assert hung_up(peer, 2.0)


LIES = {
    "no reply to what was asked": {"id": 10**9, "error": None, "result": []},
    "schema": {"id": 0, "error": None, "result": {"name": 3}},
    "update for a table that is none": {"method": "update3", "params": [1, 2, {"Nothing": {"x": {}}}], "id": None},
    "update of nothing": {"method": "update2", "params": [[], []], "id": None},
    "cancelled": {"method": "monitor_canceled", "params": [], "id": None},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_peer_that_has_the_name_of_a_host_and_lies_harms_nobody(lie: dict[str, object]) -> None:
    port = free_port()
    with database("host-b") as db, manager() as made:
        made.databases.listen(f"ptcp:{port}:127.0.0.1")
        made.want(wanted("from:host-a"), wanted(db.remote, name="b", dpid=Dpid(0xB)))
        peer, question = claim(port, "host-a")
        with peer:
            until(lambda: made.host().why != "from:host-a has not connected yet", lambda: made.host().why)
            if lie["id"] == 0:
                lie = {**lie, "id": json.loads(question)["id"]}
            peer.sendall(json.dumps(lie).encode())
            until(lambda: "br-a" in db.names("Bridge"))
            assert not made.host().connected
        until(
            lambda: made.host().why.startswith(
                ("from:host-a has hung up", "from:host-a is lost", "from:host-a does not speak OVSDB")
            ),
            lambda: made.host().why,
        )
        # Nor does it keep the real one out.
        with database("host-a") as real:
            connect_to(real, port)
            until(lambda: "br-a" in real.names("Bridge"), lambda: made.host().why)


def test_many_silent_strangers_do_not_keep_a_host_out() -> None:
    port = free_port()
    with database("host-a") as db, manager() as made:
        made.databases.listen(f"ptcp:{port}:127.0.0.1")
        made.want(wanted("from:host-a"))
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(STRANGERS + 20)]
        connect_to(db, port)
        until(lambda: "br-a" in db.names("Bridge"), lambda: made.host().why)
        assert hung_up(silent[0], 2.0)
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("address", ["ptcp:", "tcp:6640", "ptcp:70000", "ptcp:6640:nowhere.invalid", "pssl:6640"])
def test_place_where_nobody_can_connect_is_refused(address: str) -> None:
    with manager() as made, pytest.raises(ListenError):
        made.databases.listen(address)


def test_place_that_is_taken_is_refused() -> None:
    with manager() as made, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ListenError, match="Address already in use"):
            made.databases.listen(f"ptcp:{taken.getsockname()[1]}:127.0.0.1")


# TLS


def openssl(directory: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)


def make_certificates(directory: Path, name: str) -> Tls:
    """An authority NAME-ca, and a key and certificate of its."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = ("-keyout", f"{name}-ca.key", "-out", f"{name}-ca.pem", "-days", "2", "-subj", f"/CN={name}-ca")
    openssl(directory, "req", "-x509", *curve, *authority)
    signer = ("-CA", f"{name}-ca.pem", "-CAkey", f"{name}-ca.key")
    own = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}")
    openssl(directory, "req", "-x509", *curve, *own, *signer, "-addext", "basicConstraints=CA:FALSE")
    return Tls(*(str(directory / file) for file in (f"{name}.key", f"{name}.pem", f"{name}-ca.pem")))


def use_certificates(db: Database, files: Tls) -> None:
    db.vsctl("set-ssl", files.private_key, files.certificate, files.ca_certificate)


def test_databases_are_reached_and_reach_us_by_tls_with_certificates_of_one_authority(tmp_path: Path) -> None:
    files, foreign = make_certificates(tmp_path, "one"), make_certificates(tmp_path, "other")
    here, there = free_port(), free_port()
    with database("host-a") as db, database("host-b") as back, database("host-c") as stranger, manager() as made:
        made.databases.use_tls(files)
        made.databases.listen(f"pssl:{here}:127.0.0.1")
        made.want(
            wanted(f"ssl:127.0.0.1:{there}"),
            wanted("from:host-b", name="b", dpid=Dpid(0xB)),
            wanted("from:host-c", name="c", dpid=Dpid(0xC)),
        )
        use_certificates(db, files)
        use_certificates(back, files)
        use_certificates(stranger, foreign)
        db.vsctl("set-manager", f"pssl:{there}:127.0.0.1")
        back.vsctl("set-manager", f"ssl:127.0.0.1:{here}")
        stranger.vsctl("set-manager", f"ssl:127.0.0.1:{here}")
        until(lambda: "br-a" in db.names("Bridge"), lambda: made.host().why)
        until(lambda: "br-a" in back.names("Bridge"), lambda: made.host("b").why)
        assert not made.host("c").connected
        use_certificates(db, foreign)
        db.kill("ovsdb-server")
        db.begin_server()
        until(lambda: "the certificates do not fit" in made.host().why, lambda: made.host().why)


def test_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    with manager() as made, pytest.raises(TlsError, match="No such file"):
        made.databases.use_tls(Tls(missing, missing, missing))


# The event loop


def test_event_loop_is_not_held_while_hosts_are_set_up_and_changed() -> None:
    with database() as one, database("host-b") as other:
        remotes = [one.remote, other.remote]
        command = [sys.executable, "-W", "ignore", "-m", "tests.wire.green_databases", "600", *remotes]
        run = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        try:
            steps = []
            for n_ports in (601, 602, 1):
                for db in (one, other):
                    until(lambda db=db, n_ports=n_ports: len(db.names("Port")) == n_ports, one.log)
                    db.follow()
                steps.append(json.loads(run.stdout.readline()))
            assert run.wait(10) == 0
        finally:
            run.kill()
            run.wait()
            run.stdout.close()
    assert [step["step"] for step in steps] == ["first", "one more", "none"]
    assert max(step["held_s"] for step in steps) < HELD_AT_MOST_S, steps
