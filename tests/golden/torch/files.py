"""The weights of the golden case `plain` as PyTorch's own files: `python files.py` (torch, safetensors).

zip.bin: torch.save's format since 1.6. legacy.bin: the one before. parameters.bin: nn.Parameter objects, two of them
views of one storage, in the zip format.
"""
import os, torch
from safetensors.torch import load_file

here = os.path.dirname(os.path.abspath(__file__))
weights = load_file(os.path.join(here, "../diffusers/plain/unet/diffusion_pytorch_model.safetensors"))
torch.save(weights, os.path.join(here, "zip.bin"))
torch.save(weights, os.path.join(here, "legacy.bin"), _use_new_zipfile_serialization=False)
views = ["conv_norm_out.weight", "conv_norm_out.bias"]
together = torch.cat([weights[name] for name in views])
split = dict(zip(views, together.split([weights[name].numel() for name in views])))
torch.save({name: torch.nn.Parameter(split.get(name, tensor)) for name, tensor in weights.items()},
           os.path.join(here, "parameters.bin"))
