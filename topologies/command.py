"""`lab up`, `test`, `run`, `down`, `list`: what the command line offers of labs. I/O.

Each function prints to `out` and returns an exit code that scripts can use; see `Code`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from enum import IntEnum
from pathlib import Path
from typing import TextIO

from topologies import records
from topologies.judge import judge
from topologies.load import parse
from topologies.netns import NetworkError
from topologies.reading import LabFileError
from topologies.records import Record
from topologies.runner import BringUpError, Given, bring_up, given, look_further
from topologies.signals import Interrupted, interruptible
from topologies.spec import Lab
from topologies.verdict import Row, Verdict, matrix, summary, table, verdict_of


class Code(IntEnum):
    """Exit codes. INTERRUPTED is the shell's own number for Ctrl-C."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_UP = 3
    INVALID = 4
    INTERRUPTED = 130


class _Refused(Exception):
    def __init__(self, code: Code, text: str) -> None:
        self.code = code
        super().__init__(text)


def _read(path: str) -> tuple[Lab, str]:
    try:
        text = Path(path).read_text()
        return parse(text), text
    except OSError as error:
        raise _Refused(Code.USAGE, f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _Refused(Code.USAGE, f"{path}: not a text file") from error
    except LabFileError as error:
        problems = "\n".join(f"  {problem}" for problem in error.problems)
        raise _Refused(Code.USAGE, f"{path} is not a lab:\n{problems}") from error


def _controller(controller: str | None, openflow: str | None) -> Given | None:
    try:
        return given(controller, openflow)
    except ValueError as error:
        raise _Refused(Code.USAGE, str(error)) from error


def _need_root() -> None:
    if os.geteuid() != 0:
        raise _Refused(Code.NOT_UP, "network namespaces need root: run this with sudo")


def _bring_up(path: str, mode: str, controller: Given | None) -> Record:
    lab, text = _read(path)
    _need_root()
    try:
        return bring_up(lab, text, str(Path(path).resolve()), mode, controller)
    except BringUpError as error:
        raise _Refused(Code.NOT_UP, str(error)) from error


def _take_down(record: Record, out: TextIO) -> None:
    for line in records.remove(record):
        print(line, file=out)


def up(path: str, *, controller: str | None = None, openflow: str | None = None, out: TextIO) -> int:
    """Brings a lab up and leaves it up. controller: `own` (also None), or the URL of one that runs."""
    try:
        with interruptible():
            record = _bring_up(path, "up", _controller(controller, openflow))
    except _Refused as refused:
        print(refused, file=out)
        return refused.code
    except Interrupted:
        return Code.INTERRUPTED
    print(f"{record.name} is up as {record.id}", file=out)
    for line in look_further(record):
        print(f"  {line}", file=out)
    print(f"take it down with: tripoint lab down {record.id}", file=out)
    return Code.OK


def test(path: str, *, controller: str | None = None, openflow: str | None = None, out: TextIO) -> int:  # noqa: PT028
    """Checks every expectation with real packets, on a lab that is up (by file, name or id) or on one made for it."""
    started = time.monotonic()
    try:
        standing = [r for r in records.find(path) if r.mode != "test" and r.state == "up"]
        if len(standing) > 1 and path not in (r.id for r in standing):
            raise _Refused(
                Code.USAGE, f"{path} is up more than once: say which of " + ", ".join(r.id for r in standing)
            )
        if standing:
            _need_root()
        with interruptible():
            if standing:
                rows = _judged(standing[0])
            else:
                record = _bring_up(path, "test", _controller(controller, openflow))
                try:
                    rows = _judged(record)
                finally:
                    _take_down(record, out)
    except _Refused as refused:
        print(refused, file=out)
        return refused.code
    except Interrupted:
        print("interrupted", file=out)
        return Code.INTERRUPTED
    name = standing[0].name if standing else record.name
    return report(name, rows, time.monotonic() - started, out)


def _judged(record: Record) -> list[Row]:
    try:
        return asyncio.run(judge(record))
    except NetworkError as error:
        raise _Refused(Code.NOT_UP, f"{record.name}: {error}") from error


def report(name: str, rows: list[Row], seconds: float, out: TextIO) -> int:
    """Prints the table, the matrix and the summary; the exit code."""
    for line in [*table(rows), "", *matrix(rows), "", summary(name, rows, seconds)]:
        print(line, file=out)
    return {Verdict.PASS: Code.OK, Verdict.FAIL: Code.FAILED, Verdict.INVALID: Code.INVALID}[verdict_of(rows)]


def run(
    path: str, *, controller: str | None = None, openflow: str | None = None, once: bool = False, out: TextIO
) -> int:
    """The whole at once: up, policy, packets, matrix, how to look further; stays until Ctrl-C, or ends with `once`."""
    started = time.monotonic()
    try:
        with interruptible():
            record = _bring_up(path, "run", _controller(controller, openflow))
            try:
                print(f"{record.name} is up as {record.id} ({time.monotonic() - started:.1f} s)", file=out, flush=True)
                code = report(record.name, _judged(record), time.monotonic() - started, out)
                if not once:
                    _stay(record, out)
            finally:
                _take_down(record, out)
    except _Refused as refused:
        print(refused, file=out)
        return refused.code
    except Interrupted:
        print("interrupted", file=out)
        return Code.INTERRUPTED
    return code


def _stay(record: Record, out: TextIO) -> None:
    """Says how to look further, and waits for Ctrl-C; that is the way out, not an error."""
    try:
        print("\nlook further (in another terminal):", file=out)
        for line in look_further(record):
            print(f"  {line}", file=out)
        print("Ctrl-C takes everything down again.", file=out, flush=True)
        while True:
            signal.pause()
    except Interrupted:
        print(f"\ntaking {record.name} down", file=out, flush=True)


def down(path_or_name: str, out: TextIO) -> int:
    """Takes down every lab of that id, name or file, in whatever state it is."""
    found = records.find(path_or_name)
    try:
        _need_root()
    except _Refused as refused:
        print(refused, file=out)
        return refused.code
    if not found:
        print(f"no lab {path_or_name!r} is up", file=out)
        return Code.USAGE
    left = False
    for record in found:
        if record.mode != "up" and record.owner.alive:
            print(f"{record.name} ({record.id}) is in use by process {record.owner.pid}: end that", file=out)
            left = True
            continue
        kept = records.remove(record)
        print("\n".join(kept) if kept else f"{record.name} ({record.id}) is down", file=out)
        left = left or bool(kept)
    return Code.FAILED if left else Code.OK


def list_labs(out: TextIO) -> int:
    """All labs of this machine, a line each."""
    lines = [(r.id, r.name, r.state, r.mode, r.controller or "-", r.file) for r in records.every()]
    head = ("id", "name", "state", "mode", "controller", "file")
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    for line in [head, *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), file=out)
    return Code.OK
