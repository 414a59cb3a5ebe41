"""What onestep promises beside its peers, as a check-list. These are aims; they do not decide the exit status."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from backends import BACKENDS

OURS = {"f32": "onestep-f32", "bf16": "onestep-bf16"}

RATIOS = (
    # network, batch, precision, peer (None: the fastest of that precision), at most
    ("cifar10", 16, "f32", None, 0.40),
    ("cifar10", 1, "f32", None, 0.45),
    ("cifar10", 16, "bf16", "openvino-bf16", 0.60),
    ("cifar10", 1, "bf16", "openvino-bf16", 0.60),
    ("celeba64", 1, "f32", None, 0.50),
    ("celeba64", 1, "bf16", None, 0.65),
    ("lsun256", 1, "f32", None, 0.50),
    ("lsun256", 1, "bf16", None, 0.65),
    ("imagenet64", 1, "f32", None, 0.55),
)
FLOP_GROWTH = 1.15
SCALING = 1.85


class Bar(NamedTuple):
    """One promise and what was found."""

    text: str
    found: float | None
    """None: not measured."""
    limit: float
    at_most: bool = True

    def __str__(self) -> str:
        if self.found is None:
            return f"----  {self.text}: not measured"
        met = self.found <= self.limit if self.at_most else self.found >= self.limit
        wanted = "at most" if self.at_most else "at least"
        return f"{'PASS' if met else 'FAIL'}  {self.text}: {self.found:.2f}, {wanted} {self.limit:.2f}"


def fastest_peer(row: dict, precision: str | None = None) -> str | None:
    """The peer of that precision, or of any, with the least median in a row of `speed`."""
    peers = [name for name in row if BACKENDS[name].is_peer and precision in (None, BACKENDS[name].precision)]
    return min(peers, key=lambda name: row[name]["median"], default=None)


def ratio(row: dict, ours: str, peer: str | None) -> float | None:
    """Our median over a peer's."""
    return row[ours]["median"] / row[peer]["median"] if ours in row and peer in row else None


def bars(results: dict) -> Iterator[Bar]:
    """Every bar with what was found."""
    speed = results["speed"]
    for network, batch, precision, peer, limit in RATIOS:
        row = speed.get(f"{network}/{batch}", {})
        against = peer or fastest_peer(row, precision)
        text = f"{network}, batch {batch}, {precision}: time over that of " + (
            BACKENDS[against].title if against else f"the fastest {precision} peer"
        )
        yield Bar(text, ratio(row, OURS[precision], against), limit)
    for precision, ours in OURS.items():
        yield Bar(f"{precision}: time per FLOP at 256 px over that at 32 px", growth(results, ours), FLOP_GROWTH)
    for precision, ours in OURS.items():
        speedup = results["scaling"].get("cifar10/16", {}).get(ours)
        yield Bar(f"cifar10, batch 16, {precision}: speed of two threads over one's", speedup, SCALING, at_most=False)
    for network, rows in results["cold"].items():
        peers = [row["seconds_after_start"] for name, row in rows.items() if BACKENDS[name].is_peer]
        first = over(rows.get("onestep-f32", {}).get("seconds"), min(peers, default=None))
        yield Bar(f"{network}: cold first image over the fastest peer's without Python's start", first, 1)
        low, ort = (rows.get(name, {}).get("peak_mib") for name in ("onestep-f32-low", "onnxruntime"))
        yield Bar(f"{network}: peak memory with memory=low over ONNX Runtime's", over(low, ort), 1)


def growth(results: dict, ours: str) -> float | None:
    """Time per FLOP of the largest images over that of the smallest."""
    each = []
    for network in ("lsun256", "cifar10"):
        median = results["speed"].get(f"{network}/1", {}).get(ours, {}).get("median")
        each.append(over(median, results["flops"].get(network)))
    return over(*each)


def over(a: float | None, b: float | None) -> float | None:
    """a / b, where both are known."""
    return None if a is None or b is None else a / b
