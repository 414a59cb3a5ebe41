"""A run on less than the processor has: `--isa avx2`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# What puts those of the libraries on AVX2 that can be told so.
AVX2 = {"ONESTEP_ISA": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
# Set in the processes that are lowered: how.
LOWERED = "ONESTEP_PEERS_ISA"


def start_lowered(work: Path) -> None:
    """Starts this program anew, and all that it starts, on AVX2 alone; does nothing in one that was."""
    if LOWERED in os.environ:
        return
    environment = os.environ | AVX2
    work.mkdir(parents=True, exist_ok=True)
    shim = (work / "libavx2.so").resolve()
    source = Path(__file__).with_name("avx2.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", str(source), "-o", str(shim)], check=True)
    masked = environment | {"LD_PRELOAD": str(shim)}
    if subprocess.run(["true"], env=masked, stderr=subprocess.DEVNULL).returncode == 0:
        environment = masked | {LOWERED: "AVX2 alone, by CPUID"}
    else:
        environment[LOWERED] = "AVX2 alone by environment variables, which ONNX Runtime has none of: it runs on all there is"
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def seen() -> str:
    """What the processes see of the processor."""
    return os.environ.get(LOWERED, "all")
