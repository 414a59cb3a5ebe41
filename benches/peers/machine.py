"""What a result depends on beside the code: processor and versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from lowered import seen

FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_tile")
PACKAGES = ("onnxruntime", "openvino", "torch", "diffusers", "numpy")


def describe(build_info: str) -> dict:
    """Processor, usable cores, features that matter here, versions."""
    fields = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = fields.get("flags", "").split()
    family = "/".join(fields.get(key, "?") for key in ("cpu family", "model", "stepping"))
    return {
        "processor": f"{fields.get('model name', platform.machine())} ({fields.get('vendor_id', '?')} {family})",
        "seen": seen(),
        "cores": len(os.sched_getaffinity(0)),
        "features": [feature for feature in FEATURES if feature in flags],
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "onestep": build_info,
    }
