"""A second Ryu app beside the controller's: how long its event loop is held. Only for measuring.

Asks to be woken after a millisecond, over and over. What it waits beyond that was time in which the loop served nobody:
no echo was answered, no request read. Each time beyond NOTED_S is a line `END SECONDS CPU_SECONDS` in the file that
TRIPOINT_HELD names, END on the clock of time.monotonic, CPU_SECONDS what all threads of the process used meanwhile
(less than SECONDS where the machine had no processor for it); a line `END 0 0` a second says that it is awake.
"""

from __future__ import annotations

import os
import time
from typing import Any

from ryu.base import app_manager
from ryu.lib import hub

NOTED_S = 0.010


class Held(app_manager.RyuApp):
    """Nothing but the probe."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        hub.spawn(self._watch)

    def _watch(self) -> None:
        with open(os.environ["TRIPOINT_HELD"], "a", buffering=1) as out:
            told = before = time.monotonic()
            cpu_before = time.process_time()
            while True:
                hub.sleep(0.001)
                now, cpu = time.monotonic(), time.process_time()
                if now - before > NOTED_S:
                    out.write(f"{now:.6f} {now - before:.6f} {cpu - cpu_before:.6f}\n")
                if now - told > 1:
                    told = now
                    out.write(f"{now:.6f} 0 0\n")
                before, cpu_before = time.monotonic(), time.process_time()
