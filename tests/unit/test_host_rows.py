"""What is wanted of a host's database against what is found there, without any database."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from controller.hosts import WantedHost, WantedPort
from controller.mac import Mac
from controller.ovsdb.corrections import AT_ONCE, EVERY_S, KEPT, TOLD_AT_ONCE, Corrections
from controller.ovsdb.found import (
    Found,
    FoundBridge,
    FoundController,
    FoundInterface,
    FoundPort,
    FoundRoot,
    FoundTable,
)
from controller.ovsdb.json_text import BadText, TextCutter, decode_text, encode_text
from controller.ovsdb.plan import Plan, make_plan
from controller.ovsdb.rows import PROTOCOLS, wanted_target
from controller.ovsdb.seen import PortsSeen, see_port
from controller.pipeline import TABLES
from controller.policy.model import Dpid

TARGET = "tcp:192.0.2.1:6653"
TUNNEL = WantedPort(
    "tp-b", "br-a", "/hosts/b", type="vxlan", options=(("remote_ip", "192.0.2.2"), ("key", "flow")), bfd=True
)
WEB = WantedPort("web", "br-a", "/endpoints/web", type="internal", mac=Mac(0x02), mtu_bytes=1450, tag=10)


def host(*ports: WantedPort) -> WantedHost:
    return WantedHost("a", "unix:/a", "br-a", Dpid(0xA), TARGET, ports)


class Rows:
    """A database as values, written by hand; uuids are names."""

    def __init__(self) -> None:
        self.found = Found(root=FoundRoot("root", frozenset(), 1, 1, "3.1.0", "id-a"))

    def bridge(self, name: str, *, ours: bool, port_names: tuple[str, ...] = (), **columns: object) -> FoundBridge:
        made = FoundBridge(
            uuid=f"bridge-{name}",
            name=name,
            dpid=None,
            datapath_type="",
            fail_mode=None,
            protocols=frozenset(),
            other_config={},
            controllers=frozenset(),
            tables={},
            ports=frozenset(f"port-{port}" for port in (name, *port_names)),
            ours=ours,
        )
        self.found.bridges[made.uuid] = replace(made, **columns)  # type: ignore[arg-type]
        self.port(name, ours=ours, type="internal")
        return self.found.bridges[made.uuid]

    def port(self, name: str, *, ours: bool, tag: int | None = None, **columns: object) -> None:
        self.found.ports[f"port-{name}"] = FoundPort(f"port-{name}", name, frozenset({f"if-{name}"}), tag, (), ours)
        made = FoundInterface(f"if-{name}", name, "", (), (), (), None, None, None, None, None, None, None, None, "")
        self.found.interfaces[made.uuid] = replace(made, **columns)  # type: ignore[arg-type]

    def settled_bridge(self, *port_names: str, ours: bool = True) -> FoundBridge:
        """br-a as it is when all is as wanted."""
        self.found.controllers["c"] = FoundController("c", TARGET, 1000, 5000, ours=True)
        for name, number in TABLES.items():
            self.found.tables[f"t{number}"] = FoundTable(f"t{number}", name, ours=True)
        return self.bridge(
            "br-a",
            ours=ours,
            port_names=port_names,
            fail_mode="secure",
            protocols=PROTOCOLS,
            other_config={"datapath-id": f"{0xA:016x}", "disable-in-band": "true"},
            controllers=frozenset({"c"}),
            tables={number: f"t{number}" for number in TABLES.values()},
        )

    def settled(self) -> Found:
        """br-a with TUNNEL and WEB as they are when all is as wanted."""
        self.settled_bridge("tp-b", "web")
        bfd = (("enable", "true"), ("min_rx", "300"), ("min_tx", "300"))
        self.port("tp-b", ours=True, type="vxlan", options=(("key", "flow"), ("remote_ip", "192.0.2.2")), bfd=bfd)
        self.port("web", ours=True, tag=10, type="internal", mac="00:00:00:00:00:02", mtu_request=1450)
        return self.found


def plan(found: Found, *hosts: WantedHost, controlled: frozenset[Dpid] = frozenset(), own: bool = True) -> Plan:
    made = make_plan(hosts, {one.name: TARGET for one in hosts}, found, controlled, own)
    json.dumps(made.operations)
    return made


def touched(made: Plan) -> set[str]:
    """uuids of the rows that are changed, next_cfg apart."""
    where = [operation.get("where") for operation in made.operations]
    return {rows[0][2][1] for rows in where if isinstance(rows, list)} - {"root"}


def inserted(made: Plan, table: str) -> list[dict[str, object]]:
    return [one["row"] for one in made.operations if one["op"] == "insert" and one["table"] == table]  # type: ignore[misc]


def test_empty_database_gets_bridge_ports_and_mark_in_one_transaction() -> None:
    made = plan(Rows().found, host(TUNNEL, WEB))
    (bridge,) = inserted(made, "Bridge")
    assert bridge["fail_mode"] == "secure"
    assert bridge["other_config"] == ["map", [["datapath-id", "000000000000000a"], ["disable-in-band", "true"]]]
    assert bridge["datapath_type"] == "system"
    assert {row["name"] for row in inserted(made, "Port")} == {"br-a", "tp-b", "web"}
    assert {row["name"] for row in inserted(made, "Flow_Table")} == set(TABLES)
    (controller,) = inserted(made, "Controller")
    assert (controller["target"], controller["max_backoff"], controller["inactivity_probe"]) == (TARGET, 1000, 5000)
    for table in ("Bridge", "Port", "Interface", "Controller", "Flow_Table"):
        assert all(row["external_ids"] == ["map", [["tripoint", "tripoint"]]] for row in inserted(made, table))
    assert made.operations[-1]["mutations"] == [["next_cfg", "+=", 1]]


def test_database_without_any_row_gets_its_root() -> None:
    rows = Rows()
    rows.found.root = None
    made = plan(rows.found, host())
    assert (made.operations[0]["op"], made.operations[0]["table"]) == ("insert", "Open_vSwitch")


def test_nothing_is_written_where_all_is_as_wanted() -> None:
    made = plan(Rows().settled(), host(TUNNEL, WEB))
    assert made == Plan((), (), (), {})


@pytest.mark.parametrize("seed", range(30))
def test_a_plan_that_follows_others_is_the_one_made_at_once(seed: int) -> None:
    """What is wanted and what is found change at random, also back to what they were."""
    pick, found, before = random.Random(seed), Rows().settled(), Plan()
    settled = (dict(found.ports), dict(found.interfaces))
    wanted = [TUNNEL, WEB, replace(WEB, name="db", tag=20)]
    for _ in range(40):
        n = pick.randrange(len(wanted))
        change = pick.choice([{"tag": pick.randrange(3)}, {"type": pick.choice(["", "internal"])}, {}])
        wanted[n] = replace(wanted[n], **change)  # type: ignore[arg-type]
        name = pick.choice(["web", "tp-b"])
        port, one = settled[0][f"port-{name}"], settled[1][f"if-{name}"]
        match pick.randrange(4):
            case 0:
                found.ports[port.uuid] = replace(port, tag=pick.choice([port.tag, 7]), ours=pick.random() < 0.9)
            case 1:
                both = frozenset({"if-web", "if-tp-b"})
                found.ports[port.uuid] = replace(port, interfaces=pick.choice([port.interfaces, both]))
            case 2:
                mac = pick.choice([one.mac, "02:00:00:00:00:09"])
                found.interfaces[one.uuid] = replace(one, mac=mac, ofport=pick.randrange(9))
            case 3:
                found.interfaces.pop(one.uuid, None)
        hosts = (host(*(port for port in wanted if pick.random() < 0.8)),)
        made = make_plan(hosts, {"a": TARGET}, found, frozenset(), True, before)
        assert made == plan(found, *hosts)
        before = made


@pytest.mark.parametrize("own", [True, False])
def test_host_that_was_never_wanted_is_left_alone(own: bool) -> None:
    rows = Rows()
    rows.bridge("br-x", ours=False, port_names=("eth1",))
    rows.port("eth1", ours=False)
    assert not plan(rows.found, own=own).operations


def test_bridge_that_is_made_has_the_datapath_type_that_is_wanted() -> None:
    (bridge,) = inserted(plan(Rows().found, replace(host(), datapath_type="netdev")), "Bridge")
    assert bridge["datapath_type"] == "netdev"


def test_datapath_type_of_a_bridge_that_is_not_ours_stays() -> None:
    rows, netdev = Rows(), replace(host(), datapath_type="netdev")
    rows.settled_bridge(ours=False)
    assert not plan(rows.found, netdev).operations
    rows.settled_bridge(ours=True)
    assert plan(rows.found, netdev).changed == ("bridge br-a: datapath_type was system, set to netdev",)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"fail_mode": "standalone"}, "bridge br-a: fail_mode was standalone, set to secure"),
        ({"controllers": frozenset[str]()}, f"bridge br-a: controller was not set, set to {TARGET}"),
        ({"controllers": frozenset({"other"})}, f"bridge br-a: controller was one (not ours), set to {TARGET}"),
        ({"tables": {}}, "bridge br-a: names of its tables were changed, set again"),
        (
            {"other_config": {"datapath-id": "0b", "disable-in-band": "true"}},
            "bridge br-a: other_config:datapath-id was 0b, set to 000000000000000a",
        ),
        (
            {"other_config": {"datapath-id": "000000000000000A"}},
            "bridge br-a: other_config:disable-in-band was not set, set to true",
        ),
        (
            {"protocols": frozenset({"OpenFlow10"})},
            "bridge br-a: protocols was OpenFlow10, set to OpenFlow10,OpenFlow13,OpenFlow14",
        ),
    ],
)
def test_what_was_changed_on_a_bridge_is_set_right_and_said(columns: dict[str, object], sentence: str) -> None:
    rows = Rows()
    rows.settled_bridge()
    rows.found.bridges["bridge-br-a"] = replace(rows.found.bridges["bridge-br-a"], **columns)  # type: ignore[arg-type]
    made = plan(rows.found, host())
    assert made.changed == (sentence,)
    assert touched(made) == {"bridge-br-a"}


def test_controller_row_of_ours_is_changed_in_place() -> None:
    rows = Rows()
    rows.settled_bridge()
    rows.found.controllers["c"] = replace(rows.found.controllers["c"], target="tcp:198.51.100.1:6653")
    made = plan(rows.found, host())
    assert not inserted(made, "Controller")
    assert touched(made) == {"c", "bridge-br-a"}


def test_port_that_differs_is_changed_in_place_and_no_other() -> None:
    rows = Rows()
    rows.settled()
    rows.port("web", ours=True, tag=11, type="internal", mac="00:00:00:00:00:02", mtu_request=1450)
    made = plan(rows.found, host(TUNNEL, WEB))
    assert made.changed == ("port web: tag was 11, set to 10",)
    assert touched(made) == {"port-web"}
    assert not inserted(made, "Port")


def test_port_with_a_second_interface_is_made_again() -> None:
    rows = Rows()
    rows.settled()
    rows.found.ports["port-web"] = replace(rows.found.ports["port-web"], interfaces=frozenset({"if-web", "if-other"}))
    made = plan(rows.found, host(TUNNEL, WEB))
    assert made.changed == ("port web had not its one interface, made again",)
    assert [row["name"] for row in inserted(made, "Port")] == ["web"]


def test_port_of_ours_that_nobody_wants_goes_and_that_of_others_stays() -> None:
    rows = Rows()
    rows.settled()
    rows.found.bridges["bridge-br-a"] = replace(
        rows.found.bridges["bridge-br-a"], ports=frozenset({"port-br-a", "port-tp-b", "port-web", "port-vnet0"})
    )
    rows.port("vnet0", ours=False)
    made = plan(rows.found, host(TUNNEL))
    mutation = made.operations[0]["mutations"]
    assert mutation == [["ports", "delete", ["set", [("uuid", "port-web")]]]]
    assert len(made.operations) == 2


def test_port_that_somebody_else_put_where_it_is_wanted_is_taken_as_it_is() -> None:
    rows = Rows()
    rows.settled_bridge("web")
    rows.port("web", ours=False, tag=99, type="tap")
    assert plan(rows.found, host(WEB)) == Plan((), (), (), {})


@pytest.mark.parametrize("columns", [{"type": ""}, {"options": (("key", "flow"), ("remote_ip", "198.51.100.6"))}])
def test_port_of_others_in_a_tunnels_place_that_leads_elsewhere_is_a_problem(columns: dict[str, object]) -> None:
    rows = Rows()
    rows.bridge("br-a", ours=True, port_names=("tp-b",))
    right = {"type": "vxlan", "options": (("csum", "true"), ("key", "flow"), ("remote_ip", "192.0.2.2"))}
    rows.port("br-a", ours=True, type="internal")
    rows.port("tp-b", ours=False, **right)
    assert not plan(rows.found, host(TUNNEL)).problems
    rows.port("tp-b", ours=False, **{**right, **columns})
    made = plan(rows.found, host(TUNNEL))
    assert made.problems == {"a": ("port tp-b is there already, is not ours, and leads elsewhere",)}
    assert not inserted(made, "Port")


def test_port_of_others_on_another_bridge_is_a_problem_and_stays_there() -> None:
    rows = Rows()
    rows.settled_bridge()
    rows.bridge("br-b", ours=False, port_names=("web",))
    rows.port("web", ours=False)
    made = plan(rows.found, host(WEB))
    assert made.problems == {"a": ("port web is on bridge br-b already and is not ours to move",)}
    assert not made.operations


def test_port_of_ours_moves_to_the_bridge_where_it_is_wanted() -> None:
    rows = Rows()
    rows.settled_bridge("web")
    rows.port("web", ours=True, type="internal")
    rows.bridge("br-b", ours=False)
    made = plan(rows.found, host(WantedPort("web", "br-b", "/x", type="internal")))
    assert made.changed == ("port web: bridge was br-a, set to br-b",)
    assert touched(made) == {"bridge-br-a", "bridge-br-b"}


def test_port_on_a_bridge_that_is_not_there_is_a_problem_of_that_host_only() -> None:
    rows = Rows()
    rows.settled_bridge()
    made = plan(rows.found, host(WantedPort("patch0", "br-none", "/x", type="patch")))
    assert made.problems == {"a": ("port patch0 is wanted on bridge br-none, which is not there",)}


def test_interface_name_in_a_bond_of_others_is_a_problem() -> None:
    rows = Rows()
    rows.settled_bridge("bond0")
    rows.port("bond0", ours=False)
    rows.found.interfaces["if-bond0"] = replace(rows.found.interfaces["if-bond0"], name="eth1")
    made = plan(rows.found, host(WantedPort("eth1", "br-a", "/x")))
    assert made.problems == {"a": ("port eth1 cannot be made: port bond0 has an interface of that name",)}


def test_two_hosts_that_want_one_port_of_a_database_are_told() -> None:
    other = WantedHost("b", "unix:/a", "br-b", Dpid(0xB), TARGET, (replace(WEB, bridge="br-b"),))
    assert plan(Rows().found, host(WEB), other).problems == {"b": ("port web is wanted twice",)}


def test_bridge_of_the_user_keeps_all_but_what_makes_it_ours_to_control() -> None:
    rows = Rows()
    rows.found.tables["mine"] = FoundTable("mine", "limited", ours=False)
    rows.bridge(
        "br-a",
        ours=False,
        port_names=("eth1",),
        tables={0: "mine"},
        protocols=frozenset({"OpenFlow10", "OpenFlow15"}),
        other_config={"hwaddr": "02:00:00:00:00:01"},
    )
    rows.port("eth1", ours=False)
    made = plan(rows.found, host())
    assert touched(made) == {"bridge-br-a"}
    assert len(inserted(made, "Flow_Table")) == len(TABLES) - 1
    updates = [one["row"] for one in made.operations if one["op"] == "update"]
    assert {"fail_mode": "secure", "protocols": ["set", sorted({*PROTOCOLS, "OpenFlow15"})]} in updates
    keys = [one for one in made.operations if "other_config" in str(one.get("mutations"))]
    assert "hwaddr" not in str(keys)


def test_bridge_of_ours_goes_when_nobody_wants_it() -> None:
    made = plan(Rows().settled())
    assert made.operations[0]["op"] == "wait"
    assert ["bridges", "delete", ["set", [("uuid", "bridge-br-a")]]] in made.operations[-2]["mutations"]  # type: ignore[operator]


def test_bridge_of_ours_stays_while_others_have_a_port_on_it() -> None:
    rows = Rows()
    rows.settled_bridge("vnet0", "web")
    rows.port("vnet0", ours=False)
    rows.port("web", ours=True)
    made = plan(rows.found)
    changes = [one["mutations"] for one in made.operations]
    assert [["ports", "delete", ["set", [("uuid", "port-web")]]]] in changes
    assert [["controller", "delete", ["set", [("uuid", "c")]]]] in changes
    assert [["flow_tables", "delete", ["set", sorted(TABLES.values())]]] in changes
    assert touched(made) == {"bridge-br-a"}


def test_bridge_of_the_user_loses_only_our_marks_when_nobody_wants_it() -> None:
    rows = Rows()
    rows.settled_bridge(ours=False)
    made = plan(rows.found)
    assert {column for one in made.operations for column, *_ in one["mutations"]} == {  # type: ignore[attr-defined]
        "controller", "flow_tables", "next_cfg",
    }  # fmt: skip


def test_bridge_under_control_gets_names_and_no_in_band_but_nothing_else() -> None:
    rows = Rows()
    rows.bridge("br-x", ours=False, dpid=Dpid(7))
    assert not plan(rows.found, own=False).operations
    made = plan(rows.found, controlled=frozenset({Dpid(7)}), own=False)
    assert made.attended == ("bridge br-x: in-band control disabled", "bridge br-x: its tables were named")
    assert not made.changed
    assert {column for one in made.operations for column, *_ in one.get("mutations", ())} == {  # type: ignore[attr-defined]
        "other_config", "flow_tables", "next_cfg",
    }  # fmt: skip


def test_in_band_that_somebody_has_asked_for_stays() -> None:
    rows = Rows()
    rows.bridge("br-x", ours=False, dpid=Dpid(7), other_config={"disable-in-band": "false"})
    made = plan(rows.found, controlled=frozenset({Dpid(7)}), own=False)
    assert made.attended == ("bridge br-x: its tables were named",)


@pytest.mark.parametrize(
    ("target", "local_ip", "expected"),
    [
        ("ssl:192.0.2.9:6653", "192.0.2.1", "ssl:192.0.2.9:6653"),
        (None, "192.0.2.1", "tcp:192.0.2.1:6653"),
        (None, "2001:db8::1", "tcp:[2001:db8::1]:6653"),
        (None, None, "tcp:127.0.0.1:6653"),
    ],
)
def test_bridge_looks_for_its_controller_where_the_database_was_reached_from(
    target: str | None, local_ip: str | None, expected: str
) -> None:
    assert wanted_target(replace(host(), target=target), local_ip, 6653) == expected


def test_port_is_seen_with_its_labels_and_tunnel() -> None:
    rows = Rows()
    status = (("diagnostic", "Control Detection Time Expired"), ("state", "down"))
    rows.port(
        "tp-b", ours=True, type="geneve", options=(("remote_ip", "192.0.2.2"),), bfd=(("enable", "true"),),
        bfd_status=status, ofport=5, leaves_by="eth0", iface_id="x", attached_mac="02:00:00:00:00:09",
    )  # fmt: skip
    seen = see_port("br-a", rows.found.ports["port-tp-b"], rows.found.interfaces["if-tp-b"])
    assert (seen.ofport, seen.iface_id, seen.attached_mac, seen.ours) == (5, "x", Mac(0x020000000009), True)
    assert seen.tunnel is not None
    assert (seen.tunnel.peer_ip, seen.tunnel.up, seen.tunnel.leaves_by) == ("192.0.2.2", False, "eth0")
    assert seen.tunnel.diagnostic == "Control Detection Time Expired"


def test_port_without_a_number_and_with_a_label_that_is_no_address() -> None:
    rows = Rows()
    rows.port("p", ours=False, ofport=-1, error="no such device", attached_mac="somewhere")
    seen = see_port("br-a", rows.found.ports["port-p"], rows.found.interfaces["if-p"])
    assert (seen.ofport, seen.error, seen.attached_mac, seen.tunnel) == (None, "no such device", None, None)


def test_ports_that_have_not_changed_are_not_made_again() -> None:
    rows, ports = Rows(), PortsSeen()
    rows.settled()
    before = {port.name: port for port in ports.read(rows.found)}
    rows.port("web", ours=True, ofport=3)
    after = {port.name: port for port in ports.read(rows.found)}
    assert after["web"].ofport == 3
    assert after["tp-b"] is before["tp-b"]


def test_corrections_are_done_at_once_a_few_times_and_then_slowly() -> None:
    corrections, now = Corrections(), 1000.0
    for _ in range(AT_ONCE):
        assert corrections.wait_s(now) == 0
        corrections.note(now, ("x",))
    assert 0 < corrections.wait_s(now) <= EVERY_S
    assert corrections.wait_s(now + EVERY_S) == 0


def test_corrections_remember_the_newest_only() -> None:
    corrections = Corrections()
    corrections.note(0, tuple(f"port p{n} was gone" for n in range(1000)))
    assert corrections.sentences[-1] == f"and {1000 - TOLD_AT_ONCE} more at the same time"
    for n in range(KEPT):
        corrections.note(float(n), (str(n),))
    assert corrections.sentences == tuple(str(n) for n in range(KEPT))


TEXTS = ({"a": 'x"}{[\\'}, {"id": None, "result": [{"p": ["map", [["é", "\\\\"]]]}, {"q": {"r": {"s": [1]}}}]}, {})


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_texts_are_cut_wherever_the_pieces_begin(step: int, ascii_only: bool) -> None:
    data = " \n".join(json.dumps(text, ensure_ascii=ascii_only) for text in TEXTS).encode()
    cutter, found = TextCutter(1000), []
    for at in range(0, len(data), step):
        cutter.feed(data[at : at + step])
        while (text := cutter.cut()) is not None:
            found.append(decode_text(text))
    assert found == list(TEXTS)
    assert cutter.pending_bytes == 0


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n", b"[1]", b'{"a":' + b"[" * 100, b'{"a":"' + b"x" * 2000, b'{"a":"' + b'\\"' * 1000],
    ids=["http", "array", "deep", "long", "escapes"],
)
def test_cutter_refuses_what_is_no_object_or_has_no_end(data: bytes) -> None:
    cutter = TextCutter(1000)

    def feed_all() -> None:
        for at in range(0, len(data), 100):
            cutter.feed(data[at : at + 100])
            cutter.cut()

    with pytest.raises(BadText):
        feed_all()


@pytest.mark.parametrize("text", [b'{"a":1]', b'{"a":NaN}', b'{"a" 1}', b'{"\xff":1}', b'{"a":"\x01"}', b"{1:2}"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(BadText):
        decode_text(text)


def test_what_is_encoded_by_steps_is_the_same_json() -> None:
    value = {"method": "transact", "params": ["Open_vSwitch", {"a": [1, None, "é"]}, ("uuid", "x")], "id": 3}
    assert json.loads(encode_text(value)) == json.loads(json.dumps(value))
