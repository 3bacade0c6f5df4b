"""The signals that end a command: they interrupt it wherever it is, but between the birth of a process and its name.

I/O: it changes the signal handlers of the process.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP came: whatever is up is taken down, and then the command ends.

    Of this kind because an event loop lets it through wherever it is raised.
    """


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """For the block, the signals that end a command raise Interrupted, once: taking down goes undisturbed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def raise_it(number: int, frame: object) -> None:
        for other in NUMBERS:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted

    before = {number: signal.signal(number, raise_it) for number in NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """For the block these signals wait; one that came is raised at its end.

    While a process is being started: before it has its own environment nobody could find it and take it away, and what
    is raised in the hooks of fork(2) is lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
