"""The picture of the results: against the batch, and against the image's side."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from backends import BACKENDS
from networks import NETWORKS

COLOURS = {"onestep": "#d62728", "ONNX": "#1f77b4", "OpenVINO": "#2ca02c", "PyTorch": "#ff7f0e"}
DASHES = {"f32": "-", "bf16": "--"}


def plot(results: dict, path: Path) -> None:
    """Writes a PNG: one line a backend, colours for libraries, dashes for bf16."""
    figure, (by_batch, by_side) = plt.subplots(1, 2, figsize=(11, 4.6), constrained_layout=True)
    for name, backend in BACKENDS.items():
        if backend.memory == "low":
            continue
        draw(by_batch, name, points(results, name, "cifar10"))
        draw(by_side, name, points(results, name, None))
    by_batch.set(xlabel="batch", ylabel="ms an image", title="CIFAR-10 U-Net, 32 px", ylim=(0, None))
    by_batch.set_xscale("log", base=2)
    by_side.set(xlabel="image side, px", title="batch 1", yscale="log")
    by_side.set_xscale("log", base=2)
    for axes in (by_batch, by_side):
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3, which="both")
    by_side.yaxis.set_major_formatter("{x:g}")
    by_side.legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def points(results: dict, name: str, network: str | None) -> list[tuple[int, float]]:
    """(batch, ms) of a network, or (side, ms) of every network at batch 1."""
    found = []
    for key, row in results["speed"].items():
        of, batch = key.split("/")
        if name in row and network == of:
            found.append((int(batch), row[name]["median"]))
        elif name in row and network is None and batch == "1":
            found.append((NETWORKS[of].side, row[name]["median"]))
    return sorted(found)


def draw(axes: plt.Axes, name: str, points: list[tuple[int, float]]) -> None:
    """One backend's line."""
    if not points:
        return
    backend = BACKENDS[name]
    colour = next(colour for library, colour in COLOURS.items() if backend.title.startswith(library))
    style = {"linestyle": DASHES[backend.precision], "linewidth": 1.3 if backend.is_peer else 2.4}
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=colour, marker="o", markersize=4, label=backend.title, **style)
