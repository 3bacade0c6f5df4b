"""The command line against a real server: what it prints, and the exit codes that scripts rely on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from controller import cli, cli_text
from controller.api import Api
from controller.cli import Exit, main
from controller.control import PutObject, PutPolicy
from tests.unit.fake_control import BR0, DOCUMENT, EVENT, FakeControl, serving


@pytest.fixture
def control() -> FakeControl:
    control = FakeControl()
    control.change(PutPolicy(DOCUMENT))
    return control


@pytest.fixture
def server(control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(Api(control)) as port:
        monkeypatch.setenv("TRIPOINT_SERVER", f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump({**DOCUMENT, "networks": {**DOCUMENT["networks"], "blue": {"vlan": 30}}}))  # type: ignore[dict-item]
    return str(path)


Said = pytest.CaptureFixture[str]


@pytest.mark.usefixtures("server")
def test_apply_puts_the_policy_in_force(control: FakeControl, policy: str, capsys: Said) -> None:
    assert main(["policy", "apply", policy]) == Exit.OK
    out = capsys.readouterr().out
    assert out.startswith("stored as revision 2\n")
    assert "br0     00000000000000a1  yes           3        1" in out
    assert "blue" in control.current().policy.networks
    assert main(["policy", "apply", policy]) == Exit.OK
    assert capsys.readouterr().out.startswith("nothing to change: revision 2 says the same")


@pytest.mark.usefixtures("server")
def test_apply_that_is_not_in_force_everywhere_says_where_and_exits_1(
    control: FakeControl, policy: str, capsys: Said
) -> None:
    control.failing = {"br1": "table full"}
    assert main(["policy", "apply", policy]) == Exit.NO
    assert [line.split() for line in capsys.readouterr().out.splitlines()][-1] == [
        "br1", "00000000000000b2", "no", "3", "1", "table", "full",
    ]  # fmt: skip


@pytest.mark.usefixtures("server")
def test_apply_with_no_bridge_says_so(control: FakeControl, policy: str, capsys: Said) -> None:
    control.bridges = ()
    assert main(["policy", "apply", policy]) == Exit.OK
    assert "no bridge is connected" in capsys.readouterr().out


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("suffix", "write"), [
    (".json", lambda: json.dumps(DOCUMENT).encode()),
    (".yml", lambda: yaml.safe_dump(DOCUMENT).encode()),
    (".msgpack", lambda: __import__("msgpack").packb(DOCUMENT)),
])  # fmt: skip
def test_files_of_every_kind(tmp_path: Path, suffix: str, write: object, capsys: Said) -> None:
    path = tmp_path / f"p{suffix}"
    path.write_bytes(write())  # type: ignore[operator]
    assert main(["policy", "apply", str(path), "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["changed"] is False


@pytest.mark.usefixtures("server")
def test_plan_shows_and_changes_nothing(control: FakeControl, policy: str, capsys: Said) -> None:
    assert main(["policy", "plan", policy]) == Exit.OK
    out = capsys.readouterr().out
    assert "br0 (00000000000000a1): +2 -0 flows" in out
    assert "pairs that become reachable: 1" in out
    assert "nas - web1 in green" in out
    assert "actions=drop" not in out
    assert main(["policy", "plan", policy, "--exit-code"]) == Exit.NO
    assert main(["policy", "plan", policy, "--flows"]) == Exit.OK
    assert "  + table=0,priority=1 actions=drop" in capsys.readouterr().out
    assert control.current().revision == 1
    main(["policy", "apply", policy])
    assert main(["policy", "plan", policy, "--exit-code"]) == Exit.OK
    assert "no difference" in capsys.readouterr().out


ODD: dict[str, object] = {**DOCUMENT, "rules": [{"name": "a", "action": "drop"}, {"name": "b", "action": "allow"}]}
SHADOWED = "warning: /rules/1: rule 'b' can never match: rule 'a' (drop) is about all of the same"


@pytest.mark.usefixtures("server")
def test_plan_and_apply_show_warnings(tmp_path: Path, capsys: Said) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(ODD))
    for verb in ("plan", "apply"):
        assert main(["policy", verb, str(path)]) == Exit.OK
        assert SHADOWED in capsys.readouterr().out


def test_check_reads_a_file_without_a_controller(tmp_path: Path, capsys: Said) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(ODD))
    nowhere = ["--server", "http://127.0.0.1:1"]
    assert main(["policy", "check", str(path), *nowhere]) == Exit.OK
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(SHADOWED)
    assert out[-1] == "it is a policy"
    assert main(["policy", "check", str(path), "--json"]) == Exit.OK
    answer = json.loads(capsys.readouterr().out)
    assert (answer["problems"], answer["warnings"][0]["path"]) == ([], "/rules/1")


def test_check_says_all_that_is_wrong_and_exits_2(tmp_path: Path, capsys: Said) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("apiVersion: tripoint/v1\nnetworks: {green: {vlan: 0}}\nrules: [{name: a, action: drop, to: x}]\n")
    assert main(["policy", "check", str(path)]) == Exit.USAGE
    error = capsys.readouterr().err
    assert error.startswith("tripoint: no policy: there are 2 problems\n  /networks/green/vlan: 0 is not")
    assert "/rules/0/to: nothing is called 'x'" in error
    assert main(["policy", "check", str(path), "--json"]) == Exit.USAGE
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 2
    path.write_text("apiVersion: [")
    assert main(["policy", "check", str(path)]) == Exit.USAGE
    assert "there is 1 problem" in capsys.readouterr().err


@pytest.mark.usefixtures("server")
def test_if_match_that_does_not_hold_exits_4(control: FakeControl, policy: str, capsys: Said) -> None:
    for verb in ("plan", "apply"):
        assert main(["policy", verb, policy, "--if-match", "7"]) == Exit.CONFLICT
        assert "revision 1" in capsys.readouterr().err
    assert main(["policy", "apply", policy, "--if-match", "1"]) == Exit.OK
    assert control.current().revision == 2


@pytest.mark.usefixtures("server")
def test_a_bad_document_exits_2_with_a_line_for_each_problem(tmp_path: Path, capsys: Said) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("apiVersion: tripoint/v1\nnetworks:\n  green: {vlan: 9999}\n  pink: {vlam: 20}\n")
    assert main(["policy", "apply", str(path)]) == Exit.USAGE
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("tripoint: nothing was changed: there are")
    assert any(line.startswith("  /networks/green/vlan: ") for line in lines)
    assert any("(did you mean 'vlan'?)" in line for line in lines)
    assert main(["policy", "apply", str(path), "--json"]) == Exit.USAGE
    assert json.loads(capsys.readouterr().out)["status"] == 422
    path.write_text("a: [")
    assert main(["policy", "apply", str(path)]) == Exit.USAGE


@pytest.mark.usefixtures("server")
def test_show_prints_what_can_be_applied_again(control: FakeControl, tmp_path: Path, capsys: Said) -> None:
    assert main(["policy", "show"]) == Exit.OK
    assert yaml.safe_load(capsys.readouterr().out) == DOCUMENT
    assert main(["policy", "show", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == DOCUMENT
    control.change(PutObject("networks", "blue", {"vlan": 30}))
    assert main(["policy", "show", "--revision", "1"]) == Exit.OK
    assert "blue" not in capsys.readouterr().out
    assert main(["policy", "show", "--revision", "9"]) == Exit.USAGE
    assert main(["policy", "revisions"]) == Exit.OK
    assert capsys.readouterr().out.splitlines()[1:] == [f"{n:>8}  2024-01-01T00:00:0{n}.000Z" for n in (1, 2)]


@pytest.mark.usefixtures("server")
def test_status_exits_1_while_something_is_not_in_force(control: FakeControl, capsys: Said) -> None:
    assert main(["status"]) == Exit.OK
    out = capsys.readouterr().out
    assert out.startswith("revision 1, in force on 2 of 2 connected bridges\n")
    assert "refused: 192.0.2.9:4711: a datapath of this id is connected" in out
    control.failing = {"br1": "no answer"}
    assert main(["status"]) == Exit.NO
    assert "br1: error: no answer" in capsys.readouterr().out
    control.bridges = ()
    assert main(["status"]) == Exit.NO
    assert "ovs-vsctl set-controller" in capsys.readouterr().out


@pytest.mark.usefixtures("server")
def test_matrix_is_a_grid_and_lines_when_there_are_many(control: FakeControl, capsys: Said) -> None:
    assert main(["matrix"]) == Exit.OK
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["FROM", "/", "TO", "web1", "web2", "nas"],
        ["web1", ".", "-", "green"],
        ["web2", "-", ".", "pink"],
        ["nas", "green", "pink", "."],
        [],
        ["not", "connected", "now:", "web2"],
    ]
    assert main(["matrix", "web1,nas"]) == Exit.OK
    assert "web2" not in capsys.readouterr().out
    assert main(["matrix", "web7"]) == Exit.USAGE
    for number in range(20):
        value = {"network": "green", "port": f"q{number}", "mac": f"02:00:00:00:01:{number:02x}"}
        control.change(PutObject("endpoints", f"m{number}", value))
    assert main(["matrix"]) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert "web2  nas (pink)" in lines
    assert len(lines) == 1 + 23 + 2


@pytest.mark.usefixtures("server")
def test_hosts_say_what_is_wrong(control: FakeControl, capsys: Said) -> None:
    assert main(["hosts"]) == Exit.OK
    said = capsys.readouterr().out
    assert "host boxA: no database since 2024-01-01T00:00:00.000+00:00: tcp:192.0.2.4:6640: refused" in said
    assert "host boxA: the tunnel to boxB is down: Neighbor Signaled Session Down" in said
    assert "members' MTU: green 1450" in said
    assert main(["status"]) == Exit.OK
    assert "host boxA: no database since" in capsys.readouterr().out


@pytest.mark.usefixtures("server")
def test_bindings_and_flows(control: FakeControl, capsys: Said) -> None:
    assert main(["bindings"]) == Exit.OK
    assert [line.split() for line in capsys.readouterr().out.splitlines()][1:3] == [
        ["web1", "port-web1", "bound", "br0", "00000000000000a1", "7"],
        ["web2", "port-web2", "absent", "-", "-", "-"],
    ]
    words = ["--bridge", "br1", "--origin", "/endpoints", "--stage", "classify", "--limit", "1"]
    assert main(["flows", *words]) == Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        "# br1 classify /endpoints/web1: flow 0 lets web1 in",
        "table=0,priority=100,in_port=0 actions=drop",
        "# there are more; ask with --offset",
    ]
    assert control.looked == [("00000000000000b2", "/endpoints", "classify")]
    assert main(["flows", "--bridge", "br9"]) == Exit.USAGE


def test_nobody_there_exits_3(capsys: Said) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert main(["status", "--server", f"http://127.0.0.1:{port}"]) == Exit.UNREACHABLE
    assert f"http://127.0.0.1:{port} cannot be reached" in capsys.readouterr().err
    assert main(["status", "--server", "http://no.such.host.invalid:1"]) == Exit.UNREACHABLE


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"",
])  # fmt: skip
def test_somebody_else_at_the_address_exits_3(answer: bytes, capsys: Said) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def serve() -> None:
            connection, _ = stranger.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert main(["status", "--server", f"http://127.0.0.1:{stranger.getsockname()[1]}"]) == Exit.UNREACHABLE
        thread.join()
    assert capsys.readouterr().err.startswith("tripoint: ")


def test_silence_exits_3_when_the_time_is_over(capsys: Said) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert main(["--timeout", "0.2", "status", "--server", server]) == Exit.UNREACHABLE
    assert "does not answer within 0.2 s" in capsys.readouterr().err


@pytest.mark.parametrize("server", [
    "", "127.0.0.1:8080", "ftp://x", "http://", "http://x:99999", "http://x y", "http://[::1", "http://x/?a",
])  # fmt: skip
def test_an_address_that_is_none_exits_2(server: str, capsys: Said) -> None:
    assert main(["status", "--server", server]) == Exit.USAGE
    assert "not the address of a controller" in capsys.readouterr().err


def test_server_failures_exit_3(control: FakeControl, server: str, capsys: Said) -> None:
    control.raising = RuntimeError("x")
    assert main(["status", "--server", server]) == Exit.UNREACHABLE
    assert "its log says why" in capsys.readouterr().err


@pytest.mark.parametrize("words", [
    [], ["policy"], ["nonsense"], ["status", "extra"],
    ["policy", "apply", "x", "--if-match", "abc"], ["policy", "apply", "x", "--if-match", "-1"],
    ["status", "--timeout", "0"], ["status", "--timeout", "nan"], ["lab"], ["lab", "up"], ["docs"],
    ["docs", "pipeline", "--check", "--write"],
])  # fmt: skip
def test_wrong_usage_exits_2(words: list[str], capsys: Said) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == Exit.USAGE
    assert "usage: tripoint" in capsys.readouterr().err


def test_a_file_that_is_not_there_exits_2(tmp_path: Path, capsys: Said) -> None:
    assert main(["policy", "apply", str(tmp_path / "none.yaml")]) == Exit.USAGE
    assert main(["policy", "apply", str(tmp_path)]) == Exit.USAGE
    assert "No such file" in capsys.readouterr().err


LEAVES = [
    ["policy", "check"], ["policy", "plan"], ["policy", "apply"], ["policy", "show"], ["policy", "revisions"],
    ["status"], ["hosts"], ["bindings"], ["matrix"], ["flows"],
]  # fmt: skip


@pytest.mark.parametrize("words", [[], ["lab"], *LEAVES])
def test_help_teaches_with_examples_and_exit_codes(words: list[str], capsys: Said) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "examples:\n" in out
    assert "exit codes:\n" in out
    assert f"tripoint {' '.join(words)}".strip() in out.partition("examples:\n")[2]


@pytest.mark.usefixtures("server")
def test_examples_of_the_help_are_commands_that_exist(capsys: Said) -> None:
    for words in LEAVES:
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        examples = capsys.readouterr().out.partition("examples:\n")[2].partition("\n\n")[0]
        for line in examples.splitlines():
            command = line.partition("tripoint ")[2].partition("    ")[0]
            for mark in (" >", ";", " ||", " &&"):
                command = command.partition(mark)[0]
            cli._parser().parse_args(command.split())


def test_options_hold_before_and_after_the_command(control: FakeControl, server: str, capsys: Said) -> None:
    for words in (["--json", "--server", server, "status"], ["status", "--json", "--server", server]):
        assert main(words) == Exit.OK
        assert json.loads(capsys.readouterr().out)["revision"] == 1


def test_what_a_switch_says_cannot_drive_the_terminal(control: FakeControl, server: str, capsys: Said) -> None:
    control.bridges = (replace(BR0, name="br\x1b[2J\u202eevil", warnings=("a\nb\x07",)),)
    assert main(["status", "--server", server]) == Exit.OK
    out = capsys.readouterr().out
    assert not any(character in out for character in "\x1b\x07\u202e")
    assert "br [2J evil: warning: a b" in out


def run(words: list[str], **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "controller.cli", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload]


def test_the_reader_of_a_pipe_may_go_away(control: FakeControl, server: str) -> None:
    control.flow_count = 20_000
    process = run(["flows", "--server", server])
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == Exit.BROKEN_PIPE
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_policy_comes_from_a_pipe(control: FakeControl, server: str, policy: str) -> None:
    with Path(policy).open() as text:
        process = run(["policy", "apply", "--server", server], stdin=text)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (Exit.OK, b"")
    assert out.startswith(b"stored as revision 2")


def test_ctrl_c_ends_quietly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = run(["status", "--server", f"http://127.0.0.1:{silent.getsockname()[1]}"])
        connection, _ = silent.accept()
        connection.recv(100)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        connection.close()
    assert (process.returncode, out, err) == (Exit.INTERRUPTED, b"", b"")


def test_output_that_the_terminal_cannot_show_is_escaped(control: FakeControl, server: str) -> None:
    control.bridges = (replace(BR0, name="brücke"),)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    process = run(["status", "--server", server], env=environment)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (Exit.OK, b"")
    assert rb"br\xfccke" in out


def test_lab_is_handed_to_the_lab_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    from topologies import command

    called: list[tuple[object, ...]] = []

    def note(name: str, code: int):
        def function(*args: object, **kwargs: object) -> int:
            called.append((name, *args[:1], kwargs.get("controller"), kwargs.get("openflow"), kwargs.get("once")))
            return code

        return function

    for name, code in (("up", 0), ("test", 4), ("run", 1), ("down", 0), ("list_labs", 0)):
        monkeypatch.setattr(command, name, note(name, code))
    assert main(["lab", "up", "x.yaml", "--controller", "http://h:1", "--openflow", "6653"]) == 0
    assert main(["lab", "test", "x"]) == 4
    assert main(["lab", "run", "x.yaml", "--once"]) == 1
    assert main(["lab", "down", "x"]) == 0
    assert main(["lab", "list"]) == 0
    assert called == [
        ("up", "x.yaml", "http://h:1", "6653", None),
        ("test", "x", "own", None, None),
        ("run", "x.yaml", "own", None, True),
        ("down", "x", None, None, None),
        ("list_labs", sys.stdout, None, None, None),
    ]


def test_lab_list_runs(capsys: Said) -> None:
    assert main(["lab", "list"]) == 0
    assert capsys.readouterr().out.startswith("id")
    assert main(["lab", "up", "/no/such/file.yaml"]) == Exit.USAGE


def test_the_page_of_the_pipeline_is_printed_checked_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    rendered = types.ModuleType("controller.pipeline.render")
    rendered.render_pipeline = lambda: "# Tables\n"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "controller.pipeline.render", rendered)
    monkeypatch.setattr("controller.__file__", str(tmp_path / "controller" / "__init__.py"))
    assert main(["docs", "pipeline"]) == Exit.OK
    assert capsys.readouterr().out == "# Tables\n"
    assert main(["docs", "pipeline", "--write"]) == Exit.USAGE  # there is no docs directory
    (tmp_path / "docs").mkdir()
    assert main(["docs", "pipeline", "--check"]) == Exit.NO
    assert main(["docs", "pipeline", "--write"]) == Exit.OK
    assert main(["docs", "pipeline", "--check"]) == Exit.OK
    (tmp_path / "docs" / "PIPELINE.md").write_text("# Tables of old\n")
    assert main(["docs", "pipeline", "--check"]) == Exit.NO


def test_tables_are_aligned() -> None:
    assert list(cli_text.table(("A", "NUMBER"), [("long one", 5), ("x", 1234)])) == [
        "A         NUMBER",
        "long one       5",
        "x           1234",
    ]
    assert list(cli_text.table(("A", "B"), [])) == ["A  B"]


@pytest.mark.usefixtures("server")
def test_rules_are_a_table_with_who_does_not_answer(control: FakeControl, capsys: Said) -> None:
    assert main(["rules"]) == Exit.OK
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:3] == [
        ["1", "emergency", "no-telnet", "drop", "3", "180"], ["2", "default", "web-in", "allow", "1200", "90000"],
    ]  # fmt: skip
    assert lines[-1][-1] == "br1"
    control.rule_views = ()
    assert main(["rules"]) == Exit.OK
    assert capsys.readouterr().out == "the policy has no rules\n"


@pytest.mark.usefixtures("server")
def test_the_log_is_a_line_an_event(control: FakeControl, capsys: Said) -> None:
    control.events.append(replace(EVENT, protocol="icmp", icmp="8/0", source_port=None, target_port=None, suppressed=0))
    assert main(["log"]) == Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        "2024-01-01T00:00:00.000+00:00 br0 no-telnet drop: tcp web1 in green (192.168.5.1 port 40000)"
        " > outside (203.0.113.9 port 23) (2 more were not written)",
        "2024-01-01T00:00:00.000+00:00 br0 no-telnet drop: icmp 8/0 web1 in green (192.168.5.1)"
        " > outside (203.0.113.9)",
    ]  # fmt: skip
    assert main(["log", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out.splitlines()[0])["rule"] == "no-telnet"


def test_the_log_can_be_followed_until_it_is_interrupted(control: FakeControl, server: str) -> None:
    command = [sys.executable, "-m", "controller.cli", "--server", server, "log", "--follow"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "no-telnet" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == Exit.INTERRUPTED
    process.stdout.close()
    assert control.readers[0].follow


def test_a_log_that_cannot_be_followed_says_why(control: FakeControl, server: str, capsys: Said) -> None:
    control.full = True
    assert main(["--server", server, "log", "--follow"]) == Exit.UNREACHABLE
    assert "64 readers" in capsys.readouterr().err
