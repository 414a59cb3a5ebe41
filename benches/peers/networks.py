"""The three U-Nets of DDPM (Ho et al. 2020), and that of the consistency models of ImageNet at 64 px (Song et al. 2023), with
random weights, as a diffusers folder and as one ONNX file."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DModel
from torch.utils.flop_counter import FlopCounterMode

OPSET = 20
LABEL = 7
"""The class that is drawn, where there are any."""


@dataclass(frozen=True)
class Network:
    """What tells one of the networks from the others."""

    name: str
    side: int
    """Pixels of an image's side."""
    channels: tuple[int, ...]
    """Channels of each level."""
    parameters: int
    adm: bool = False
    """ADM's blocks (Dhariwal & Nichol 2021) and 1,000 classes, rather than DDPM's."""

    @property
    def attention(self) -> list[bool]:
        """Whether each level has self-attention: DDPM's of 16 x 16 pixels, ADM's of 32 x 32 and fewer."""
        sides = (32, 16, 8) if self.adm else (16,)
        return [self.side >> level in sides for level in range(len(self.channels))]

    @property
    def config(self) -> dict:
        """What `UNet2DModel` is made with."""
        plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D") if self.adm else ("DownBlock2D", "UpBlock2D")
        blocks = {
            "sample_size": self.side,
            "block_out_channels": self.channels,
            "down_block_types": ["AttnDownBlock2D" if attends else plain[0] for attends in self.attention],
            "up_block_types": ["AttnUpBlock2D" if attends else plain[1] for attends in reversed(self.attention)],
        }
        if self.adm:
            return blocks | {
                "layers_per_block": 3,
                "attention_head_dim": 64,
                "attn_norm_num_groups": 32,
                "resnet_time_scale_shift": "scale_shift",
                "downsample_type": "resnet",
                "upsample_type": "resnet",
                "num_class_embeds": 1000,
            }
        return blocks | {
            "layers_per_block": 2,
            "norm_eps": 1e-6,
            "attention_head_dim": None,
            "downsample_padding": 0,
            "flip_sin_to_cos": False,
            "freq_shift": 1,
        }


NETWORKS = {
    network.name: network
    for network in (
        Network("cifar10", 32, (128, 256, 256, 256), 35_746_307),
        Network("celeba64", 64, (128, 256, 256, 256, 512), 78_700_803),
        Network("lsun256", 256, (128, 128, 256, 256, 512, 512), 113_673_219),
        Network("imagenet64", 64, (192, 384, 576, 768), 295_899_267, adm=True),
    )
}


def random_network(network: Network) -> UNet2DModel:
    """The network as diffusers initialises it, with biases and the norms' weights random as well: no term vanishes."""
    torch.manual_seed(0)
    unet = UNet2DModel(**network.config)
    with torch.no_grad():
        for module in unet.modules():
            if isinstance(module, torch.nn.GroupNorm):
                module.weight.normal_(1, 0.1)
            if getattr(module, "bias", None) is not None:
                module.bias.normal_(0, 0.1)
    assert sum(parameter.numel() for parameter in unet.parameters()) == network.parameters
    return unet.eval()


def ensure(network: Network, root: Path) -> Path:
    """The folder of a network, which is made where it is not there: `diffusers/` and `model.onnx`."""
    folder = root / network.name
    if not folder.is_dir():
        partial = root / f"{network.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        unet = random_network(network)
        save(unet, partial / "diffusers")
        export_onnx(unet, network.side, partial / "model.onnx")
        partial.rename(folder)
    return folder


def save(unet: UNet2DModel, folder: Path) -> None:
    """A network as a diffusers folder."""
    from diffusers import DDIMPipeline, DDIMScheduler

    DDIMPipeline(unet, DDIMScheduler(clip_sample=False)).save_pretrained(folder)


def load(folder: Path) -> UNet2DModel:
    """The network of a folder that `ensure` made, for PyTorch."""
    return UNet2DModel.from_pretrained(folder / "diffusers" / "unet").eval()


def predict(unet: UNet2DModel, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """The raw prediction, of class `LABEL` where there are any."""
    conditional = unet.config.num_class_embeds is not None
    labels = torch.full_like(timesteps, LABEL, dtype=torch.int64) if conditional else None
    return unet(x, timesteps, class_labels=labels, return_dict=False)[0]


def flops(folder: Path, side: int) -> int:
    """Floating-point operations of one image: those of convolutions, products and attention, two a multiplication."""
    unet = load(folder).to("meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        predict(unet, torch.empty(1, 3, side, side, device="meta"), torch.empty(1, device="meta"))
    return counter.get_total_flops()


class Prediction(torch.nn.Module):
    """A U-Net that gives a tensor, not a structure."""

    def __init__(self, unet: UNet2DModel):
        super().__init__()
        self.unet = unet

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """eps(x, t): x (n, 3, h, w), timesteps (n)."""
        return predict(self.unet, x, timesteps)


def export_onnx(unet: UNet2DModel, side: int, path: Path) -> None:
    """Writes an ONNX file of any batch: inputs `x` and `timesteps` (int64), output `eps`."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Prediction(unet),
            (torch.randn(2, 3, side, side), torch.tensor([999, 3])),
            path,
            input_names=["x", "timesteps"],
            output_names=["eps"],
            dynamic_shapes=({0: batch}, {0: batch}),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
