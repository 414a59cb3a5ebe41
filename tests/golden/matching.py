"""Makes matching.json: the gradient of distribution matching (DMD: Yin et al. 2024), by PyTorch in doubles, written as the paper has it.

    pip install torch
    python tests/golden/matching.py

Of an image x, noise and timesteps of DDPM's process: both networks' raw outputs say what x was; the scores are
s = -(x_t - sqrt(a) D) / (1 - a), the gradient is w (s_fake - s_real) sqrt(a) with the paper's weight
w = (1 - a) / a * n / |x - D_real|_1, and reaches x as that of |x - stop(x - gradient)|^2 / 2, of which PyTorch takes the derivative.
The Rust side is `slopes` in src/train/matching.rs.
"""
import json
import pathlib

import torch

from paired import alphas_cumprod

here = pathlib.Path(__file__).parent


def image(kind, x_t, a, net):
    if kind == "epsilon":
        return (x_t - torch.sqrt(1 - a) * net) / torch.sqrt(a)
    if kind == "v_prediction":
        return torch.sqrt(a) * x_t - torch.sqrt(1 - a) * net
    return net


def main():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    alphas = alphas_cumprod()
    cases = []
    for kind in ("epsilon", "v_prediction", "sample"):
        for k in (20, 300, 979):
            a = alphas[k]
            x = (torch.rand(6) * 2 - 1).requires_grad_()
            x_t = (torch.sqrt(a) * x + torch.sqrt(1 - a) * torch.randn(6)).detach()
            real, fake = torch.randn(6), torch.randn(6)
            d_real, d_fake = image(kind, x_t, a, real), image(kind, x_t, a, fake)
            s_real, s_fake = [-(x_t - torch.sqrt(a) * d) / (1 - a) for d in (d_real, d_fake)]
            weight = (1 - a) / a * x.numel() / (x - d_real).abs().sum()
            gradient = (weight * (s_fake - s_real) * torch.sqrt(a)).detach()
            (0.5 * ((x - (x - gradient).detach()) ** 2).sum()).backward()
            cases.append({
                "prediction": kind, "timestep": k, "image": x.tolist(), "noised": x_t.tolist(), "real": real.tolist(),
                "fake": fake.tolist(), "gradient": x.grad.tolist()})
    (here / "matching.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
