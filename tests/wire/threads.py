"""`controller.loop.Loop` with threads of the operating system. For tests."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any


class ThreadBell:
    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def wait(self, timeout_s: float | None, fileno: int | None = None, writable: bool = False) -> None:
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        if fileno is not None:
            poll.register(fileno, select.POLLOUT if writable else select.POLLIN)
        ready = poll.poll(None if timeout_s is None else timeout_s * 1000)
        if any(number == self._read for number, _ in ready):
            os.read(self._read, 4096)

    def ring(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._write, b".")

    def __del__(self) -> None:
        os.close(self._read)
        os.close(self._write)


class ThreadWaiter:
    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self, timeout_s: float) -> bool:
        return self._event.wait(timeout_s)

    def set(self) -> None:
        self._event.set()


class ThreadLoop:
    """began: every thread that was begun."""

    def __init__(self) -> None:
        self.began: list[threading.Thread] = []

    def spawn(self, function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function, daemon=True)
        self.began.append(thread)
        thread.start()

    def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    def waiter(self) -> ThreadWaiter:
        return ThreadWaiter()

    def bell(self) -> ThreadBell:
        return ThreadBell()

    def lock(self) -> AbstractContextManager[object]:
        return threading.Lock()

    def now(self) -> float:
        return time.monotonic()
