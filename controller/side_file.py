"""`<store>.lock`: keeps a second controller out of a store, and knows what was acknowledged. I/O."""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path

from controller.errors import StoreError

_NOTED = re.compile(rb"process +(\d+)\nrevision +(\d+)\n")


class SideFile:
    """Locked until close or the end of the process. Raises StoreError where another process has it.

    acknowledged: the newest revision noted. It is noted after it is synced, and that is not synced itself: it may lag
    behind, it is never ahead.
    """

    def __init__(self, store: Path) -> None:
        self.path = Path(f"{store}.lock")
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._read()[0]
            os.close(self._file)
            raise StoreError(f"the store {store} is in use by another controller (process {holder or '?'})") from None
        except BaseException:
            os.close(self._file)
            raise
        self.acknowledged = self._read()[1]

    def _read(self) -> tuple[int, int]:
        """(process, revision), zeros where nothing was noted yet."""
        found = _NOTED.fullmatch(os.pread(self._file, 100, 0))
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def require(self, store: Path, revision: int) -> None:
        """Raise StoreError where a store at this revision has lost one that was acknowledged."""
        if revision < self.acknowledged:
            raise StoreError(
                f"the store {store} is at revision {revision}, but revision {self.acknowledged} was stored in it: "
                f"put the newer one back, or remove {self.path} to go on from revision {revision}"
            )

    def note(self, revision: int) -> None:
        with suppress(OSError):  # the revision is stored already; a number that lags behind only weakens a later check
            os.pwrite(self._file, b"process %10d\nrevision %20d\n" % (os.getpid(), revision), 0)

    def close(self) -> None:
        os.close(self._file)
