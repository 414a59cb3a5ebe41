"""What the Python package lpips makes of images: `python lpips.py` (torch, torchvision, lpips 0.1.4, safetensors). Writes
lpips/NAME.safetensors beside this file, f32: x and y, images in [-1, 1]; loss, the distance of each; gradient, of the mean
of loss with respect to x; and channel_weights, the package's own of each layer, one after the other.

The weights of the network itself would be tens of megabytes: every one is computed from its place, here and in the test.
"""
import os, sys
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path = [entry for entry in sys.path if os.path.abspath(entry or ".") != HERE]  # this file is called lpips too
import lpips
from safetensors.torch import save_file

torch.set_num_threads(1)
os.makedirs(os.path.join(HERE, "lpips"), exist_ok=True)


def noise(start, count):
    """Values in [-1, 1) from whole numbers: a hash of each (the finaliser of MurmurHash3, 32 bits)."""
    h = (torch.arange(start, start + count) + 1) * 0x9E3779B1 & 0xFFFFFFFF
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    h = h ^ h >> 16
    return ((h >> 8).double() / 2**23 - 1).float()


def fill(net):
    """Weights of a variance that ReLU keeps, and biases of a tenth; they are counted in the order of the state dict."""
    start = 0
    for key, tensor in net.state_dict().items():
        if not key.startswith("net."):
            continue
        size = (6 / tensor[0].numel()) ** 0.5 if tensor.dim() == 4 else 0.1
        tensor.copy_(noise(start, tensor.numel()).double().mul(size).float().reshape(tensor.shape))
        start += tensor.numel()


for name, shape in (("vgg", (2, 3, 32, 32)), ("vgg_grey", (1, 1, 17, 30)), ("alex", (2, 3, 35, 42)), ("alex_grey", (3, 1, 32, 31))):
    torch.manual_seed(7)
    net = lpips.LPIPS(net=name.split("_")[0], pnet_rand=True, verbose=False)
    fill(net)
    x = torch.rand(shape) * 2 - 1
    y = (x + 0.5 * torch.randn(shape)).clamp(-1, 1)
    x.requires_grad_()
    loss = net(*(image.expand(-1, 3, -1, -1) for image in (x, y)))[:, 0, 0, 0]
    loss.mean().backward()
    out = {"x": x.detach(), "y": y, "loss": loss.detach(), "gradient": x.grad}
    out["channel_weights"] = torch.cat([lin.model[1].weight.detach().flatten() for lin in net.lins])
    save_file({key: value.contiguous() for key, value in out.items()}, os.path.join(HERE, "lpips", name + ".safetensors"))
    print(name, loss.tolist(), float(x.grad.norm()))
    if len(sys.argv) > 1:  # a folder: the whole files, as a user makes them
        torch.save(net.state_dict(), os.path.join(sys.argv[1], name + ".pth"))
