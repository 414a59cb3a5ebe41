"""How much of the processor others took while something was measured: what spoils a result, and says so."""

from __future__ import annotations

import os
import time
from pathlib import Path

IDLE = (3, 4)
"""Columns of /proc/stat that are no work: idle, and waiting for input."""


class Neighbours:
    """`with Neighbours() as neighbours: ...`, then `neighbours.share`: of all cores' time, 0 to 1."""

    share = 0.0

    def __enter__(self) -> Neighbours:
        self.before = (*processor_seconds(), time.process_time())
        return self

    def __exit__(self, *_: object) -> None:
        busy, total, own = (
            now - before for now, before in zip((*processor_seconds(), time.process_time()), self.before, strict=True)
        )
        self.share = max(0.0, busy - own) / total if total else 0.0


def processor_seconds() -> tuple[float, float]:
    """Seconds that all cores together worked, for whomever, stolen ones among them; and those that passed."""
    line = Path("/proc/stat").read_text().splitlines()[0]
    ticks = [int(value) for value in line.split()[1:9]]
    total = sum(ticks)
    busy = total - sum(ticks[column] for column in IDLE)
    hertz = os.sysconf("SC_CLK_TCK")
    return busy / hertz, total / hertz
