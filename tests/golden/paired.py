"""Makes paired.json: the paired consistency loss, and its gradient, by PyTorch in doubles, written as the paper has it.

    pip install torch
    python tests/golden/paired.py

Of pairs (z, x), raw outputs F and timesteps k of DDPM's process: t = sigma / (1 + sigma), the straight way's z_t = (1 - t) x + t z, the
velocity z - x that F stands for, the estimate D = z_t - t F, and (1 - t) h(F - v) + h(D - x) / t. The Rust side is
src/train/paired.rs, which sees multiples of z_t; at the last timestep it sees z alone, and is not compared here.
"""
import json
import pathlib

import torch

here = pathlib.Path(__file__).parent


def huber(error, c):
    return (torch.sqrt((error ** 2).sum() + c ** 2) - c) / error.numel()


def alphas_cumprod():
    """DDPM's alpha-bars, in doubles of the floats that the library has."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float32)
    return torch.cumprod((1 - betas).double(), 0).float().double()


def main():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    alphas = alphas_cumprod()
    cases = []
    for k in (0, 40, 300, 700, 998):
        z, x, f = torch.randn(6), torch.rand(6) * 2 - 1, torch.randn(6).requires_grad_()
        sigma = torch.sqrt((1 - alphas[k]) / alphas[k])
        t = sigma / (1 + sigma)
        z_t = (1 - t) * x + t * z
        v, c = z - x, 0.00054 * z.numel()
        estimate = z_t - t * f
        velocity, image = (1 - t) * huber(f - v, c), huber(estimate - x, c) / t
        (velocity + image).backward()
        seen = torch.sqrt(alphas[k]) * x + torch.sqrt(1 - alphas[k]) * z
        cases.append({
            "timestep": k, "t": t.item(), "noise": z.tolist(), "image": x.tolist(), "output": f.tolist(), "seen": seen.tolist(),
            "estimate": estimate.tolist(), "velocity_loss": velocity.item(), "loss": (velocity + image).item(),
            "gradient": f.grad.tolist()})
    (here / "paired.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
