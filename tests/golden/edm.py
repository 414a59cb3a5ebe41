"""A tiny network with random weights as an EDM model (Karras et al. 2022): `python edm.py` (torch, diffusers 0.42, safetensors).
Writes edm/tiny/ beside this file: unet/, scheduler/ (diffusers' EDMEulerScheduler), golden.safetensors.

f32 NCHW: x, unit noise; euler_6, what that scheduler draws from 80 x in six steps; heun_6, the paper's algorithm 1 without churn,
over the same levels, its state in f64.
"""
import os, torch
from diffusers import EDMEulerScheduler, UNet2DModel
from safetensors.torch import save_file

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "edm", "tiny")
torch.manual_seed(21)
net = UNet2DModel(
    sample_size=(4, 8), in_channels=2, out_channels=2, block_out_channels=(8, 12), layers_per_block=1,
    norm_num_groups=4, attention_head_dim=None, resnet_time_scale_shift="scale_shift", attn_norm_num_groups=4,
    downsample_type="resnet", upsample_type="resnet",
    down_block_types=("AttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "AttnUpBlock2D")).eval()
with torch.no_grad():
    for p in net.parameters():
        if p.ndim == 1:
            p.add_(0.2 * torch.randn_like(p))
scheduler = EDMEulerScheduler()
net.save_pretrained(os.path.join(folder, "unet"))
scheduler.save_pretrained(os.path.join(folder, "scheduler"))
x = torch.randn(2, 2, 4, 8)
golden = {"x": x}


def denoised(y, sigma):
    scale = 1 / (sigma**2 + 0.25) ** 0.5
    raw = net((scale * y).float(), torch.log(sigma).float() / 4).sample.double()
    return 0.25 / (sigma**2 + 0.25) * y + 0.5 * sigma * scale * raw


with torch.no_grad():
    scheduler.set_timesteps(6)
    y = scheduler.sigmas[0] * x
    for t in scheduler.timesteps:
        y = scheduler.step(net(scheduler.scale_model_input(y, t), t).sample, t, y).prev_sample
    golden["euler_6"] = y
    ramp = torch.arange(6, dtype=torch.float64) / 5
    sigmas = (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    sigmas = torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)])
    y = sigmas[0] * x.double()
    for sigma, after in zip(sigmas[:-1], sigmas[1:]):
        slope = (y - denoised(y, sigma)) / sigma
        there = y + (after - sigma) * slope
        if after > 0:
            slope = (slope + (there - denoised(there, after)) / after) / 2
            there = y + (after - sigma) * slope
        y = there
    golden["heun_6"] = y.float()
save_file({k: v.contiguous() for k, v in golden.items()}, os.path.join(folder, "golden.safetensors"))
print(sum(p.numel() for p in net.parameters()), {k: round(float(v.std()), 3) for k, v in golden.items()})
