"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from backends import BACKENDS
from bars import OURS, fastest_peer, ratio

DISTURBED = 0.03
"""Share of the processor that others may take before it is said."""


def report(results: dict) -> Iterator[str]:
    """Every table there is something for."""
    yield from machine(results["machine"])
    if results["speed"]:
        yield from speed(results)
    if results["agreement"]:
        yield from agreement(results["agreement"])
    if results["cold"]:
        yield from cold(results["cold"])


def machine(about: dict) -> Iterator[str]:
    """Two lines on where this was measured."""
    yield f"{about['processor']}, {about['cores']} cores, {about['threads']} threads; {' '.join(about['features'])}"
    if about["seen"] != "all":
        yield f"of these, seen: {about['seen']}"
    yield ", ".join(f"{package} {number}" for package, number in about["versions"].items())
    yield about["onestep"]


def table(columns: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A Markdown table with numbers to the right."""
    yield "| " + " | ".join(columns) + " |"
    yield "|---" + "|--:" * (len(columns) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def number(value: float | None, form: str) -> str:
    """A number, or nothing."""
    return "" if value is None else format(value, form)


def in_order(names: set[str]) -> list[str]:
    """Backends as `BACKENDS` has them."""
    return [name for name in BACKENDS if name in names]


def speed(results: dict) -> Iterator[str]:
    """Milliseconds an image, and how onestep's compare with the fastest peer of the same precision."""
    settings = results["speed"]
    rows = []
    for name in in_order({name for row in settings.values() for name in row}):
        values = [row.get(name, {}).get("median") for row in settings.values()]
        rows.append([BACKENDS[name].title, *(number(value, ".1f") for value in values)])
    for precision, ours in OURS.items():
        for kind in (precision, None):
            ratios = [ratio(row, ours, fastest_peer(row, kind)) for row in settings.values()]
            if any(ratios):
                title = f"{BACKENDS[ours].title} / fastest {f'{kind} peer' if kind else 'peer of any precision'}"
                rows.append([title, *(number(value, ".2f") for value in ratios)])
    yield "\n## Milliseconds an image, warm (medians)\n"
    yield from table(["", *(key.replace("/", ", batch ") for key in settings)], rows)
    for key, share in results["others"].items():
        if share > DISTURBED:
            yield f"{key.replace('/', ', batch ')}: DISTURBED, other processes took {share:.0%} of the processor"
    for network, flops in results["flops"].items():
        yield f"{network}: {flops / 1e9:.1f} GFLOP an image"
    for key, row in results["scaling"].items():
        for name, speedup in row.items():
            title = BACKENDS[name].title
            yield f"{key.replace('/', ', batch ')}: {title}: two threads {speedup:.2f} times as fast as one"


def agreement(results: dict) -> Iterator[str]:
    """Distance from PyTorch f32."""
    columns = [""]
    for network in results:
        columns += [f"{network}: relative RMS", "bytes off", "by up to"]
    rows = []
    for name in in_order({name for row in results.values() for name in row}):
        row = [BACKENDS[name].title]
        for values in (values.get(name, {}) for values in results.values()):
            row += [number(values.get("relative_rms"), ".1e"), number(values.get("bytes_off"), ".3%")]
            row.append(number(values.get("most_off"), "d"))
        rows.append(row)
    yield "\n## Against PyTorch f32, default layout\n"
    yield from table(columns, rows)


def cold(results: dict) -> Iterator[str]:
    """Fresh processes."""
    columns = [""]
    for network in results:
        columns += [f"{network}: s", "without Python's start", "peak MiB"]
    rows = []
    for name in in_order({name for row in results.values() for name in row}):
        row = [BACKENDS[name].title]
        for values in (values.get(name, {}) for values in results.values()):
            row += [number(values.get(key), ".2f") for key in ("seconds", "seconds_after_start")]
            row.append(number(values.get("peak_mib"), ".0f"))
        rows.append(row)
    yield "\n## A fresh process's first image, batch 1\n"
    yield from table(columns, rows)
