"""How long the controller's event loop was held, as `held` wrote it down. I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HELD_APP = Path(__file__).with_name("held.py")
HELD_S = 0.050


@dataclass(frozen=True, slots=True)
class Holds:
    """longest_s: with what else the machine did meanwhile; computing_s: of that, the controller's own computing."""

    longest_s: float
    computing_s: float
    seconds: float
    awake: bool
    """Whether the probe was running all the time: if not, the numbers say nothing."""

    @property
    def ok(self) -> bool:
        """What others took from the process is not its own doing."""
        return self.computing_s <= HELD_S and self.awake

    def __str__(self) -> str:
        said = f"at most {self.computing_s * 1000:.0f} ms by its own computing, "
        return f"{said}{self.longest_s * 1000:.0f} ms with what else the machine did"


def read_holds(path: Path, began: float, ended: float) -> Holds:
    """path: what TRIPOINT_HELD names. began, ended: on the clock of time.monotonic."""
    lines = [tuple(map(float, line.split())) for line in path.read_text().splitlines()]
    during = [(seconds, cpu_s) for end, seconds, cpu_s in lines if began < end < ended]
    awake = sum(1 for seconds, _ in during if seconds == 0) > (ended - began) / 4
    longest_s = max((seconds for seconds, _ in during), default=0.0)
    return Holds(longest_s, max((cpu_s for _, cpu_s in during), default=0.0), ended - began, awake)
