"""The REST API behind the server that carries it: chunks, large bodies, clients that break off; and docs/REST.md."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.api import Api
from controller.cli import EXIT_CODES
from controller.control import PutPolicy
from controller.web.routes import ROUTES
from tests.unit.fake_control import DOCUMENT, FakeControl, serving

REST_MD = Path(__file__).parents[2] / "docs" / "REST.md"


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
def port(control: FakeControl) -> Iterator[int]:
    with serving(Api(control, limit_bytes=1 << 20)) as port:
        yield port


def raw(port: int, request: bytes) -> bytes:
    """Everything the server says until it hangs up or has answered once and is silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        said = b""
        while block := connection.recv(65536):
            said += block
    return said


def test_a_chunked_body_arrives_whole(control: FakeControl, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    text = json.dumps(DOCUMENT).encode()
    blocks = (text[at : at + 7] for at in range(0, len(text), 7))
    connection.request("PUT", "/v1/policy", blocks, {"Content-Type": "application/json"}, encode_chunked=True)
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["revision"]) == (200, 1)
    assert control.current().document == DOCUMENT
    connection.request("GET", "/v1/policy")  # on the same connection: nothing of the body was left over
    assert json.loads(connection.getresponse().read()) == DOCUMENT
    connection.close()


def test_a_chunked_body_that_breaks_off_changes_nothing(control: FakeControl, port: int) -> None:
    head = b"PUT /v1/policy HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: text/yaml\r\n"
    head += b"\r\n"
    whole = b"apiVersion: tripoint/v1\n"
    for rest in (b"18\r\n" + whole + b"\r\n", b"18\r\n" + whole, b"18\r\n" + whole + b"\r\nzz\r\n", b"fff\r\n" + whole):
        assert raw(port, head + rest).startswith(b"HTTP/1.1 400")
    assert control.current().revision == 0
    assert raw(port, head + b"18\r\n" + whole + b"\r\n0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_body_shorter_than_announced_changes_nothing(control: FakeControl, port: int) -> None:
    text = json.dumps(DOCUMENT).encode()
    head = b"PUT /v1/policy HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    assert raw(port, head % (len(text) + 1) + text).startswith(b"HTTP/1.1 400")
    assert control.current().revision == 0


def test_expect_100_continue_is_answered_before_the_body(control: FakeControl, port: int) -> None:
    text = json.dumps(DOCUMENT).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = b"PUT /v1/policy HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % len(text))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(text)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        # What is refused by its headers is refused without waiting for the body.
        connection.sendall(head.replace(b"policy", b"policy?plan=what") % len(text))
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")


def test_a_body_too_large_is_answered_while_it_is_sent(control: FakeControl, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("PUT", "/v1/policy", b"#" * (2 << 20))
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Type"]) == (413, "application/problem+json")
    response.read()
    connection.request("PUT", "/v1/policy", (b"#" * 65536 for _ in range(32)), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert control.current().revision == 0


def test_flows_are_streamed(control: FakeControl, port: int) -> None:
    control.flow_count = 20_000
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/v1/flows")
    response = connection.getresponse()
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert len(json.loads(response.read())["flows"]) == 40_000
    connection.request("HEAD", "/v1/flows")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"")
    connection.request("GET", "/v1/status")
    assert connection.getresponse().status == 200
    connection.close()


def test_a_failure_shows_no_traceback_to_the_client(control: FakeControl, port: int) -> None:
    control.raising = RuntimeError("inner state")
    answer = raw(port, b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"inner state" not in answer
    assert b"Traceback" not in answer


def test_a_cut_request_line_or_strange_path_does_not_stop_the_server(port: int) -> None:
    for line in (b"", b"GET", b"\0\0\0\0", b"GET /v1/%ff%00%0d HTTP/1.1", b"OPTIONS * HTTP/1.1"):
        raw(port, line + b"\r\n\r\n" if line else b"")
    assert raw(port, b"GET /v1 HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_line_of_the_log_goes_out_when_it_is_there_and_a_reader_that_leaves_is_noticed(
    control: FakeControl, port: int
) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /v1/log?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while b'"no-telnet"' not in received:
            received += connection.recv(4096)
    end = time.monotonic() + 10
    while not control.readers[0].closed:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert raw(port, b"GET /v1 HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


# docs/REST.md


def examples() -> list[tuple[str, int]]:
    """Every curl command of the page with the status that it promises."""
    blocks = re.findall(r"^```sh\n(.*?)^```", REST_MD.read_text(), re.MULTILINE | re.DOTALL)
    found = [re.fullmatch(r"(curl .*?)\s+# (\d{3})", line) for block in blocks for line in block.splitlines()]
    assert all(found), "an example promises no status"
    return [(match[1], int(match[2])) for match in found if match]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_examples_of_the_page_do_what_it_says(control: FakeControl, port: int, tmp_path: Path) -> None:
    policy = re.search(r"^```yaml\n(.*?)^```", REST_MD.read_text(), re.MULTILINE | re.DOTALL)
    assert policy is not None
    (tmp_path / "policy.yaml").write_text(policy[1])
    commands = examples()
    assert len(commands) > 25
    for command, status in commands:
        words = shlex.split(command.replace("http://127.0.0.1:8080", f"http://127.0.0.1:{port}"))
        more = ["--silent", "--noproxy", "*", "--max-time", "20", "--write-out", "\n%{http_code}"]
        done = subprocess.run([*words, *more], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert int(done.stdout.rpartition("\n")[2]) == status, (command, done.stdout)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_from_a_pipe_works(control: FakeControl, port: int) -> None:
    command = ["curl", "-sS", "--noproxy", "*", "-T", "-", f"http://127.0.0.1:{port}/v1/policy"]
    done = subprocess.run(command, input=json.dumps(DOCUMENT), capture_output=True, text=True, check=True, timeout=20)
    assert json.loads(done.stdout)["revision"] == 1


def test_the_page_describes_every_route_and_parameter() -> None:
    page = REST_MD.read_text()
    words = [word for command, _ in examples() for word in shlex.split(command)]
    paths = {word.partition(":8080")[2].partition("?")[0] for word in words if ":8080" in word}
    for route in ROUTES:
        assert f"`{route.path}`" in page
        if route.path != "/":
            assert any(route.name_in(path) is not None for path in paths), f"no example of {route.path}"
        for parameters in route.methods.values():
            for parameter in parameters:
                assert f"`{parameter}`" in page or f"{parameter}=" in page


def test_the_page_names_every_member_of_every_answer(control: FakeControl, port: int) -> None:
    control.change(PutPolicy(DOCUMENT))
    page = REST_MD.read_text()
    named = set(re.findall(r"`([a-z_]+)`", page)) | set(re.findall(r'"([a-z_]+)":', page))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for path in ("/v1/status", "/v1/bindings", "/v1/flows", "/v1/matrix", "/v1/rules", "/v1/log"):
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read())
        members = set(answer)
        for value in answer.values():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                members |= set(value[0])
        assert members <= named, members - named
    connection.close()


def test_the_page_and_the_help_tell_the_same_exit_codes() -> None:
    page = REST_MD.read_text().partition("## Exit codes")[2]
    for code, words in re.findall(r"^  (\d)  (.*)$", EXIT_CODES, re.MULTILINE):
        assert re.search(rf"^\| {code} \| {re.escape(words.split(':')[0][:20])}", page, re.MULTILINE), (code, words)
