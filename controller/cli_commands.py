"""The commands of `tripoint`: each is one request or one call, and returns an exit code. I/O.

chosen: what `cli` made of the words on the command line; server, timeout and json are always there.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from enum import IntEnum
from pathlib import Path
from typing import cast

import controller
from controller import cli_text
from controller.client import Answer, Asking, Client, Refused, Unreachable
from controller.errors import Problem


class Exit(IntEnum):
    """What scripts can tell apart. INTERRUPTED and BROKEN_PIPE are the shell's own numbers for the signals."""

    OK = 0
    NO = 1
    USAGE = 2
    UNREACHABLE = 3
    CONFLICT = 4
    INTERRUPTED = 130
    BROKEN_PIPE = 141


HEARTBEATS_S = 60.0
"""A controller that is followed says something at least every 15 seconds."""


class UsageError(Exception):
    """The command cannot be carried out as it was given."""


def say_refused(refused: Refused, as_json: bool) -> int:
    if as_json:
        print(json.dumps(refused.document, indent=2))
    else:
        print(f"tripoint: {cli_text.clean(refused.detail)}", file=sys.stderr)
        for problem in refused.problems:
            print(f"  {cli_text.problem(problem)}", file=sys.stderr)
    if refused.status == 412:
        return Exit.CONFLICT
    return Exit.UNREACHABLE if refused.status >= 500 else Exit.USAGE


def fail(code: Exit, message: str) -> int:
    print(f"tripoint: {cli_text.clean(message)}", file=sys.stderr)
    return code


def _ask(chosen: argparse.Namespace, asking: Asking) -> Answer:
    return Client(chosen.server, chosen.timeout).ask(asking)


def _show(chosen: argparse.Namespace, answer: Answer, lines: Callable[[cli_text.Json], Iterable[str]]) -> cli_text.Json:
    """Print an answer, for people or with --json as it came; returns it."""
    data = answer.data
    if chosen.json:
        print(json.dumps(data, indent=2))
        return data
    try:
        text = "\n".join(lines(data))
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreachable(f"the answer lacks {error}; are tripoint and the controller of the same version?") from error
    if text:
        print(text)
    return data


def _policy_body(chosen: argparse.Namespace) -> tuple[bytes, str]:
    """The document and its media type, by the file's name; standard input is told apart by the controller."""
    try:
        if chosen.file == "-":
            if sys.stdin.isatty():
                print("reading the policy from the terminal; end with Ctrl-D", file=sys.stderr)
            return sys.stdin.buffer.read(), ""
        content = Path(chosen.file).read_bytes()
    except OSError as error:
        raise UsageError(f"{chosen.file}: {error.strerror}") from error
    kinds = {".json": "application/json", ".msgpack": "application/msgpack"}
    return content, kinds.get(Path(chosen.file).suffix.lower(), "application/yaml")


def check(chosen: argparse.Namespace) -> int:
    """The document is examined here; no controller is asked."""
    content, media_type = _policy_body(chosen)
    # Imported here, because reading documents takes longer to import than all other commands take.
    found = importlib.import_module("controller.examine").examine(content, media_type or None)
    problems: tuple[Problem, ...] = found.problems
    if chosen.json:
        print(json.dumps(asdict(found), indent=2))
    elif problems:
        fail(
            Exit.USAGE, f"no policy: there {'is 1 problem' if len(problems) == 1 else f'are {len(problems)} problems'}"
        )
        for problem in problems:
            print(f"  {cli_text.problem(problem)}", file=sys.stderr)
    else:
        print("\n".join([*cli_text.warnings(map(asdict, found.warnings)), "it is a policy"]))
    return Exit.USAGE if problems else Exit.OK


def _put(chosen: argparse.Namespace, plan: bool) -> Answer:
    content, media_type = _policy_body(chosen)
    return _ask(
        chosen,
        Asking(
            "PUT",
            "/v1/policy",
            {"plan": "true" if plan else None},
            body=content,
            media_type=media_type or "application/octet-stream",
            if_match=chosen.if_match,
        ),
    )


def plan(chosen: argparse.Namespace) -> int:
    answer = _show(chosen, _put(chosen, plan=True), lambda data: cli_text.plan(data, chosen.flows))
    return Exit.NO if chosen.exit_code and cli_text.plan_changes(answer) else Exit.OK


def apply(chosen: argparse.Namespace) -> int:
    answer = _show(chosen, _put(chosen, plan=False), cli_text.outcome)
    return Exit.OK if answer.get("in_force") else Exit.NO


def policy(chosen: argparse.Namespace) -> int:
    accept = "application/json" if chosen.json else "application/yaml"
    answer = _ask(chosen, Asking("GET", "/v1/policy", {"revision": chosen.revision}, accept=accept))
    print(json.dumps(answer.data, indent=2) if chosen.json else answer.text.rstrip("\n"))
    return Exit.OK


def revisions(chosen: argparse.Namespace) -> int:
    _show(chosen, _ask(chosen, Asking("GET", "/v1/revisions")), cli_text.revisions)
    return Exit.OK


def status(chosen: argparse.Namespace) -> int:
    answer = _show(chosen, _ask(chosen, Asking("GET", "/v1/status")), cli_text.status)
    return Exit.OK if answer.get("in_force") else Exit.NO


def hosts(chosen: argparse.Namespace) -> int:
    _show(chosen, _ask(chosen, Asking("GET", "/v1/hosts")), cli_text.hosts)
    return Exit.OK


def bindings(chosen: argparse.Namespace) -> int:
    _show(chosen, _ask(chosen, Asking("GET", "/v1/bindings")), cli_text.bindings)
    return Exit.OK


def flows(chosen: argparse.Namespace) -> int:
    query = {key: getattr(chosen, key) for key in ("bridge", "origin", "stage", "limit", "offset")}
    _show(chosen, _ask(chosen, Asking("GET", "/v1/flows", query)), cli_text.flows)
    return Exit.OK


def matrix(chosen: argparse.Namespace) -> int:
    names = ",".join(name for word in chosen.endpoint for name in word.split(",")) or None
    _show(chosen, _ask(chosen, Asking("GET", "/v1/matrix", {"endpoints": names})), cli_text.matrix)
    return Exit.OK


def rules(chosen: argparse.Namespace) -> int:
    _show(chosen, _ask(chosen, Asking("GET", "/v1/rules")), cli_text.rules)
    return Exit.OK


def log(chosen: argparse.Namespace) -> int:
    """Line by line, as they come; with --follow until somebody ends it."""
    follow = "true" if chosen.follow else None
    timeout_s = max(chosen.timeout, HEARTBEATS_S) if chosen.follow else chosen.timeout
    asking = Asking("GET", "/v1/log", {"follow": follow}, accept="application/x-ndjson")
    for line in Client(chosen.server, timeout_s).lines(asking):
        if chosen.json:
            print(line.decode("utf-8", "replace").rstrip("\n"), flush=True)
        else:
            _show(chosen, Answer(200, line), cli_text.rule_event)
            sys.stdout.flush()
    if chosen.follow:
        raise Unreachable(f"{chosen.server} has ended the log")
    return Exit.OK


def lab(chosen: argparse.Namespace) -> int:
    """The labs are a program of their own, which imports nothing of the controller; this calls it."""
    command = importlib.import_module("topologies.command")
    match chosen.verb:
        case "down":
            return cast(int, command.down(chosen.file, sys.stdout))
        case "list":
            return cast(int, command.list_labs(sys.stdout))
        case verb:
            options = {"once": chosen.once} if verb == "run" else {}
            function = getattr(command, verb)
            where = {"controller": chosen.controller, "openflow": chosen.openflow}
            return cast(int, function(chosen.file, out=sys.stdout, **where, **options))


def pipeline(chosen: argparse.Namespace) -> int:
    text: str = importlib.import_module("controller.pipeline.render").render_pipeline()
    page = Path(controller.__file__).resolve().parents[1] / "docs" / "PIPELINE.md"
    try:
        if chosen.write:
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page}")
        elif chosen.check:
            if not page.exists() or page.read_text(encoding="utf-8") != text:
                print(f"{page} is not what the pipeline declares; renew it with: tripoint docs pipeline --write")
                return Exit.NO
            print(f"{page} is what the pipeline declares")
        else:
            print(text.rstrip("\n"))
    except OSError as error:
        raise UsageError(f"{page}: {error.strerror}") from error
    return Exit.OK
