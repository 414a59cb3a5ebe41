"""Times backends in turn, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

LEAST_ROUNDS = 5
STEP = 0.01
"""Seconds between looks at the processor time while waiting for silence."""


def wait_for_silence() -> None:
    """Sleeps until no thread of this process runs.

    Idle workers spin for a while before they sleep: PyTorch's OpenMP for some 5 ms after a call, ONNX Runtime's own
    pool for some 40 ms. They would take a core from whoever is measured next.
    """
    silent, before = 0, time.process_time()
    for _ in range(200):
        time.sleep(STEP)
        now = time.process_time()
        silent = silent + 1 if now - before < 0.05 * STEP else 0
        if silent == 2:
            return
        before = now


def time_in_turn(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each call: one call of each a round, in rotating order, for about `seconds`; one to warm up each."""
    names = list(calls)
    for name in names:
        calls[name]()
    times: dict[str, list[float]] = {name: [] for name in names}
    start, rounds = time.perf_counter(), 0
    while rounds < LEAST_ROUNDS or time.perf_counter() - start < seconds:
        turn = rounds % len(names)
        for name in names[turn:] + names[:turn]:
            wait_for_silence()
            before = time.perf_counter()
            calls[name]()
            times[name].append(time.perf_counter() - before)
        rounds += 1
    return times


def summary(seconds: list[float], images: int) -> dict[str, float]:
    """Median, quartiles and least of calls of `images` images: milliseconds an image."""
    each = [1e3 * value / images for value in seconds]
    lower, median, upper = statistics.quantiles(each, n=4, method="inclusive")
    return {"median": median, "lower": lower, "upper": upper, "min": min(each), "rounds": len(each)}
