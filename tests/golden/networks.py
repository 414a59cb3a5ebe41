"""Tiny diffusers networks with random weights, and what diffusers computes from them: `python networks.py`
(torch, diffusers 0.42, safetensors), or `python networks.py NAME...`. Writes diffusers/NAME/ beside this file.

Each golden.safetensors holds, f32 NCHW: x; class_labels (i64, conditional networks); eps_T, the raw output at
timestep T (the first half of it, where there are two); ddim_K, x_0 after K steps at eta 0 of the folder's own scheduler;
student = x - eps of the last timestep; ddpm_5, ancestral sampling with a learned variance, from the noise of seeds 3 and 4.
"""
import json, math, os, sys, torch
from diffusers import UNet2DModel, DDIMScheduler, DDIMPipeline
from safetensors.torch import save_file
import own

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = {
    # DDPM's own shape: asymmetric padding, one head, null attention_head_dim.
    "ddpm": (
        dict(sample_size=8, in_channels=3, out_channels=3, block_out_channels=(8, 16), layers_per_block=2,
             norm_num_groups=4, attention_head_dim=None, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
             norm_eps=1e-6, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
             up_block_types=("AttnUpBlock2D", "UpBlock2D")),
        dict(clip_sample=False), [10]),
    # Every key away from its default, and an image that is no square.
    "uncommon": (
        dict(sample_size=(12, 20), in_channels=5, out_channels=5, block_out_channels=(8, 16, 24), layers_per_block=1,
             norm_num_groups=2, attn_norm_num_groups=8, attention_head_dim=4, act_fn="mish", norm_eps=1e-3,
             mid_block_scale_factor=1.4142135, center_input_sample=True, time_embedding_dim=20,
             resnet_time_scale_shift="scale_shift", dropout=0.1,
             down_block_types=("AttnDownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
             up_block_types=("UpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D")),
        dict(beta_schedule="scaled_linear", prediction_type="sample", timestep_spacing="trailing", clip_sample=True), [7]),
    # Scale-shift without groups of its own: the middle attention has no norm. One level, gelu, one channel.
    "one_level": (
        dict(sample_size=6, in_channels=1, out_channels=1, block_out_channels=(12,), layers_per_block=1,
             norm_num_groups=3, attention_head_dim=6, act_fn="gelu", resnet_time_scale_shift="scale_shift",
             num_class_embeds=3, down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",)),
        dict(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", timestep_spacing="linspace",
             set_alpha_to_one=False, clip_sample=True, clip_sample_range=0.7), [9]),
    # No attention anywhere, relu, one image pixel at the bottom, widths that fit no vector.
    "plain": (
        dict(sample_size=4, in_channels=2, out_channels=2, block_out_channels=(5, 7, 9), layers_per_block=1,
             norm_num_groups=1, act_fn="relu", add_attention=False, downsample_padding=0,
             down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3),
        dict(steps_offset=1, clip_sample=False), [6]),
    # Residual blocks that halve and double, time as scale and shift: all of them where the types say so.
    "resnet": (
        dict(sample_size=(8, 12), in_channels=3, out_channels=3, block_out_channels=(8, 16, 24), layers_per_block=1,
             norm_num_groups=4, attn_norm_num_groups=8, attention_head_dim=8, resnet_time_scale_shift="scale_shift",
             num_class_embeds=3, downsample_type="resnet", upsample_type="resnet",
             down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
             up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D")),
        dict(clip_sample=False), [8]),
    # Beside convolutions that do, time as a bias: what a level's own name says, whatever the types are.
    "mixed": (
        dict(sample_size=8, in_channels=2, out_channels=2, block_out_channels=(6, 10, 12, 14), layers_per_block=1,
             norm_num_groups=2, attention_head_dim=None, norm_eps=1e-6, downsample_type="conv",
             upsample_type="resnet",
             down_block_types=("DownBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D", "DownBlock2D"),
             up_block_types=("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D", "UpBlock2D")),
        dict(prediction_type="v_prediction"), [5]),
    # DDPM++ as EDM has it (own.py says what diffusers has not), with classes.
    "ddpmpp": (
        dict(sample_size=8, in_channels=3, out_channels=3, block_out_channels=(12, 24, 24), layers_per_block=1,
             attention_head_dim=None, norm_eps=1e-6, flip_sin_to_cos=False, freq_shift=1,
             mid_block_scale_factor=math.sqrt(2), downsample_type="resnet", upsample_type="resnet",
             down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
             up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"), norm_num_groups=4,
             own=dict(norm_num_groups=32, norm_min_channels=4, output_scale_factor=math.sqrt(2), up_attention="last",
                      resample_projection=True, num_class_embeds=5, class_embed_use="sinusoid")),
        dict(clip_sample=False), [6]),
    # A learned variance, 400 timesteps told as if they were 1,000, a sinusoid of another width than the first level,
    # two heads at every level; the noise made anew from clamped images.
    "guided": (
        dict(sample_size=(6, 10), in_channels=3, out_channels=6, block_out_channels=(8, 12), layers_per_block=1,
             attention_head_dim=None, resnet_time_scale_shift="scale_shift", attn_norm_num_groups=4,
             norm_num_groups=4, time_embedding_dim=24, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
             up_block_types=("AttnUpBlock2D", "UpBlock2D"),
             own=dict(num_attention_heads=2, time_proj_channels=16)),
        dict(num_train_timesteps=400, clip_sample=True,
             own=dict(variance_type="learned_range", use_clipped_model_output=True, rescale_timesteps=True)), [5]),
}

for name in sys.argv[1:] or CASES:
    network, scheduler, steps = ({**CASES[name][0]}, {**CASES[name][1]}, CASES[name][2])
    words, its_words = network.pop("own", {}), scheduler.pop("own", {})
    torch.manual_seed(sum(map(ord, name)))
    net = own.patched(UNet2DModel(**network), words).eval()
    with torch.no_grad():  # norms and biases begin at 1 and 0: make every parameter count
        for p in net.parameters():
            if p.ndim == 1:
                p.add_(0.2 * torch.randn_like(p))
    sched = DDIMScheduler(**scheduler)
    folder = os.path.join(HERE, "diffusers", name)
    DDIMPipeline(net, sched).save_pretrained(folder)
    for file, more in (("unet/config.json", words), ("scheduler/scheduler_config.json", its_words)):
        path = os.path.join(folder, file)
        config = json.load(open(path)) | more
        json.dump(config, open(path, "w"), indent=2, sort_keys=True)
    size = network["sample_size"]
    size = size if isinstance(size, tuple) else (size, size)
    x = torch.randn(2, network["in_channels"], *size)
    golden, labels = {"x": x}, None
    if classes := words.get("num_class_embeds", network.get("num_class_embeds")):
        labels = golden["class_labels"] = torch.tensor([0, classes - 1])
    channels, train = x.shape[1], sched.config.num_train_timesteps
    told = 1000 / train if its_words.get("rescale_timesteps") else 1
    clip = its_words.get("use_clipped_model_output", False)
    with torch.no_grad():
        # The mean is the first half of a network that learned its variance.
        mean = lambda y, t: own.call(net, y, t * told, labels)[:, :channels]
        for t in (0, train // 2, train - 1):
            golden[f"eps_{t}"] = mean(x, torch.full((2,), t))
        golden["student"] = x - golden[f"eps_{train - 1}"]
        for k in steps:
            sched.set_timesteps(k)
            y = x.clone()
            for t in sched.timesteps:
                y = sched.step(mean(y, t), t, y, eta=0.0, use_clipped_model_output=clip).prev_sample
            golden[f"ddim_{k}"] = y
        if net.config.out_channels != channels:
            golden["ddpm_5"] = own.ddpm(net, scheduler, x.shape, told, 5)
    save_file({k: v.contiguous() for k, v in golden.items()}, os.path.join(folder, "golden.safetensors"))
    print(name, sum(p.numel() for p in net.parameters()))
