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
seed("settings", "teacher", b"""size = 8
channels = 1
classes = true
widths = [4, 8]
attention = [4]
groups = 4
batch = 4
accumulate = 2
prediction = "v_prediction"
schedule = "squaredcos_cap_v2"
dropout = 0.1
drop_labels = 0.1
test = 0
""")
seed("settings", "distill", b"steps = 10\nbatch = 8\n")
seed("scheduler", "ddim", b"""{"_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
"clip_sample": true, "prediction_type": "epsilon", "set_alpha_to_one": true, "steps_offset": 0, "thresholding": false,
"timestep_spacing": "leading", "rescale_betas_zero_snr": false, "trained_betas": null}""")
seed("scheduler", "betas", b"""{"_class_name": "DDPMScheduler", "num_train_timesteps": 4, "trained_betas": [0.1, 0.2, 0.3, 0.4], "variance_type": "fixed_small", "prediction_type": "sample"}""")
seed("scheduler", "infinity", b"""{"_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear", "lower_order_final": true, "lambda_min_clipped": -Infinity, "rescale_betas_zero_snr": true, "use_karras_sigmas": false}""")
seed("run", "settings", b"""{"batch": 4, "steps": 10}\0step,loss,test_loss,rate,gradient_norm,images_per_second,score
1,0.5,,1e-3,2.0,10.0,
3,0.25,0.5,1e-3,nan,inf,1
4,x
\0""")
# Words of `layouts`: a number stands for (1, number, 0).
none = (0, 0, 0)
for name, words in {
    "tight": [2, 3, 4, 5, none, 0, none, none, none],
    "side_by_side": [3, 3, 4, 4, 1, 3, 48, none, 16],
    "planes": [2, 4, 3, 5, 2, 0, 24, 96, (2, 144, 1)],
    "huge": [(3, 63, 1), 1, (3, 40, 0), (3, 62, 2), none, 2, (3, 63, 0), none, (3, 63, 9)],
    "sheet": [5, 3, 2, 2, 1, 2, none, none, none, 2, none],
    "turned_sheet": [5, 1, 5, 7, none, 2, 21, none, 105, 2, (2, 59, 1)],
}.items():
    seed("layouts", name, b"".join(bytes(word if isinstance(word, tuple) else (1, word, 0)) for word in words))
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
