"""The log of rules: rates, what is kept, and readers that are slow, many or gone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import controller.rule_log
from controller.control import TooManyReaders
from controller.policy.firewall import LogRate
from controller.rule_log import FOLLOWERS, KEPT, Bucket, RuleLog
from tests.unit.fake_control import EVENT
from tests.wire.threads import ThreadLoop

OFTEN = LogRate(100_000, 1)
NOW = datetime(2024, 1, 1, 12, 0, 0, 5000, tzinfo=UTC)


class SetLoop(ThreadLoop):
    """Time is what the test says."""

    now_s = 0.0

    def now(self) -> float:
        return self.now_s


@pytest.fixture
def loop() -> SetLoop:
    return SetLoop()


@pytest.fixture
def log(loop: SetLoop) -> RuleLog:
    return RuleLog(loop, lambda: NOW)


@given(
    st.integers(1, 20), st.sampled_from([1, 60, 3600]), st.lists(st.floats(0, 100, allow_nan=False), max_size=300)
)  # fmt: skip
def test_in_no_span_of_time_pass_more_than_twice_the_count(count: int, per_s: int, pauses: list[float]) -> None:
    """A full bucket, and what is filled in meanwhile: the bound of a token bucket."""
    bucket, now_s, passed = Bucket(LogRate(count, per_s), count, 0.0), 0.0, []
    for pause in pauses:
        now_s += pause
        if bucket.take(now_s):
            passed.append(now_s)
    for begin in passed:
        assert sum(begin <= one <= begin + per_s for one in passed) <= 2 * count
    assert len(passed) + bucket.suppressed == len(pauses)
    assert len(passed) >= min(count, len(pauses))


def test_what_is_suppressed_is_told_with_the_next_line(
    log: RuleLog, loop: SetLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tripoint.rules")
    for _ in range(5):
        log.note(EVENT, LogRate(3, 60))
    loop.now_s = 30
    log.note(EVENT, LogRate(3, 60))
    assert [event.suppressed for event in log.read() if event] == [0, 0, 0, 2]
    assert len(caplog.messages) == 4
    assert caplog.messages[-1] == (
        "rule=no-telnet action=drop dpid=00000000000000a1 network=green target_network=outside from=web1 proto=tcp"
        " source=192.168.5.1 source_port=40000 target=203.0.113.9 target_port=23 suppressed=2"
    )


def test_each_rule_has_a_rate_of_its_own_and_a_new_rate_holds_at_once(log: RuleLog) -> None:
    once = LogRate(1, 60)
    for rule in ("a", "b", "a", "b"):
        log.note(replace(EVENT, rule=rule), once)
    assert [event.rule for event in log.read() if event] == ["a", "b"]
    log.note(replace(EVENT, rule="a"), LogRate(2, 60))
    assert [(event.rule, event.suppressed) for event in log.read() if event][2:] == [("a", 1)]


def test_events_get_numbers_and_the_time(log: RuleLog) -> None:
    log.note(EVENT, OFTEN)
    log.note(EVENT, OFTEN)
    found = list(log.read())
    assert [event.number for event in found if event] == [1, 2]
    assert found[0] == replace(EVENT, number=1, time="2024-01-01T12:00:00.005+00:00", suppressed=0)


def test_the_same_packet_on_its_way_over_two_bridges_is_one_event(log: RuleLog, loop: SetLoop) -> None:
    there = replace(EVENT, dpid="00000000000000b2", bridge="br1")
    log.note(EVENT, OFTEN)
    log.note(there, OFTEN)
    log.note(replace(there, source_port=40001), OFTEN)
    loop.now_s = 2
    log.note(there, OFTEN)
    assert [(event.bridge, event.source_port) for event in log.read() if event] == [
        ("br0", 40000), ("br1", 40001), ("br1", 40000),
    ]  # fmt: skip


def test_the_last_events_are_kept_and_a_slow_reader_sees_which_it_lost(log: RuleLog) -> None:
    slow = log.read(follow=True)
    log.note(EVENT, OFTEN)
    assert next(slow).number == 1  # type: ignore[union-attr]
    for _ in range(KEPT + 50):
        log.note(EVENT, OFTEN)
    assert next(slow).number == 52  # type: ignore[union-attr]
    kept = [event.number for event in log.read() if event]
    assert kept == list(range(52, KEPT + 52))
    slow.close()


def test_a_reader_that_follows_gets_what_is_still_to_come(log: RuleLog) -> None:
    reader = log.read(follow=True)
    found: list[int] = []

    def read() -> None:
        found.extend(event.number for event in reader if event)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    for number in range(1, 6):
        log.note(EVENT, OFTEN)
        end = time.monotonic() + 5
        while found[-1:] != [number]:
            assert time.monotonic() < end
            time.sleep(0.001)
    reader.close()
    log.note(EVENT, OFTEN)
    thread.join(5)
    assert not thread.is_alive()


def test_nothing_happening_is_told_too(log: RuleLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller.rule_log, "HEARTBEAT_S", 0.01)
    reader = log.read(follow=True)
    assert [next(reader), next(reader)] == [None, None]
    log.note(EVENT, OFTEN)
    event = next(reader)
    assert event is not None
    assert event.number == 1


def test_so_many_may_follow_and_who_has_gone_makes_room(log: RuleLog) -> None:
    readers = [log.read(follow=True) for _ in range(FOLLOWERS)]
    with pytest.raises(TooManyReaders):
        log.read(follow=True)
    assert list(log.read()) == []
    for _ in range(3):
        readers[0].close()
    log.read(follow=True)
    with pytest.raises(TooManyReaders):
        log.read(follow=True)


def test_memory_has_an_end_whatever_is_logged(log: RuleLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller.rule_log, "BUCKETS", 10)
    for number in range(3000):
        log.note(replace(EVENT, rule=f"r{number}"), OFTEN)
    assert len(log._buckets) == 10
    assert len(log._seen) == KEPT
    assert len(log._events) == KEPT


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("tripoint.rules").setLevel(logging.WARNING)
    yield
    logging.getLogger("tripoint.rules").setLevel(logging.NOTSET)
