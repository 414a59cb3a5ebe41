"""Makes schedules.json: what diffusers (0.42.1, torch 2.15) does with timesteps, alphas_cumprod and steps.

    python tests/golden/schedules.py

Trajectories are scalars: x = 0.75 at first, and at step i the network says `net(i)`, of its variance `variance(i)`, the fresh
noise is `noise(i)`, all exact in f32. The schedulers run in f64 from f32 alphas_cumprod ("x"), and once in plain f32 ("x_f32", the end).
The Rust side is src/sampler/golden.rs.
"""
import json
import pathlib

import diffusers.schedulers.scheduling_ddpm as ddpm_module
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler


def net(i):
    return ((i * 37 + 11) % 64) / 32 - 1


def noise(i):
    return ((i * 29 + 5) % 64) / 32 - 1


def variance(i):
    """What a network that learned its variance says of it, -1 to 1."""
    return ((i * 53 + 3) % 64) / 32 - 1


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return f"{h:016x}"


def bits(values):
    return fnv1a(np.asarray(values, dtype="<f4").tobytes())


def schedules():
    out = []
    for name, start, end, n in [
        ("linear", 1e-4, 0.02, 1000),
        ("linear", 1e-4, 0.02, 37),
        ("linear", 1e-4, 0.02, 4000),
        ("scaled_linear", 0.00085, 0.012, 1000),
        ("scaled_linear", 0.0015, 0.0195, 250),
        ("squaredcos_cap_v2", 0, 0, 1000),
        ("squaredcos_cap_v2", 0, 0, 100),
    ]:
        s = DDIMScheduler(num_train_timesteps=n, beta_schedule=name, beta_start=start, beta_end=end)
        at = sorted({0, 1, n // 3, n // 2, n - 2, n - 1})
        out.append({
            "beta_schedule": name, "beta_start": start, "beta_end": end, "n": n,
            "betas": bits(s.betas), "alphas_cumprod": bits(s.alphas_cumprod),
            "samples": [[t, float(s.betas[t]), float(s.alphas_cumprod[t])] for t in at],
        })
    return out


def quadratic(train, steps):
    """The paper's published code for CIFAR-10 and CelebA."""
    return (np.linspace(0, np.sqrt(0.8 * train), steps) ** 2).astype(np.int64)[::-1]


def spaced(spacing, train, steps, offset=0):
    if spacing == "quadratic":
        return quadratic(train, steps)
    s = DDIMScheduler(num_train_timesteps=train, timestep_spacing=spacing, steps_offset=offset)
    s.set_timesteps(steps)
    # For some counts np.arange gives diffusers one entry too many, the timestep -1.
    return s.timesteps.numpy()[:steps]


def timesteps():
    out = []
    for spacing in ("leading", "trailing", "linspace", "quadratic"):
        for train in (1000, 137):
            every = b"".join(
                np.asarray(spaced(spacing, train, k), dtype="<i4").tobytes() for k in range(1, train + 1)
            )
            shown = [[k, spaced(spacing, train, k).tolist()] for k in (1, 2, 7)]
            out.append({"spacing": spacing, "train": train, "every": fnv1a(every), "shown": shown})
    return out


def run(make, steps, **step_args):
    ends = []
    for dtype in (torch.float64, torch.float32):
        s = make()
        s.set_timesteps(steps)
        s.alphas_cumprod = s.alphas_cumprod.to(dtype)
        if hasattr(s, "final_alpha_cumprod"):
            s.final_alpha_cumprod = s.final_alpha_cumprod.to(dtype)
        x = torch.full((1, 1, 1, 1), 0.75, dtype=dtype)
        xs = []
        for i, t in enumerate(s.timesteps):
            m = torch.full_like(x, net(i))
            z = torch.full_like(x, noise(i))
            if s.config.get("variance_type") == "learned_range":
                m = torch.cat([m, torch.full_like(m, variance(i))], dim=1)
            if isinstance(s, DDPMScheduler):
                ddpm_module.randn_tensor = lambda *_, **__: z
                x = s.step(m, t, x).prev_sample
            else:
                given = z if step_args.get("eta", 0) > 0 else None
                x = s.step(m, t, x, variance_noise=given, **step_args).prev_sample
            xs.append(x.item())
        ends.append(xs)
    every = 1 if steps <= 20 else steps // 10
    return {
        "timesteps": s.timesteps.tolist() if steps <= 20 else None,
        "every": every, "x": ends[0][every - 1::every], "x_f32": ends[1][-1],
    }


def trajectories():
    base = dict(clip_sample=False)
    cases = []
    for spacing in ("leading", "trailing", "linspace"):
        for steps in (1, 3, 10, 50, 1000):
            if (spacing, steps) != ("linspace", 1):
                cases.append(("ddim", dict(base, timestep_spacing=spacing), steps, 0.0))
    for schedule in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        for prediction in ("epsilon", "sample", "v_prediction"):
            for clip in (False, True):
                args = dict(beta_schedule=schedule, prediction_type=prediction, clip_sample=clip)
                for eta in (0.0, 0.5):
                    cases.append(("ddim", args, 10, eta))
                cases.append(("ddpm", args, 10, 0.0))
    cases.append(("ddim", dict(base, set_alpha_to_one=False), 10, 0.0))
    cases.append(("ddim", dict(base, set_alpha_to_one=False), 10, 1.0))
    cases.append(("ddim", dict(base, steps_offset=1, set_alpha_to_one=False), 10, 0.0))
    cases.append(("ddim", dict(clip_sample=True, clip_sample_range=1.5), 10, 1.0))
    cases.append(("ddim", dict(base), 1000, 1.0))
    for variance in ("fixed_small", "fixed_large"):
        for spacing in ("leading", "trailing", "linspace"):
            for steps in (10, 300, 1000):
                for clip in (False, True):
                    args = dict(variance_type=variance, timestep_spacing=spacing, clip_sample=clip)
                    cases.append(("ddpm", args, steps, 0.0))
    cases.append(("ddpm", dict(base, steps_offset=1), 10, 0.0))
    for steps in (10, 300):
        for clip in (False, True):
            cases.append(("ddpm", dict(variance_type="learned_range", clip_sample=clip), steps, 0.0))
    for prediction in ("epsilon", "v_prediction"):
        for eta in (0.0, 0.5):
            args = dict(prediction_type=prediction, clip_sample=True, use_clipped_model_output=True)
            cases.append(("ddim", args, 10, eta))
    out = []
    for kind, args, steps, eta in cases:
        if kind == "ddim":
            how = {key: args[key] for key in ("use_clipped_model_output",) if key in args}
            its = {key: value for key, value in args.items() if key not in how}
            result = run(lambda: DDIMScheduler(**its), steps, eta=eta, **how)
        else:
            result = run(lambda: DDPMScheduler(**args), steps)
        out.append({"kind": kind, "config": args, "steps": steps, "eta": eta, **result})
    return out


def paper():
    """The paper's own sampler over its repeated quadratic timesteps, next entry after next entry, in f64."""
    s = DDIMScheduler()
    a = np.append(s.alphas_cumprod.numpy().astype(np.float64), 1.0)
    x, xs = 0.75, []
    steps = quadratic(1000, 100).tolist()
    for i, t in enumerate(steps):
        now, nxt = a[t], a[steps[i + 1] if i + 1 < len(steps) else -1]
        x = np.sqrt(nxt) * (x - np.sqrt(1 - now) * net(i)) / np.sqrt(now) + np.sqrt(1 - nxt) * net(i)
        xs.append(float(x))
    return {"every": 10, "x": xs[9::10]}


path = pathlib.Path(__file__).with_suffix(".json")
parts = {"schedules": schedules(), "timesteps": timesteps(), "trajectories": trajectories(), "paper": [paper()]}
rows = ",\n".join(
    f'"{name}": [\n' + ",\n".join(json.dumps(row, separators=(",", ":")) for row in part) + "\n]"
    for name, part in parts.items()
)
path.write_text("{\n" + rows + "\n}\n")
print(path, path.stat().st_size, "bytes")
