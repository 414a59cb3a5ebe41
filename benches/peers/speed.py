"""Milliseconds an image of a warm session."""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from backends import BACKENDS, Setting
from onestep import Absent
from timing import summary, time_in_turn


def make_all(names: Iterable[str], setting: Setting) -> dict:
    """A backend each, without those that this build of onestep lacks."""
    made = {}
    for name in names:
        try:
            made[name] = BACKENDS[name].make(setting)
        except Absent as absent:
            say_absent(name, str(absent))
    return made


@functools.cache
def say_absent(name: str, why: str) -> None:
    """Once, whatever asks."""
    print(f"absent: {BACKENDS[name].title}: {why}", flush=True)


def time_all(made: Mapping, setting: Setting, seconds: float) -> dict[str, dict]:
    """Times what was made, and frees it."""
    x = np.random.default_rng(0).standard_normal((setting.batch, 3, setting.side, setting.side), np.float32)
    timesteps = np.full(setting.batch, 999)
    calls = {name: lambda backend=backend: backend.predict(x, timesteps) for name, backend in made.items()}
    times = time_in_turn(calls, seconds)
    for backend in made.values():
        backend.close()
    gc.collect()
    return {name: summary(values, setting.batch) for name, values in times.items()}


def speed(names: Iterable[str], setting: Setting, seconds: float) -> dict[str, dict]:
    """Every backend at one setting."""
    return time_all(make_all(names, setting), setting, seconds)


def scaling(names: Iterable[str], setting: Setting, seconds: float) -> dict[str, float]:
    """How many times faster two threads of onestep are than one."""
    ours = [name for name in names if not BACKENDS[name].is_peer]
    made = {
        (name, threads): backend
        for threads in (1, 2)
        for name, backend in make_all(ours, replace(setting, threads=threads)).items()
    }
    times = time_all(made, setting, seconds)
    return {name: times[name, 1]["median"] / times[name, 2]["median"] for name, threads in times if threads == 1}
