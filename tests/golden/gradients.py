"""What PyTorch's autograd makes of the tiny networks that networks.py left: `python gradients.py [NAME...]` (torch, diffusers
0.42, safetensors). Writes gradients/NAME.safetensors beside this file, f32: target; loss = mean((net(x, t) - target)^2)
at the folder's x and labels and the timesteps t; grad.PARAMETER of it; and losses, that loss before each of ten steps
of Adam (rate 1e-3, betas 0.9 and 0.999, eps 1e-8) with gradients clipped to the norm 1.
"""
import os, sys, torch
from safetensors.torch import load_file, save_file
import own

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_num_threads(1)
os.makedirs(os.path.join(HERE, "gradients"), exist_ok=True)

for name in sys.argv[1:] or sorted(os.listdir(os.path.join(HERE, "diffusers"))):
    folder = os.path.join(HERE, "diffusers", name)
    net = own.load(os.path.join(folder, "unet")).eval()  # no dropout
    golden = load_file(os.path.join(folder, "golden.safetensors"))
    torch.manual_seed(7)
    x, t = golden["x"], torch.tensor([37, 811])
    target = torch.randn_like(x)
    labels = golden.get("class_labels")
    loss_of = lambda: ((own.call(net, x, t, labels)[:, : x.shape[1]] - target) ** 2).mean()
    loss = loss_of()
    loss.backward()
    out = {"target": target, "timesteps": t.float(), "loss": loss.detach().reshape(1)}
    out |= {f"grad.{own.name_of(key)}": p.grad.clone() for key, p in net.named_parameters()}
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    losses = []
    for _ in range(10):
        adam.zero_grad()
        loss = loss_of()
        losses.append(float(loss))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
    out["losses"] = torch.tensor(losses)
    save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(HERE, "gradients", name + ".safetensors"))
    print(name, losses)
