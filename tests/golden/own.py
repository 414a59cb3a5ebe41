"""What diffusers' UNet2DModel has no word for (`OWN` in src/weights/describe/network.rs), patched into one; and what the
learned variance of Nichol & Dhariwal 2021 does in ancestral sampling. For networks.py and gradients.py.
"""
import json
import os

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.utils import torch_utils
from safetensors.torch import load_file
import diffusers.schedulers.scheduling_ddpm as scheduling_ddpm

OWN = ("class_embed_use", "norm_min_channels", "num_attention_heads", "output_scale_factor", "resample_projection",
       "time_proj_channels", "up_attention")


class Nothing(torch.nn.Module):
    def forward(self, x, *_, **__):
        return x


class WithClasses(torch.nn.Module):
    """The sinusoid, plus the label's row of a table."""

    def __init__(self, sinusoid, classes, width):
        super().__init__()
        self.sinusoid, self.table, self.labels = sinusoid, torch.nn.Embedding(classes, width), None

    def forward(self, t):
        return self.sinusoid(t) + self.table(self.labels)


def patched(net, own):
    """`net`, changed in its place to what the words say."""
    width = own.get("time_proj_channels", net.config.block_out_channels[0])
    if "time_proj_channels" in own:
        net.time_proj.num_channels = width
        net.time_embedding.linear_1 = torch.nn.Linear(width, net.config.time_embedding_dim)
    if own.get("class_embed_use") == "sinusoid":
        net.time_proj = WithClasses(net.time_proj, own["num_class_embeds"], width)
    factor = own.get("output_scale_factor", 1)
    blocks = list(net.down_blocks) + list(net.up_blocks)
    for block in blocks:
        for resnet in block.resnets:
            resnet.output_scale_factor = factor
        for attention in getattr(block, "attentions", None) or []:
            attention.rescale_output_factor = factor
        ends = list(getattr(block, "downsamplers", None) or []) + list(getattr(block, "upsamplers", None) or [])
        for resnet in ends:
            if isinstance(resnet, ResnetBlock2D):
                resnet.output_scale_factor = factor
                if own.get("resample_projection"):
                    resnet.conv_shortcut = torch.nn.Conv2d(resnet.in_channels, resnet.out_channels, 1)
    if own.get("up_attention") == "last":
        for block in net.up_blocks:
            for i in range(len(getattr(block, "attentions", None) or []) - 1):
                block.attentions[i] = Nothing()
    for module in net.modules():
        if isinstance(module, torch.nn.GroupNorm) and "norm_min_channels" in own:
            most = own.get("norm_num_groups", module.num_groups)
            module.num_groups = min(most, module.num_channels // own["norm_min_channels"])
        if hasattr(module, "to_q") and "num_attention_heads" in own:
            module.heads = own["num_attention_heads"]
            module.scale = (module.inner_dim // module.heads) ** -0.5
    saved = net.state_dict
    net.state_dict = lambda *a, **k: {name_of(name): value for name, value in saved(*a, **k).items()}
    return net


def load(folder):
    """A folder's network, as networks.py left it."""
    config = json.load(open(os.path.join(folder, "config.json")))
    words = {key: config.pop(key) for key in OWN if key in config}
    if "norm_min_channels" in words:
        words["norm_num_groups"], config["norm_num_groups"] = config["norm_num_groups"], 1
    sinusoid = words.get("class_embed_use") == "sinusoid"
    if sinusoid:
        words["num_class_embeds"] = config.pop("num_class_embeds")
    net = patched(UNet2DModel.from_config(config), words)
    state = load_file(os.path.join(folder, "diffusion_pytorch_model.safetensors"))
    inside = lambda name: name.replace("class_embedding.", "time_proj.table.") if sinusoid else name
    net.load_state_dict({inside(name): value for name, value in state.items()})
    return net


def name_of(parameter):
    return parameter.replace("time_proj.table.", "class_embedding.")


def call(net, x, t, labels):
    """The raw output."""
    if isinstance(net.time_proj, WithClasses):
        net.time_proj.labels = labels
        labels = None
    return net(x, t, class_labels=labels).sample


def noise(seed, stream, count):
    """The library's own normals: Philox4x32-10 (Salmon et al. 2011), Box and Muller's transform."""
    block = np.arange((count + 3) // 4, dtype=np.uint64)
    c = [block, np.full_like(block, stream), np.zeros_like(block), np.zeros_like(block)]
    key, low = [seed & 0xFFFFFFFF, seed >> 32], np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(q >> np.uint64(32)) ^ c[1] ^ np.uint64(key[0]), q & low,
             (p >> np.uint64(32)) ^ c[3] ^ np.uint64(key[1]), p & low]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    u = [((word >> np.uint64(9)).astype(np.float64) + 0.5) / 2**23 for word in c]
    z = np.empty((len(block), 4))
    for i in (0, 2):
        radius = np.sqrt(-2 * np.log(u[i]))
        z[:, i], z[:, i + 1] = radius * np.cos(2 * np.pi * u[i + 1]), radius * np.sin(2 * np.pi * u[i + 1])
    return torch.from_numpy(z.reshape(-1)[:count].astype(np.float32))


def ddpm(net, scheduler, shape, told, steps):
    """Ancestral sampling of seeds 3 and 4: step k's fresh noise is stream k of each."""
    sched = DDPMScheduler(**scheduler, variance_type="learned_range")
    sched.set_timesteps(steps)
    drawn = lambda stream: torch.stack([noise(seed, stream, shape[1:].numel()) for seed in (3, 4)]).reshape(shape)
    y = drawn(0)
    for k, t in enumerate(sched.timesteps, 1):
        scheduling_ddpm.randn_tensor = lambda *_, **__: drawn(k)
        y = sched.step(call(net, y, t * told, None), t, y).prev_sample
    scheduling_ddpm.randn_tensor = torch_utils.randn_tensor
    return y
