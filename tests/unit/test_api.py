"""The REST API at its WSGI boundary, in front of a Control that has no switches."""

from __future__ import annotations

import io
import json
import logging
from http import HTTPStatus

import msgpack
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from webob import Request, Response

from controller.api import Api
from controller.control import DeleteObject, PutObject, PutPolicy
from controller.errors import CompileError, StoreError
from controller.web.body import LIMIT_BYTES
from controller.web.problem import PROBLEMS_LISTED
from controller.web.reading import MATRIX_MAX
from controller.web.routes import ROUTES
from tests.unit.fake_control import DOCUMENT, FakeControl


@pytest.fixture
def control() -> FakeControl:
    control = FakeControl()
    control.change(PutPolicy(DOCUMENT))
    return control


def ask(control: FakeControl, method: str, path: str, body: object = None, **headers: str) -> Response:
    """One request; a body that is not bytes goes as JSON. Header names with _ for -."""
    request = Request.blank(path, method=method)
    if body is not None:
        request.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        request.content_type = "application/json"
    for name, value in headers.items():
        request.headers[name.replace("_", "-")] = value
    response = request.get_response(Api(control))
    if response.status_code >= 400 and method != "HEAD":
        assert_problem(response)
    return response


def assert_problem(response: Response) -> dict:
    """RFC 9457, with every member that docs/REST.md promises."""
    assert response.content_type == "application/problem+json"
    problem = json.loads(response.body)
    assert problem["status"] == response.status_code
    assert {"type", "title", "detail", "problems"} <= problem.keys()
    assert all(set(item) == {"path", "message", "hint"} for item in problem["problems"])
    assert "Traceback" not in response.text
    return problem


# Documents


def test_policy_is_put_and_read_back_as_it_was_written(control: FakeControl) -> None:
    fresh = FakeControl()
    answer = ask(fresh, "PUT", "/v1/policy", DOCUMENT)
    assert answer.status_code == 200
    assert answer.headers["ETag"] == '"1"'
    assert answer.json["changed"] is True
    assert answer.json["in_force"] is True
    assert [bridge["name"] for bridge in answer.json["bridges"]] == ["br0", "br1"]
    again = ask(fresh, "GET", "/v1/policy")
    assert again.json == DOCUMENT
    assert again.headers["ETag"] == '"1"'
    assert ask(fresh, "PUT", "/v1/policy", DOCUMENT).json["changed"] is False


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/json", json.dumps(DOCUMENT).encode()),
        ("application/json; charset=utf-8", json.dumps(DOCUMENT).encode()),
        ("application/yaml", yaml.safe_dump(DOCUMENT).encode()),
        ("application/x-yaml", yaml.safe_dump(DOCUMENT).encode()),
        ("text/yaml", yaml.safe_dump(DOCUMENT).encode()),
        ("application/x-www-form-urlencoded", yaml.safe_dump(DOCUMENT).encode()),
        ("application/x-www-form-urlencoded", json.dumps(DOCUMENT).encode()),
        ("text/plain", yaml.safe_dump(DOCUMENT).encode()),
        ("", yaml.safe_dump(DOCUMENT).encode()),
        ("application/msgpack", msgpack.packb(DOCUMENT)),
        ("application/x-msgpack", msgpack.packb(DOCUMENT)),
    ],
)
def test_a_body_may_come_in_each_of_three_ways(media_type: str, body: bytes) -> None:
    control = FakeControl()
    assert ask(control, "PUT", "/v1/policy", body, Content_Type=media_type).status_code == 200
    assert control.current().document == DOCUMENT


@pytest.mark.parametrize("path", ["/v1/policy", "/v1/networks", "/v1/networks/green"])
@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*;q=0.5", "application/json"),
        ("application/msgpack", "application/msgpack"),
        ("application/x-msgpack", "application/msgpack"),
        ("application/yaml", "application/yaml"),
        ("text/html, application/yaml;q=0.9, application/json;q=0.5", "application/yaml"),
    ],
)
def test_a_document_goes_out_as_accept_says(control: FakeControl, path: str, accept: str, content_type: str) -> None:
    answer = ask(control, "GET", path, **({"Accept": accept} if accept else {}))
    assert (answer.status_code, answer.content_type) == (200, content_type)
    assert answer.headers["Vary"] == "Accept"
    readers = {"json": json.loads, "msgpack": msgpack.unpackb, "yaml": yaml.safe_load}
    expected = {"/v1/policy": DOCUMENT, "/v1/networks": DOCUMENT["networks"], "/v1/networks/green": {"vlan": 10}}
    assert readers[content_type.removeprefix("application/")](answer.body) == expected[path]


@pytest.mark.parametrize("path", [f"/v1/{name}" for name in ("policy", "status", "flows", "matrix", "bindings")])
def test_what_cannot_be_served_as_asked_is_406(control: FakeControl, path: str) -> None:
    assert ask(control, "GET", path, Accept="text/html").status_code == 406
    if path != "/v1/policy":
        assert ask(control, "GET", path, Accept="application/yaml").status_code == 406
        assert msgpack.unpackb(ask(control, "GET", path, Accept="application/msgpack").body)


def test_a_change_whose_answer_could_not_be_served_is_not_made(control: FakeControl) -> None:
    assert ask(control, "PUT", "/v1/networks/blue", {"vlan": 30}, Accept="text/html").status_code == 406
    assert ask(control, "DELETE", "/v1/endpoints/web1", Accept="text/html").status_code == 406
    assert control.current().revision == 1


def test_text_that_is_no_utf_8_can_still_be_told() -> None:
    problem = ask(FakeControl(), "PUT", "/v1/policy", b'{"apiVersion": "tripoint/v1", "\\ud800": 1}')
    assert problem.status_code in (400, 422)


# Refusals


def test_all_problems_come_at_once_each_with_path_message_and_hint(control: FakeControl) -> None:
    bad = {"apiVersion": "tripoint/v1", "networks": {"green": {"vlan": 9999}, "pink": {"vlam": 20}}}
    answer = ask(control, "PUT", "/v1/policy", bad)
    assert answer.status_code == 422
    problems = assert_problem(answer)["problems"]
    assert len(problems) >= 2
    assert {problem["path"].split("/")[2] for problem in problems} >= {"green", "pink"}
    assert any("vlan" in problem["hint"] for problem in problems)
    assert control.current().revision == 1


@pytest.mark.parametrize("body", [b"{", b'{"a": 1,}', b"\xff\xfe", b"[1, 2]", b"3"])
def test_a_body_that_cannot_be_read_is_400(control: FakeControl, body: bytes) -> None:
    answer = ask(control, "PUT", "/v1/policy", body)
    assert answer.status_code == 400
    assert assert_problem(answer)["problems"]


@pytest.mark.parametrize("headers", [
    {"Content_Type": "text/html"},
    {"Content_Type": "application/json; charset=latin-1"},
    {"Content_Type": "multipart/form-data; boundary=x"},
    {"Content_Type": "application/json", "Content_Encoding": "gzip"},
])  # fmt: skip
def test_a_body_of_another_kind_is_415_and_says_what_is_taken(control: FakeControl, headers: dict[str, str]) -> None:
    answer = ask(control, "PUT", "/v1/policy", b"{}", **headers)
    assert answer.status_code == 415
    assert "application/yaml" in answer.headers["Accept"]


def test_a_missing_body_is_400(control: FakeControl) -> None:
    assert ask(control, "PUT", "/v1/policy").status_code == 400
    answer = ask(control, "PUT", "/v1/policy", b"")
    assert answer.status_code == 400
    assert "the document is empty" in answer.json["detail"]
    assert "curl" not in answer.text, "not everybody who sends one uses curl"


def test_a_body_beyond_the_limit_is_413_before_and_while_it_is_read(control: FakeControl) -> None:
    api = Api(control, limit_bytes=1000)
    announced = Request.blank("/v1/policy", method="PUT", body=b"a" * 1001)
    assert announced.get_response(api).status_code == 413
    chunked = Request.blank("/v1/policy", method="PUT", headers={"Transfer-Encoding": "chunked"})
    chunked.environ["wsgi.input"] = io.BytesIO(b"a" * 1001)
    assert chunked.get_response(api).status_code == 413
    huge = Request.blank("/v1/policy", method="PUT")
    huge.environ["CONTENT_LENGTH"] = "9" * 5000
    assert huge.get_response(api).status_code == 413


def test_the_limit_of_a_body_is_that_of_the_page(control: FakeControl) -> None:
    request = Request.blank("/v1/policy", method="PUT")
    request.environ["CONTENT_LENGTH"] = str((8 << 20) + 1)
    assert request.get_response(Api(control)).status_code == 413
    assert LIMIT_BYTES == 8 << 20


def test_a_body_that_ends_early_changes_nothing(control: FakeControl) -> None:
    request = Request.blank("/v1/policy", method="PUT", content_type="application/yaml")
    request.environ["CONTENT_LENGTH"] = "1000"
    request.environ["wsgi.input"] = io.BytesIO(b"apiVersion: tripoint/v1\n")
    response = request.get_response(Api(control))
    assert (response.status_code, control.current().revision) == (400, 1)
    assert "24 of 1000" in response.text


@pytest.mark.parametrize("raised", [OSError("unexpected end"), ValueError("bad chunk"), TimeoutError()])
def test_a_stream_that_breaks_changes_nothing(control: FakeControl, raised: Exception) -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise raised

    request = Request.blank("/v1/policy", method="PUT", headers={"Transfer-Encoding": "chunked"})
    request.environ["wsgi.input"] = Broken()
    response = request.get_response(Api(control))
    assert response.status_code == (408 if isinstance(raised, TimeoutError) else 400)
    assert control.current().revision == 1


@pytest.mark.parametrize(("path", "near"), [
    ("/v1/polici", "/v1/policy"),
    ("/v1/network/green", "/v1/networks"),
    ("/v1/policy/", "/v1/policy"),
    ("/v2/status", "/v1/status"),
    ("/x" * 3000, "GET /v1"),
])  # fmt: skip
def test_an_unknown_path_names_the_nearest(control: FakeControl, path: str, near: str) -> None:
    answer = ask(control, "GET", path)
    assert answer.status_code == 404
    assert near in answer.json["detail"]


def test_an_unknown_name_names_the_nearest(control: FakeControl) -> None:
    for method in ("GET", "DELETE"):
        answer = ask(control, method, "/v1/networks/gren")
        assert answer.status_code == 404
        problem = answer.json["problems"][0]
        assert (problem["path"], problem["hint"]) == ("/networks/gren", "did you mean 'green'?")
    assert ask(control, "GET", "/v1/policy?revision=99").status_code == 404


def test_rules_are_a_list_whose_objects_are_put_and_deleted_by_name(control: FakeControl) -> None:
    created = ask(control, "PUT", "/v1/rules/no-telnet", {"action": "drop", "proto": "tcp", "ports": [23]})
    assert (created.status_code, created.headers["Location"]) == (201, "http://localhost/v1/rules/no-telnet")
    again = ask(control, "PUT", "/v1/rules/late", {"name": "late", "action": "allow", "proto": "tcp", "ports": [23]})
    assert [warning["path"] for warning in again.json["warnings"]] == ["/rules/1"]
    document = ask(control, "GET", "/v1/policy").json
    assert [rule["name"] for rule in document["rules"]] == ["no-telnet", "late"]
    one = ask(control, "GET", "/v1/rules/no-telnet").json
    assert one == {"name": "no-telnet", "action": "drop", "proto": "tcp", "ports": [23]}
    assert ask(control, "PUT", "/v1/rules/late", {"action": "drop"}).status_code == 200
    wrong = ask(control, "PUT", "/v1/rules/late", {"action": "drop", "to": "nobody"})
    assert (wrong.status_code, wrong.json["problems"][0]["path"]) == (422, "/rules/1/to")
    assert ask(control, "DELETE", "/v1/rules/no-telnet").status_code == 200
    assert ask(control, "DELETE", "/v1/rules/no-telnet").status_code == 404
    assert ask(control, "GET", "/v1/rewrites").json == []


def test_a_rule_is_put_before_another_one(control: FakeControl) -> None:
    def order() -> list[str]:
        return [rule["name"] for rule in ask(control, "GET", "/v1/policy").json["rules"]]

    for name in ("a", "b"):
        ask(control, "PUT", f"/v1/rules/{name}", {"action": "drop"})
    assert ask(control, "PUT", "/v1/rules/new?before=b", {"action": "drop"}).status_code == 201
    assert order() == ["a", "new", "b"]
    assert ask(control, "PUT", "/v1/rules/b?before=a&plan=true", {"action": "drop"}).status_code == 200
    assert order() == ["a", "new", "b"]
    moved = ask(control, "PUT", "/v1/rules/b?before=a", {"action": "drop"})
    assert (moved.status_code, moved.json["changed"]) == (200, True)
    assert not ask(control, "PUT", "/v1/rules/b?before=a", {"action": "drop"}).json["changed"]
    assert order() == ["b", "a", "new"]
    unknown = ask(control, "PUT", "/v1/rules/x?before=neww", {"action": "drop"})
    assert (unknown.status_code, unknown.json["problems"][0]["hint"]) == (422, "did you mean 'new'?")
    for wrong in ("rules/a?before=a", "rules/a?before=web1", "rewrites/r?before=a"):
        assert ask(control, "PUT", f"/v1/{wrong}", {"action": "drop"}).status_code == 422
    for wrong in ("rules/a?before=", "networks/green?before=pink", "policy?before=a"):
        assert ask(control, "PUT", f"/v1/{wrong}", {"action": "drop"}).status_code == 400
    assert ask(control, "DELETE", "/v1/rules/a?before=b").status_code == 400
    assert order() == ["b", "a", "new"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_methods_are_what_the_table_says(control: FakeControl, route: object) -> None:
    path = route.path.replace("NAME", "green" if route.kind == "networks" else "web1")  # type: ignore[attr-defined]
    options = ask(control, "OPTIONS", path)
    assert (options.status_code, options.body) == (204, b"")
    allowed = options.headers["Allow"].split(", ")
    for method in ("POST", "PATCH", "PUT", "DELETE", "TRACE", "BREW", "get"):
        if method not in allowed:
            answer = ask(control, method, path)
            assert (answer.status_code, answer.headers["Allow"]) == (405, options.headers["Allow"])
    assert {"GET", "HEAD", "OPTIONS"} <= set(allowed)
    if route.kind in ("", "networks", "endpoints") or route.resource == "collection":  # type: ignore[attr-defined]
        assert ask(control, "GET", path).status_code == 200


@pytest.mark.parametrize("path", ["/v1", "/v1/policy", "/v1/status", "/v1/flows", "/v1/networks/green"])
def test_head_is_get_without_a_body(control: FakeControl, path: str) -> None:
    get, head = ask(control, "GET", path), ask(control, "HEAD", path)
    assert head.status_code == 200
    assert head.body == b""
    assert head.headers.get("ETag") == get.headers.get("ETag")
    assert head.content_type == get.content_type
    assert ask(control, "HEAD", "/v1/nothing").status_code == 404


@pytest.mark.parametrize("query", [
    "plam=true", "plan=yes", "plan=", "plan=true&plan=false", "revision=1", "%ff=1", "&".join(["a=1"] * 99),
])  # fmt: skip
def test_a_query_that_is_not_understood_changes_nothing(control: FakeControl, query: str) -> None:
    assert ask(control, "PUT", f"/v1/policy?{query}", {"apiVersion": "tripoint/v1"}).status_code == 400
    assert ask(control, "DELETE", f"/v1/endpoints/web1?{query}").status_code == 400
    assert control.current().revision == 1


@pytest.mark.parametrize("revision", ["-1", "x", "1.0", "٣", "9" * 40, ""])
def test_a_revision_that_is_no_number_is_400(control: FakeControl, revision: str) -> None:
    assert ask(control, "GET", f"/v1/policy?revision={revision}").status_code == 400


def test_a_failure_of_ours_is_logged_and_told_by_number_only(
    control: FakeControl, caplog: pytest.LogCaptureFixture
) -> None:
    control.raising = KeyError("secret inner state")
    with caplog.at_level(logging.ERROR):
        answer = ask(control, "GET", "/v1/status")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json["id"] in caplog.text
    assert "secret inner state" in caplog.text


def test_a_policy_that_cannot_be_compiled_is_500_with_the_sentence_that_says_why(
    control: FakeControl, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contradict(change: object, only: object = None) -> None:
        raise CompileError("two flows for one match: X of /endpoints/a, Y of /endpoints/b")

    monkeypatch.setattr(control, "change", contradict)
    with caplog.at_level(logging.ERROR):
        answer = ask(control, "PUT", "/v1/policy", DOCUMENT)
    assert answer.status_code == 500
    sentence = "two flows for one match: X of /endpoints/a, Y of /endpoints/b"
    assert answer.json["detail"] == f"nothing was changed: {sentence}"
    assert sentence in caplog.text
    assert answer.json["id"] in caplog.text
    assert "Traceback" not in caplog.text


def test_of_very_many_problems_the_first_are_listed_and_all_are_counted(control: FakeControl) -> None:
    wrong = {**DOCUMENT, "endpoints": {f"e{n}": {"port": f"p{n}", "network": "blue"} for n in range(5000)}}
    asked = []

    def in_thread(function, *args, **kwargs):  # type: ignore[no-untyped-def]
        asked.append(getattr(function, "__name__", ""))
        return function(*args, **kwargs)

    request = Request.blank("/v1/policy", method="PUT", body=json.dumps(wrong).encode())
    told = assert_problem(request.get_response(Api(control, in_thread=in_thread)))
    assert len(told["problems"]) == PROBLEMS_LISTED
    assert told["problem_count"] >= 5000
    assert f"{told['problem_count']} problems, the first 1000 are listed" in told["detail"]
    assert asked[-1] == "response", "the answer is built where it does not hold the event loop"
    few = ask(control, "PUT", "/v1/policy", {**DOCUMENT, "endpoints": {"a": {"port": "p", "network": "blue"}}}).json
    assert few["problem_count"] == len(few["problems"])
    assert "listed" not in few["detail"]


def test_a_store_that_fails_is_503_and_says_why(control: FakeControl) -> None:
    control.raising = StoreError("the store /x cannot be used: disk full")
    answer = ask(control, "PUT", "/v1/networks/blue", {"vlan": 30})
    assert answer.status_code == 503
    assert "disk full" in answer.json["detail"]


def test_a_path_that_is_no_text_is_400(control: FakeControl) -> None:
    request = Request.blank("/")
    request.environ["PATH_INFO"] = "/v1/networks/\xff"
    assert request.get_response(Api(control)).status_code == 400


def test_nothing_of_a_request_gets_into_a_header(control: FakeControl) -> None:
    for name in ("a%0d%0aX-Evil:%201", "a%0aSet-Cookie:x", "%22", "a%00b"):
        for method in ("GET", "PUT", "DELETE"):
            answer = ask(control, method, f"/v1/networks/{name}", {"vlan": 30} if method == "PUT" else None)
            assert answer.status_code in (404, 422)
            assert all("evil" not in f"{key}{value}".lower() for key, value in answer.headerlist)
            assert all("\n" not in value and "\r" not in value for _, value in answer.headerlist)


@pytest.mark.parametrize(("origin", "status"), [
    (None, 201),
    ("http://localhost:80", 403),
    ("http://127.0.0.1:8080", 201),
    ("http://evil.example:8080", 403),
    ("http://127.0.0.1:9999", 403),
    ("null", 403),
    ("http://[::1", 403),
])  # fmt: skip
def test_a_strangers_web_page_changes_nothing(control: FakeControl, origin: str | None, status: int) -> None:
    host = "evil.example:8080" if origin and "evil" in origin else "127.0.0.1:8080"
    headers = {"Host": host} if origin is None else {"Host": host, "Origin": origin}
    assert ask(control, "PUT", "/v1/networks/blue", {"vlan": 30}, **headers).status_code == status
    assert control.current().revision == (2 if status == 201 else 1)


# Objects


def test_an_object_is_created_replaced_and_removed(control: FakeControl) -> None:
    made = ask(control, "PUT", "/v1/networks/blue", {"vlan": 30})
    assert (made.status_code, made.headers["ETag"]) == (201, '"2"')
    assert made.headers["Location"].endswith("/v1/networks/blue")
    assert ask(control, "GET", "/v1/networks/blue").json == {"vlan": 30}
    replaced = ask(control, "PUT", "/v1/networks/blue", {"vlan": 31})
    assert (replaced.status_code, replaced.headers["ETag"]) == (200, '"3"')
    assert "Location" not in replaced.headers
    removed = ask(control, "DELETE", "/v1/networks/blue")
    assert (removed.status_code, removed.json["revision"]) == (200, 4)
    assert ask(control, "GET", "/v1/networks/blue").status_code == 404
    assert ask(control, "DELETE", "/v1/networks/blue").status_code == 404
    assert ask(control, "DELETE", "/v1/networks/green").status_code == 422  # web1 is in it


@pytest.mark.parametrize(("kind", "value"), [
    ("networks", {"vni": 5}),
    ("endpoints", {"network": "green", "port": "p5", "mac": "02:00:00:00:00:05"}),
])  # fmt: skip
def test_every_kind_has_its_collection(control: FakeControl, kind: str, value: object) -> None:
    assert ask(control, "PUT", f"/v1/{kind}/new", value).status_code == 201
    assert ask(control, "GET", f"/v1/{kind}").json["new"] == value
    assert ask(control, "GET", f"/v1/{kind}/new").json == value


def test_hosts_are_shown_as_they_are_seen_and_written_as_the_document_has_them(control: FakeControl) -> None:
    assert ask(control, "PUT", "/v1/hosts/boxA", {"bridge": "br0"}).status_code == 201
    assert ask(control, "GET", "/v1/hosts/boxA").json == {"bridge": "br0"}
    answer = ask(control, "GET", "/v1/hosts").json
    (host,) = answer["hosts"]
    assert answer["revision"] == 2
    assert (host["name"], host["dpid"], host["mtu"]) == ("boxA", "00000000000000a1", {"green": 1450})
    assert host["status"]["error"] == "tcp:192.0.2.4:6640: refused"
    assert host["tunnels"][0]["peer"] == "boxB"
    assert ask(control, "GET", "/v1/status").json["hosts"] == [host["status"]]


def test_revisions_are_listed_and_readable(control: FakeControl) -> None:
    ask(control, "PUT", "/v1/networks/blue", {"vlan": 30})
    assert [item["revision"] for item in ask(control, "GET", "/v1/revisions").json["revisions"]] == [1, 2]
    old = ask(control, "GET", "/v1/policy?revision=1")
    assert (old.json, old.headers["ETag"]) == (DOCUMENT, '"1"')


# Outcomes and plans


def test_what_is_stored_but_not_everywhere_in_force_is_202_and_names_the_bridge(control: FakeControl) -> None:
    control.failing = {"br1": "the switch refused: table full"}
    for answer in (
        ask(control, "PUT", "/v1/networks/blue", {"vlan": 30}),
        ask(control, "PUT", "/v1/policy", DOCUMENT),
        ask(control, "DELETE", "/v1/endpoints/web1"),
    ):
        assert answer.status_code == 202
        assert answer.json["in_force"] is False
        wrong = [bridge for bridge in answer.json["bridges"] if not bridge["in_force"]]
        assert [(bridge["name"], bridge["error"]) for bridge in wrong] == [("br1", "the switch refused: table full")]


@pytest.mark.parametrize(("method", "path", "body"), [
    ("PUT", "/v1/policy?plan=true", {"apiVersion": "tripoint/v1"}),
    ("PUT", "/v1/networks/blue?plan=true", {"vlan": 30}),
    ("DELETE", "/v1/endpoints/web1?plan=true", None),
])  # fmt: skip
def test_a_plan_says_what_would_change_and_changes_nothing(
    control: FakeControl, method: str, path: str, body: object
) -> None:
    answer = ask(control, method, path, body)
    assert answer.status_code == 200
    assert answer.json["bridges"][0]["add"] == 2
    assert answer.json["reachable"] == [{"source": "nas", "target": "web1", "network": "green"}]
    assert "ETag" not in answer.headers
    assert control.current().revision == 1
    assert ask(control, method, path, body, If_Match='"0"').status_code == 412


# Preconditions


def test_if_match_guards_against_lost_updates(control: FakeControl) -> None:
    assert ask(control, "PUT", "/v1/networks/blue", {"vlan": 30}, If_Match='"1"').status_code == 412  # not there yet
    assert ask(control, "PUT", "/v1/networks/green", {"vlan": 11}, If_Match='"1"').status_code == 200
    stale = ask(control, "PUT", "/v1/networks/green", {"vlan": 12}, If_Match='"1"')
    assert (stale.status_code, stale.json["revision"], stale.headers["ETag"]) == (412, 2, '"2"')
    assert ask(control, "PUT", "/v1/policy", DOCUMENT, If_Match='"7", "2"').status_code == 200
    assert ask(control, "DELETE", "/v1/endpoints/web1", If_Match='"2"').status_code == 412
    assert ask(control, "DELETE", "/v1/endpoints/web1", If_Match='"3"').status_code == 200


@pytest.mark.parametrize(("path", "header", "value", "status"), [
    ("/v1/policy", "If-Match", "*", 200),
    ("/v1/policy", "If-Match", 'W/"1"', 412),
    ("/v1/policy", "If-Match", '"abc"', 412),
    ("/v1/policy", "If-Match", '"01"', 412),
    ("/v1/policy", "If-None-Match", "*", 412),
    ("/v1/policy", "If-None-Match", '"1"', 412),
    ("/v1/policy", "If-None-Match", '"7"', 200),
    ("/v1/networks/green", "If-Match", "*", 200),
    ("/v1/networks/blue", "If-Match", "*", 412),
    ("/v1/networks/green", "If-None-Match", "*", 412),
    ("/v1/networks/blue", "If-None-Match", "*", 201),
    *(("/v1/policy", "If-Match", value, 400) for value in ("1", '"1', "", '"1" "2"', "*, *", 'w/"1"', '"\u00e9\x7f"')),
    ("/v1/networks/green", "If-None-Match", "1", 400),
])  # fmt: skip
def test_preconditions_on_changes(control: FakeControl, path: str, header: str, value: str, status: int) -> None:
    body: object = DOCUMENT if path == "/v1/policy" else {"vlan": 30}
    assert ask(control, "PUT", path, body, **{header: value}).status_code == status
    if status >= 400:
        assert control.current().revision == 1


def test_a_reader_who_has_it_already_is_told_so(control: FakeControl) -> None:
    for value in ('"1"', 'W/"1"', '"0", "1"', "*"):
        answer = ask(control, "GET", "/v1/policy", If_None_Match=value)
        assert (answer.status_code, answer.body, answer.headers["ETag"]) == (304, b"", '"1"')
    assert ask(control, "GET", "/v1/networks/green", If_None_Match='"0"').status_code == 200
    assert ask(control, "GET", "/v1/policy", If_None_Match="1").status_code == 400
    assert ask(control, "HEAD", "/v1/policy", If_None_Match='"1"').status_code == 304


def test_create_only_holds_also_against_one_who_comes_in_between(control: FakeControl) -> None:
    control.rival = [PutObject("networks", "blue", {"vlan": 40})]
    answer = ask(control, "PUT", "/v1/networks/blue", {"vlan": 30}, If_None_Match="*")
    assert answer.status_code == 412
    assert ask(control, "GET", "/v1/networks/blue").json == {"vlan": 40}


def test_a_rival_who_changes_something_else_does_not_fail_a_precondition_that_holds(control: FakeControl) -> None:
    control.rival = [PutObject("networks", "other", {"vlan": 40 + number}) for number in range(3)]
    assert ask(control, "PUT", "/v1/networks/blue", {"vlan": 30}, If_None_Match="*").status_code == 201
    control.rival = [DeleteObject("endpoints", "web1")]
    assert ask(control, "DELETE", "/v1/endpoints/web1", If_Match="*").status_code == 412


def test_if_match_of_a_revision_does_not_hold_when_a_rival_comes_in_between(control: FakeControl) -> None:
    control.rival = [PutObject("networks", "other", {"vlan": 40})]
    answer = ask(control, "PUT", "/v1/networks/green", {"vlan": 30}, If_Match='"1"')
    assert (answer.status_code, answer.json["revision"]) == (412, 2)
    assert ask(control, "GET", "/v1/networks/green").json == {"vlan": 10}


VALUE = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0")) | st.text('W/"*, \t1,a', max_size=30)


@settings(max_examples=300, deadline=None)
@given(
    method=st.sampled_from(["GET", "PUT", "DELETE", "HEAD", "OPTIONS"]),
    path=st.sampled_from([f"/v1/{path}" for path in ("policy", "networks/green", "networks/x", "flows", "matrix")]),
    headers=st.dictionaries(
        st.sampled_from(["If-Match", "If-None-Match", "Accept", "Content-Type", "Content-Encoding", "Transfer-Encoding",
                         "Content-Length", "Origin", "Host", "Accept-Charset", "Range", "Expect"]),
        VALUE, max_size=4,
    ),
    query=st.text('plan=true&revsoflimt%f0123-;+', max_size=20),
)  # fmt: skip
def test_no_header_makes_the_controller_fail(method: str, path: str, headers: dict[str, str], query: str) -> None:
    control = FakeControl()
    control.change(PutPolicy(DOCUMENT))
    environ = Request.blank(path, method=method, body=b'{"vlan": 30}').environ
    environ["QUERY_STRING"] = query
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    response = Request(environ).get_response(Api(control))
    assert response.status_code < 500 or response.status_code == 501
    if response.status_code >= 400 and method != "HEAD":
        assert_problem(response)
    if response.status_code not in (200, 201):
        assert control.current().revision == 1


@settings(max_examples=200, deadline=None)
@given(tags=st.lists(st.integers(0, 3)), weak=st.booleans(), gap=st.sampled_from([",", ", ", " ,\t", ",,", ", ,"]))
def test_a_list_of_tags_holds_if_and_only_if_one_of_them_is_the_revision(tags: list[int], weak: bool, gap: str) -> None:
    control = FakeControl()
    control.change(PutPolicy(DOCUMENT))
    value = gap.join(f'{"W/" if weak else ""}"{tag}"' for tag in tags) or '""'
    expected = 200 if 1 in tags and not weak else 412
    assert ask(control, "PUT", "/v1/policy", DOCUMENT, If_Match=value).status_code == expected
    assert ask(control, "GET", "/v1/policy", If_None_Match=value).status_code == (304 if 1 in tags else 200)


# Questions


def test_the_index_lists_every_resource(control: FakeControl) -> None:
    for path in ("/", "/v1"):
        assert set(ask(control, "GET", path).json["resources"]) == {route.path for route in ROUTES}


def test_every_route_has_a_handler() -> None:
    handled = set(Api(FakeControl())._handlers)
    assert handled == {(method, route.resource) for route in ROUTES for method in route.methods}


def test_status_names_revision_and_bridges(control: FakeControl) -> None:
    control.failing = {"br1": "no answer"}
    status = ask(control, "GET", "/v1/status").json
    assert (status["revision"], status["in_force"]) == (1, False)
    seen = [(bridge["name"], bridge["in_force"], bridge["last_error"]) for bridge in status["bridges"]]
    assert seen == [("br0", 1, None), ("br1", None, "no answer")]


def test_bindings_say_where_endpoints_are(control: FakeControl) -> None:
    found = {item["endpoint"]: item for item in ask(control, "GET", "/v1/bindings").json["bindings"]}
    assert (found["web1"]["state"], found["web1"]["bridge"], found["web1"]["ofport"]) == ("bound", "br0", 7)
    assert (found["web2"]["state"], found["web2"]["bridge"]) == ("absent", None)


def test_matrix_says_who_reaches_whom_and_where(control: FakeControl) -> None:
    answer = ask(control, "GET", "/v1/matrix").json
    assert answer["revision"] == 1
    assert answer["endpoints"] == ["web1", "web2", "nas"]
    assert answer["absent"] == ["web2"]
    assert answer["reaches"] == {
        "web1": {"nas": ["green"]},
        "web2": {"nas": ["pink"]},
        "nas": {"web1": ["green"], "web2": ["pink"]},
    }
    some = ask(control, "GET", "/v1/matrix?endpoints=web1,nas,web1").json
    assert (some["endpoints"], some["reaches"]["nas"]) == (["web1", "nas"], {"web1": ["green"]})
    wrong = ask(control, "GET", "/v1/matrix?endpoints=web1,web7")
    assert (wrong.status_code, wrong.json["problems"][0]["path"]) == (404, "/endpoints/web7")


def test_the_outside_is_in_the_matrix_of_a_policy_with_uplinks(control: FakeControl) -> None:
    assert ask(control, "GET", "/v1/matrix?endpoints=web1,outside").status_code == 404
    lan = {"vlan": 30, "cidrs": ["10.1.0.0/24"], "mode": "nat", "gateway": "10.1.0.254", "uplink": "wan"}
    policy = {
        "apiVersion": "tripoint/v1",
        "networks": {"lan": lan},
        "uplinks": {"wan": {"port": "eth1", "addresses": ["198.51.100.2/24"]}},
        "endpoints": {"pc": {"network": "lan", "port": "pc", "mac": "02:00:00:00:00:01", "ips": ["10.1.0.1"]}},
    }
    control.change(PutPolicy(policy))
    answer = ask(control, "GET", "/v1/matrix").json
    assert (answer["endpoints"], answer["absent"]) == (["pc", "outside"], [])
    assert answer["reaches"] == {"pc": {"outside": ["lan->outside"]}, "outside": {}}


def test_a_matrix_that_would_be_too_large_says_how_to_ask(control: FakeControl) -> None:
    def endpoints(count: int) -> dict[str, object]:
        return {f"e{n}": {"network": "green", "port": f"p{n}", "mac": f"02:00:00:00:00:{n:02x}"} for n in range(count)}

    control.change(PutPolicy({**DOCUMENT, "endpoints": endpoints(MATRIX_MAX)}))
    assert len(ask(control, "GET", "/v1/matrix").json["reaches"]["e0"]) == MATRIX_MAX - 1
    control.change(PutPolicy({**DOCUMENT, "endpoints": endpoints(MATRIX_MAX + 1)}))
    answer = ask(control, "GET", "/v1/matrix")
    assert answer.status_code == 400
    assert "/v1/matrix?endpoints=a,b,c" in answer.json["detail"]
    assert ask(control, "GET", "/v1/matrix?endpoints=e1,e2").status_code == 200


def test_flows_are_filtered_and_paged(control: FakeControl) -> None:
    everything = ask(control, "GET", "/v1/flows").json
    assert (len(everything["flows"]), everything["more"]) == (10, False)
    assert everything["flows"][0]["why"] == "flow 0 lets web1 in"
    page = ask(control, "GET", "/v1/flows?limit=3&offset=4").json
    assert (page["flows"], page["more"]) == (everything["flows"][4:7], True)
    assert ask(control, "GET", "/v1/flows?limit=10").json == everything
    assert ask(control, "GET", "/v1/flows?limit=0").json == {"flows": [], "more": True}
    assert ask(control, "GET", "/v1/flows?offset=10").json == {"flows": [], "more": False}
    assert msgpack.unpackb(ask(control, "GET", "/v1/flows?limit=3", Accept="application/msgpack").body) == {
        "flows": everything["flows"][:3], "more": True,
    }  # fmt: skip


@pytest.mark.parametrize("query", ["bridge=br1", "bridge=00000000000000b2", "dpid=0xb2", "dpid=B2"])
def test_flows_of_one_bridge(control: FakeControl, query: str) -> None:
    answer = ask(control, "GET", f"/v1/flows?{query}&origin=/endpoints/web1&stage=classify").json
    assert {flow["bridge"] for flow in answer["flows"]} == {"br1"}
    assert control.looked == [("00000000000000b2", "/endpoints/web1", "classify")]


def test_flows_of_a_bridge_nobody_knows(control: FakeControl) -> None:
    for query in ("bridge=br7", "dpid=c3", "dpid=zz", "bridge=br0&dpid=b2"):
        answer = ask(control, "GET", f"/v1/flows?{query}")
        assert answer.status_code == 404
        assert "br0 (00000000000000a1)" in answer.json["detail"]
    control.bridges = ()
    assert ask(control, "GET", "/v1/flows?bridge=br0").status_code == 404
    assert ask(control, "GET", "/v1/flows").json == {"flows": [], "more": False}


def test_many_flows_are_sent_in_blocks_and_let_others_run(control: FakeControl) -> None:
    control.flow_count = 5000
    pauses: list[None] = []
    response = Request.blank("/v1/flows").get_response(Api(control, pause=lambda: pauses.append(None)))
    blocks = list(response.app_iter)
    assert len(json.loads(b"".join(blocks))["flows"]) == 10_000
    assert max(map(len, blocks)) < 70_000
    assert len(pauses) == len(blocks) > 20


def test_what_takes_long_is_called_in_a_thread(control: FakeControl) -> None:
    called: list[str] = []

    def in_thread(function, *args, **kwargs):
        called.append(function.__name__)
        return function(*args, **kwargs)

    api = Api(control, in_thread=in_thread)
    Request.blank("/v1/policy", method="PUT", body=json.dumps(DOCUMENT).encode()).get_response(api)
    Request.blank("/v1/matrix").get_response(api)
    assert called == ["parse_document", "made", "made"]


def test_answers_are_not_kept_by_caches_unasked(control: FakeControl) -> None:
    assert ask(control, "GET", "/v1/policy").headers["Cache-Control"] == "no-cache"
    assert ask(control, "GET", "/v1/status").headers["Cache-Control"] == "no-store"
    assert ask(control, "GET", "/v1/nothing").status_code == HTTPStatus.NOT_FOUND


# Rules and their log


def test_rules_say_what_they_have_counted(control: FakeControl) -> None:
    answer = ask(control, "GET", "/v1/rules").json
    assert answer["revision"] == 1
    assert answer["silent"] == ["br1"]
    assert answer["rules"][0] == {
        "name": "no-telnet", "tier": "emergency", "action": "drop", "position": 1, "packets": 3, "bytes": 180,
    }  # fmt: skip


def test_the_log_is_a_json_object_a_line(control: FakeControl) -> None:
    control.events *= 2
    response = ask(control, "GET", "/v1/log")
    assert response.content_type == "application/x-ndjson"
    lines = response.body.splitlines()
    assert len(lines) == 2
    assert json.loads(lines[0])["rule"] == "no-telnet"
    assert json.loads(lines[0])["target"] is None
    assert [reader.closed for reader in control.readers] == [True]


@pytest.mark.parametrize("word", ["1", "true"])
def test_a_log_that_is_followed_begins_with_an_empty_line_and_is_closed(control: FakeControl, word: str) -> None:
    response = ask(control, "GET", f"/v1/log?follow={word}")
    stream = response.app_iter
    assert [next(stream), json.loads(next(stream))["number"], next(stream)] == [b"\n", 1, b"\n"]
    [reader] = control.readers
    assert (reader.follow, reader.closed) == (True, False)
    stream.close()
    assert reader.closed


def test_head_of_a_log_follows_nothing(control: FakeControl) -> None:
    response = ask(control, "HEAD", "/v1/log?follow=1")
    assert response.status_code == 200
    assert [reader.follow for reader in control.readers] == [False]


def test_a_log_is_lines_and_nothing_else(control: FakeControl) -> None:
    assert ask(control, "GET", "/v1/log", Accept="application/msgpack").status_code == 406
    assert ask(control, "GET", "/v1/log?follow=yes").status_code == 400
    assert control.readers == []


def test_one_reader_too_many_is_told_so(control: FakeControl) -> None:
    control.full = True
    response = ask(control, "GET", "/v1/log?follow=1")
    assert response.status_code == 503
    assert "readers" in response.json["detail"]
