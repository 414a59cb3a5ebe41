"""A tiny consistency model with random weights, and what diffusers computes from it: `python consistency.py` (torch, diffusers
0.42, safetensors). Writes consistency/tiny/ beside this file, as ConsistencyModelPipeline saves it.

golden.safetensors holds, f32 NCHW: x, unit noise (the pipeline begins with 80 x); class_labels (i64); raw_I, the network's
raw output at noise level I for c_in sigma x; onestep, one step, and onestep_noclip, without the clamp; multi, the steps at the
levels that the metadata names, with z_1, z_2, ... as fresh noise.
"""
import os, torch
import diffusers.schedulers.scheduling_consistency_models as scheduling
from diffusers import CMStochasticIterativeScheduler, ConsistencyModelPipeline, UNet2DModel
from safetensors.torch import save_file

LEVELS, MULTI = 40, [0, 13, 22]
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "consistency", "tiny")
torch.manual_seed(20)
net = UNet2DModel(
    sample_size=(8, 4), in_channels=3, out_channels=3, block_out_channels=(8, 16), layers_per_block=1,
    norm_num_groups=4, attn_norm_num_groups=4, attention_head_dim=8, resnet_time_scale_shift="scale_shift",
    num_class_embeds=3, downsample_type="resnet", upsample_type="resnet",
    down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D")).eval()
with torch.no_grad():  # norms and biases begin at 1 and 0: make every parameter count
    for p in net.parameters():
        if p.ndim == 1:
            p.add_(0.2 * torch.randn_like(p))
ConsistencyModelPipeline(net, CMStochasticIterativeScheduler(num_train_timesteps=LEVELS)).save_pretrained(folder)
x = torch.randn(2, 3, 8, 4)
labels = torch.tensor([0, 2])
golden = {"x": x, "class_labels": labels}
zs = [torch.randn_like(x) for _ in MULTI]


def run(levels, clip, fresh):
    scheduler = CMStochasticIterativeScheduler(num_train_timesteps=LEVELS, clip_denoised=clip)
    scheduler.set_timesteps(timesteps=sorted(levels, reverse=True))
    draws = iter(fresh)
    scheduling.randn_tensor = lambda *_, **__: next(draws)
    y = x * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        y = scheduler.step(net(scheduler.scale_model_input(y, t), t, class_labels=labels).sample, t, y).prev_sample
    return y


with torch.no_grad():
    scheduler = CMStochasticIterativeScheduler(num_train_timesteps=LEVELS)
    scheduler.set_timesteps(LEVELS)
    for level in (0, 25, LEVELS - 1):
        sigma = scheduler.sigmas[level]
        scaled = sigma * x / (sigma**2 + 0.25) ** 0.5
        golden[f"raw_{level}"] = net(scaled, scheduler.timesteps[level], class_labels=labels).sample
    golden["onestep"], golden["onestep_noclip"] = run([0], True, []), run([0], False, [])
    golden["multi"] = run(MULTI, True, zs)
golden |= {f"z_{i + 1}": z for i, z in enumerate(zs[:-1])}
save_file({k: v.contiguous() for k, v in golden.items()}, os.path.join(folder, "golden.safetensors"),
          metadata={"multi": str(MULTI)})
print(sum(p.numel() for p in net.parameters()))
