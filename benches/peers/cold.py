"""From the start of a fresh process to its first image, and the most memory it held.

Peers run as they mostly are, from Python: `python cold.py BACKEND FOLDER SIDE THREADS` is such a process. onestep runs
from the C program beside this file. Imports for either role are kept apart, so that a process that measures one
library loads no other.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from backends import BACKENDS, Setting

HERE = Path(__file__).resolve().parent
RUNS = 5
ABSENT = 77


def cold(names: Iterable[str], setting: Setting, build: Path) -> dict[str, dict]:
    """Medians over fresh processes in turn, with the files in the page cache: one round before those that count.

    `seconds` is all of it, and `seconds_after_start` without what Python itself needs to start (onestep's has none).
    """
    program = compile_program(setting.library, build)
    measured: dict[str, list] = {"python": [], **{name: [] for name in names}}
    for _ in range(1 + RUNS):
        for name in list(measured):
            result = first_image(command(name, setting, program))
            if result is None:
                del measured[name]
            else:
                measured[name].append(result)
    python = statistics.median(seconds for seconds, _ in measured.pop("python")[1:])
    results = {}
    for name, runs in measured.items():
        seconds = statistics.median(seconds for seconds, _ in runs[1:])
        results[name] = {
            "seconds": seconds,
            "seconds_after_start": seconds - (python if BACKENDS[name].is_peer else 0),
            "peak_mib": statistics.median(kib for _, kib in runs[1:]) / 1024,
        }
    return results


def command(name: str, setting: Setting, program: Path) -> list[str]:
    """What to run for a backend; "python" is an interpreter that does nothing."""
    if name == "python":
        return [sys.executable, "-c", "print(0, 0)"]
    backend, threads = BACKENDS[name], str(setting.threads)
    if backend.is_peer:
        return [sys.executable, str(Path(__file__)), name, str(setting.folder), str(setting.side), threads]
    return [str(program), str(setting.folder / "diffusers"), threads, backend.precision, backend.memory]


def first_image(command: list[str]) -> tuple[float, int] | None:
    """Seconds until the process says that it has an image, and its peak in KiB; None where it is absent.

    The process itself tells its peak: what wait4 tells counts what its parent held when it forked.
    """
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
        _, stderr = process.communicate()
    if process.returncode == ABSENT:
        return None
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {stderr}")
    return seconds, int(line.split()[0])


def compile_program(library: Path, build: Path) -> Path:
    """`cold.c`, linked to the library where it lies."""
    program = build / "cold"
    include = HERE.parents[1] / "include"
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", f"-I{include}"]
    subprocess.run(["cc", *flags, HERE / "cold.c", library, f"-Wl,-rpath,{library.parent}", "-o", program], check=True)
    return program


def main() -> None:
    """The fresh process: one prediction by one peer."""
    name, folder, side, threads = sys.argv[1:]
    import numpy as np

    setting = Setting(Path(folder), int(side), 1, int(threads))
    backend = BACKENDS[name].make(setting)
    x = np.random.default_rng(0).standard_normal((1, 3, setting.side, setting.side), np.float32)
    eps = backend.predict(x, np.array([999]))
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    print(peak, eps.sum(), flush=True)


if __name__ == "__main__":
    main()
