"""How far each backend's prediction is from PyTorch's in f32, whatever the speed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

import networks
from backends import BACKENDS, Setting
from speed import make_all

TIMESTEPS = (999, 321)
RMS_LIMIT = {"f32": 2e-5, "bf16": 2e-2}
BYTES_LIMIT = 1e-3
"""Largest share of an 8-bit image that f32 may get wrong, and by one step alone."""


def agreement(names: Iterable[str], setting: Setting) -> dict[str, dict]:
    """Relative RMS (the worse timestep's) of each backend, and what becomes of the bytes of x_0 = x - eps at 999."""
    setting = replace(setting, batch=2 if setting.side <= 32 else 1)
    x = np.random.default_rng(1).standard_normal((setting.batch, 3, setting.side, setting.side), np.float32)
    timesteps = [np.full(setting.batch, timestep) for timestep in TIMESTEPS]
    expected = reference(setting, x, timesteps)
    results = {}
    for name in names:
        for backend in make_all([name], setting).values():
            found = [backend.predict(x, timestep).copy() for timestep in timesteps]
            backend.close()
            off = np.abs(to_bytes(x - found[0]) - to_bytes(x - expected[0]))
            results[name] = {
                "relative_rms": max(map(relative_rms, found, expected)),
                "bytes_off": float((off > 0).mean()),
                "most_off": int(off.max()),
            }
    return results


def reference(setting: Setting, x: np.ndarray, timesteps: list[np.ndarray]) -> list[np.ndarray]:
    """What PyTorch computes in f32 with its default layout."""
    torch.set_num_threads(setting.threads)
    unet = networks.load(setting.folder)
    with torch.inference_mode():
        return [networks.predict(unet, torch.from_numpy(x), torch.from_numpy(t)).numpy() for t in timesteps]


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    """RMS of the difference over RMS of what is expected."""
    difference = found.astype(np.float64) - expected
    return float(np.sqrt(np.square(difference).sum() / np.square(expected.astype(np.float64)).sum()))


def to_bytes(x: np.ndarray) -> np.ndarray:
    """[-1, 1] to 0 to 255, as an image is written."""
    return np.clip(np.round(127.5 * (x + 1)), 0, 255).astype(int)


def violations(results: dict[str, dict]) -> list[str]:
    """What onestep got wrong, in words."""
    wrong = []
    for name, result in results.items():
        backend = BACKENDS[name]
        if backend.is_peer:
            continue
        limit = RMS_LIMIT[backend.precision]
        if not result["relative_rms"] <= limit:
            wrong.append(f"{backend.title}: relative RMS {result['relative_rms']:.2e}, at most {limit:.0e}")
        if backend.precision == "f32" and not (result["bytes_off"] <= BYTES_LIMIT and result["most_off"] <= 1):
            wrong.append(f"{backend.title}: {result['bytes_off']:.3%} of the bytes off, by up to {result['most_off']}")
    return wrong
