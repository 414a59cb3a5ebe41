"""Makes folders/: one small network in the folders and files that people have, and what diffusers draws with each scheduler.

    pip install torch diffusers safetensors numpy scipy
    python tests/golden/folders.py

golden.safetensors: x [2, 3, 8, 8]; eps_500 of the network, of its average (eps_500.ema), and in half precision (eps_500.fp16); and of
each scheduler, DDIMScheduler.from_config of its configuration, 10 steps, eta 0 (ddim_10.NAME).
The Rust side is tests/library/folders.rs.
"""
import argparse
import copy
import json
import pathlib
import shutil

import diffusers
import torch
from diffusers import DDIMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file

here = pathlib.Path(__file__).parent / "folders"


def network(seed):
    torch.manual_seed(seed)
    net = UNet2DModel(
        sample_size=8, block_out_channels=(4, 4), layers_per_block=1, norm_num_groups=2, attention_head_dim=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return net.eval()


def legacy_views(state, path):
    """The format of before PyTorch 1.6, whose storages are parts of one: as `torch.save` wrote shared ones."""
    import io
    import pickle
    import struct

    flat = torch.cat([value.flatten() for value in state.values()])
    places, at = {}, 0
    for name, value in state.items():
        places[name] = at
        at += value.numel()

    class Storage:
        def __init__(self, name, value):
            self.id = ("storage", torch.FloatStorage, "0", "cpu", len(flat),
                       (f"{name}", places[name], value.numel()))

    class Tensor:
        def __init__(self, name, value):
            self.name, self.value = name, value

        def __reduce__(self):
            value = self.value
            arguments = (Storage(self.name, value), 0, tuple(value.shape), value.stride(), False, {})
            return torch._utils._rebuild_tensor_v2, arguments

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return value.id if isinstance(value, Storage) else None

    out = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}):
        pickle.dump(value, out, protocol=2)
    Pickler(out, protocol=2).dump({name: Tensor(name, value) for name, value in state.items()})
    pickle.dump(["0"], out, protocol=2)
    out.write(struct.pack("<q", len(flat)))
    out.write(flat.numpy().tobytes())
    path.write_bytes(out.getvalue())


def main():
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    net, average = network(0), network(1)
    net.save_pretrained(here / "net")
    ema = EMAModel(average.parameters(), decay=0.9999, model_cls=UNet2DModel, model_config=average.config)
    ema.save_pretrained(here / "ema")
    half = copy.deepcopy(net).half()
    half.save_pretrained(here / "fp16", variant="fp16")
    net.save_pretrained(here / "sharded", max_shard_size="12KB")
    for part in ("fp16", "sharded"):
        (here / part / "config.json").unlink()

    torch_files = here / "torch"
    torch_files.mkdir()
    state, other = net.state_dict(), average.state_dict()
    channels_last = {k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in state.items()}
    torch.save(channels_last, torch_files / "channels_last.bin")
    torch.save({f"module._orig_mod.{k}": v for k, v in state.items()}, torch_files / "wrapped.bin")
    optimizer = torch.optim.Adam(net.parameters())
    run = {"model": other, "ema": state, "opt": optimizer.state_dict(), "step": torch.tensor(7), "loss": 0.5,
           "args": argparse.Namespace(rate=1e-4, out=pathlib.PosixPath("runs"))}
    torch.save(run, torch_files / "run.pt")
    torch.save([other, optimizer.state_dict(), 3, 700, state], torch_files / "list.pth")
    legacy_views(state, torch_files / "views.bin")
    assert all(torch.equal(v, state[k]) for k, v in torch.load(torch_files / "views.bin").items())

    torch.manual_seed(2)
    x = torch.randn(2, 3, 8, 8)
    time = torch.full((2,), 500)
    golden = {"x": x}
    with torch.no_grad():
        golden["eps_500"] = net(x, time).sample
        golden["eps_500.ema"] = average(x, time).sample
        golden["eps_500.fp16"] = copy.deepcopy(half).float()(x, time).sample
        (here / "schedulers").mkdir()
        exact = copy.deepcopy(net).double()
        for name, scheduler in schedulers().items():
            (here / "schedulers" / f"{name}.json").write_text(scheduler.to_json_string())
            ddim = DDIMScheduler.from_config(json.loads(scheduler.to_json_string()))
            ddim.set_timesteps(10)
            # In f64: ten steps carry f32's own errors along.
            y = x.double()
            for t in ddim.timesteps:
                y = ddim.step(exact(y, t).sample, t, y, eta=0.0).prev_sample
            golden[f"ddim_10.{name}"] = y.float()
    save_file(golden, here / "golden.safetensors")
    assert len(list((here / "sharded").glob("*.safetensors"))) > 1


def schedulers():
    names = {
        "pndm": "PNDMScheduler", "lms": "LMSDiscreteScheduler", "euler": "EulerDiscreteScheduler",
        "ancestral": "EulerAncestralDiscreteScheduler", "heun": "HeunDiscreteScheduler",
        "dpm": "DPMSolverMultistepScheduler", "single": "DPMSolverSinglestepScheduler",
        "unipc": "UniPCMultistepScheduler", "deis": "DEISMultistepScheduler", "kdpm2": "KDPM2DiscreteScheduler",
        "lcm": "LCMScheduler",
    }
    # 200 timesteps leave an image some signal at the first; of 1000, an error there grows 157 times.
    made = {name: getattr(diffusers, of)(num_train_timesteps=200) for name, of in names.items()}
    made["zero_snr"] = DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")
    made["zero_snr_x0"] = DDIMScheduler(
        rescale_betas_zero_snr=True, prediction_type="sample", timestep_spacing="trailing", beta_schedule="scaled_linear")
    return made


main()
