"""How the interpreter and the C library run this process: settings for many small objects and several threads. I/O.

Measured with 5,000 endpoints pushed over and over: without them the collector and single long steps of the interpreter
held the event loop for 100 to 340 ms, and the process grew by 30 MB a push; with them it is held for less than 50 ms
and does not grow.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import resource
import sys
from _thread import RLock
from contextlib import suppress

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES = 256 * 1024
_FILES = 65_536


def raise_file_limit() -> int:
    """Let the process open as many files as it may (setrlimit(2)); how many that are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def settle() -> None:
    """Call once, before threads are started."""
    # Threads log too. A green lock wakes who waits for it in the wrong thread, and then it is held for ever: these are
    # the interpreter's own, which no green-thread library replaces.
    logging._lock = RLock()  # type: ignore[attr-defined]
    for handler in logging.getLogger().handlers:
        handler.lock = RLock()
    # Compiled flows are many objects that live long and have no cycles. While the collector looks at objects no thread
    # runs: let it look at few at a time (50,000 took 25 ms in the middle of a change), and at all of them almost never.
    gc.set_threshold(5_000, 2, 1_000_000)
    # At each system call the loop waits so long for the interpreter while another thread computes.
    sys.setswitchinterval(0.0002)
    # glibc gives each thread a heap of its own, and what was freed in one is not used again in another (mallopt(3)).
    # Threads run Python, of which one runs at a time anyway: one heap, and large blocks by themselves.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def look_at_what_is_new() -> None:
    """Let the collector look at what was made since the last time; to be called soon after whatever makes many objects.

    By itself it begins when there are many more objects than before, and then looks at all that are new. Where objects
    take the place of others, as at every change, it begins late and has much to look at: up to 60 ms among 200,000
    flows, as measured.
    """
    gc.collect(1)
