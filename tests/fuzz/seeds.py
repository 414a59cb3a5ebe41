"""Writes the fuzzers' first seeds: `seeds.py ONESTEP` with the command's path; needs diffusers, PyTorch and NumPy."""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel

ONESTEP = str(Path(sys.argv[1]).resolve())
HERE = Path(__file__).resolve().parent
SEEDS = HERE / "seeds"


def seed(target: str, name: str, data: bytes) -> None:
    (SEEDS / target).mkdir(parents=True, exist_ok=True)
    (SEEDS / target / name).write_bytes(data)


def call(op: int, *rest: int, slot: int = 0, n: int = 0, err: int = 1) -> bytes:
    """A step of `bodies/calls.rs`: which handle, a number, whether there is an error struct, what is called, its own bytes."""
    return bytes([slot, 1, n, err, op, *rest])


torch.manual_seed(0)
network = UNet2DModel(
    sample_size=4, in_channels=1, out_channels=1, block_out_channels=(4,), layers_per_block=1, norm_num_groups=1,
    down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), add_attention=False,
)
with tempfile.TemporaryDirectory() as place:
    folder = Path(place) / "tiny"
    network.save_pretrained(folder / "unet")
    DDIMScheduler().save_pretrained(folder / "scheduler")
    parts = ("scheduler/scheduler_config.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors")
    seed("diffusers", "tiny", b"\0".join((folder / part).read_bytes() for part in parts))
    native = Path(place) / "tiny.safetensors"
    subprocess.run([ONESTEP, "import", folder, native, "--role", "teacher", "--quiet"], check=True)
    seed("native", "tiny", native.read_bytes())
    pairs = Path(place) / "pairs"
    subprocess.run([ONESTEP, "pairs", "--teacher", native, "--count", "3", "--steps", "2", "--out", pairs, "--quiet"], check=True)
    seed("pairs", "three", b"\0".join((pairs / part).read_bytes() for part in ("manifest.json", "pairs-00000.safetensors")))
for name, zipped in (("zip", True), ("legacy", False)):
    file = io.BytesIO()
    torch.save(network.state_dict(), file, _use_new_zipfile_serialization=zipped)
    seed("pth", name, file.getvalue())
statistics = io.BytesIO()
np.savez(statistics, mu=np.zeros(3), sigma=np.eye(3))
seed("npz", "statistics", statistics.getvalue())
images = io.BytesIO()
np.savez_compressed(images, arr_0=np.arange(2 * 3 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 3))
seed("npz", "images", images.getvalue())
array = io.BytesIO()
np.save(array, np.zeros((1, 3, 2, 2), np.float32))
seed("npz", "array", array.getvalue())
for file in (HERE.parent / "golden" / "pictures").rglob("*"):
    if file.suffix in (".png", ".jpg", ".webp"):
        seed("images", file.name, file.read_bytes())
for file in (HERE.parent / "golden" / "hostile").glob("*.h5"):
    if file.stat().st_size < 4096:
        seed("h5", file.name, file.read_bytes())

ready = call(0) + call(5, 0) + call(8, 0, 0) + call(10) + call(11, 0, n=2) + call(12, 0, n=2)
tight = bytes([1]) + bytes([0]) * 2 + bytes([0, 0]) * 3 + bytes([0]) + bytes([0, 2])
seed("calls", "sample", ready + call(19, *tight, 0, 0, 2, 15, n=2) + call(23, 0, 0, 1, 2, 0, 0))
seed("calls", "predict", ready + call(20, 1, 1, 2, 12, 0, n=1) + call(21, 2, 12, 0, n=2) + call(22, 0, 1, 1, 9, 2, 12, n=3))
seed("calls", "cancel", ready + call(16, 0) + call(17, 0) + call(19, *tight, 0, 0, 2, 15, n=2) + call(18, 0) + call(7) + call(9))
