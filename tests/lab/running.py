"""Labs of several hosts for a block of a test, what is judged on them, and streams between their members. I/O."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.lab.conftest import PROJECT
from topologies import netns, records
from topologies.frames import Party
from topologies.judge import judge
from topologies.load import parse
from topologies.runner import bring_up
from topologies.spec import Expectation, Lab
from topologies.verdict import Row, Verdict, verdict_of

TOPOLOGIES = PROJECT / "topologies"
STREAM_PORT = 4242
MEASUREMENTS = 3
PERIOD_S = 0.005


def document_of(name: str) -> dict[str, Any]:
    return copy.deepcopy(yaml.safe_load((TOPOLOGIES / f"{name}.yaml").read_text()))


@contextlib.contextmanager
def up(source: str | dict[str, Any]) -> Iterator[records.Record]:
    """A lab, by the name of its file or as a document, for the block."""
    text = yaml.safe_dump(source) if isinstance(source, dict) else (TOPOLOGIES / f"{source}.yaml").read_text()
    record = bring_up(parse(text), text, "test", "test")
    try:
        yield record
    finally:
        records.remove(record)


def judged(record: records.Record, wanted: Callable[[Expectation], bool] = lambda e: True) -> list[Row]:
    """An INVALID measurement (frames lost before a busy machine's switch read them) says nothing, and is repeated."""
    expectations, rows = [e for e in record.lab.expectations if wanted(e)], list[Row]()
    for _ in range(MEASUREMENTS):
        rows = asyncio.run(judge(record, expectations))
        if verdict_of(rows) is not Verdict.INVALID:
            break
    return rows


def failed(rows: list[Row]) -> list[Row]:
    assert rows
    return [row for row in rows if row.verdict is not Verdict.PASS]


def point(lab: Lab, node: str) -> Party:
    one = lab.points(node)[0]
    address = one.address(4)
    assert address is not None
    return Party(one.mac, address, STREAM_PORT)


def until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} never came true"
        time.sleep(0.005)


@dataclass
class Stream:
    """Numbered datagrams from one member to another, one a period, by their own network stacks."""

    record: records.Record
    source: str
    target: str
    port: int = STREAM_PORT
    period_s: float = PERIOD_S
    sent: int = 0
    came: dict[int, float] = field(default_factory=dict)
    """number -> when"""
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Stream:
        self._sockets = []
        for node in (self.source, self.target):
            with netns.inside(self.record.namespaces[node]):
                self._sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._sockets[1].bind(("", self.port))
        self._sockets[1].settimeout(0.2)
        self._threads = [threading.Thread(target=work) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        for handle in self._sockets:
            handle.close()

    def _send(self) -> None:
        target = (str(point(self.record.lab, self.target).ip), self.port)
        while not self._end.is_set():
            with contextlib.suppress(OSError):
                self._sockets[0].sendto(struct.pack("!I", self.sent), target)
            self.sent += 1
            time.sleep(self.period_s)

    def _receive(self) -> None:
        while True:
            try:
                data = self._sockets[1].recv(64)
            except TimeoutError:
                if self._end.is_set():
                    return
                continue
            self.came[struct.unpack("!I", data)[0]] = time.monotonic()

    def flows(self) -> bool:
        """Whether one came that was sent just now."""
        return max(list(self.came), default=-10) > self.sent - 10

    @property
    def lost(self) -> list[int]:
        return [number for number in range(self.sent) if number not in self.came]
