"""Each way to run a network behind one small interface.

A backend is made for one network, batch and number of threads, `predict` gives eps(x, t) as a float32 array
(n, 3, h, w), and `close` frees it. Libraries are imported where they are used, so that a fresh process that measures
one of them loads no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Setting:
    """What a backend is made for."""

    folder: Path
    """What `networks.ensure` gave."""
    side: int
    batch: int
    threads: int
    library: Path | None = None
    """libonestep.so"""


class Onnxruntime:
    """ONNX Runtime, f32: all graph optimisations, its own spinning thread pool."""

    def __init__(self, setting: Setting, precision: str):
        import onnxruntime

        assert precision == "f32"

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setting.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(
            setting.folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )

    def predict(self, x: np.ndarray, timesteps: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"x": x, "timesteps": timesteps})[0]

    def close(self) -> None:
        del self.session


class Openvino:
    """OpenVINO compiled for one shape, one stream, inputs and outputs shared and not copied.

    One stream under the throughput hint; the latency hint measured the same within two percent.
    """

    def __init__(self, setting: Setting, precision: str):
        import openvino

        core = openvino.Core()
        model = core.read_model(setting.folder / "model.onnx")
        model.reshape({"x": [setting.batch, 3, setting.side, setting.side], "timesteps": [setting.batch]})
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_NUM_THREADS": setting.threads,
                "INFERENCE_PRECISION_HINT": precision,
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": 1,
            },
        )
        self.request = compiled.create_infer_request()

    def predict(self, x: np.ndarray, timesteps: np.ndarray) -> np.ndarray:
        outputs = self.request.infer({"x": x, "timesteps": timesteps}, share_inputs=True, share_outputs=True)
        return outputs[0]

    def close(self) -> None:
        del self.request


class Pytorch:
    """PyTorch, eager (not compiled), channels-last; bf16 under autocast, with the weights that it would cast at
    every call cast once."""

    def __init__(self, setting: Setting, precision: str):
        import torch

        import networks

        torch.set_num_threads(setting.threads)
        self.torch = torch
        self.predict_with = networks.predict
        self.bf16 = precision == "bf16"
        self.unet = networks.load(setting.folder).to(memory_format=torch.channels_last)
        if self.bf16:
            for module in self.unet.modules():
                if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                    module.to(torch.bfloat16)

    def predict(self, x: np.ndarray, timesteps: np.ndarray) -> np.ndarray:
        torch = self.torch
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            x_last = torch.from_numpy(x).to(memory_format=torch.channels_last)
            eps = self.predict_with(self.unet, x_last, torch.from_numpy(timesteps))
            return eps.float().contiguous().numpy()

    def close(self) -> None:
        del self.unet


class Onestep:
    """onestep through its C interface."""

    def __init__(self, setting: Setting, precision: str, memory: str):
        import onestep

        library = onestep.Library(setting.library)
        self.session = onestep.Session(library, setting.folder / "diffusers", setting.threads, precision, memory)
        self.out = np.empty((setting.batch, 3, setting.side, setting.side), np.float32)

    def predict(self, x: np.ndarray, timesteps: np.ndarray) -> np.ndarray:
        self.session.predict(x, timesteps.astype(np.int32), self.out, label=7)
        return self.out

    def close(self) -> None:
        self.session.close()


@dataclass(frozen=True)
class Backend:
    """A row of the tables."""

    title: str
    precision: str
    kind: Callable
    memory: str | None = None
    """onestep's option `memory`; None for peers."""

    @property
    def is_peer(self) -> bool:
        """Whether it is another's."""
        return self.memory is None

    def make(self, setting: Setting) -> Onnxruntime | Openvino | Pytorch | Onestep:
        """Reads the network and prepares it; raises `onestep.Absent` where this build of onestep lacks it."""
        return self.kind(setting, self.precision) if self.is_peer else self.kind(setting, self.precision, self.memory)


BACKENDS = {
    "onestep-f32": Backend("onestep f32", "f32", Onestep, "fast"),
    "onestep-f32-low": Backend("onestep f32, memory=low", "f32", Onestep, "low"),
    "onestep-bf16": Backend("onestep bf16", "bf16", Onestep, "fast"),
    "onnxruntime": Backend("ONNX Runtime f32", "f32", Onnxruntime),
    "openvino-f32": Backend("OpenVINO f32", "f32", Openvino),
    "openvino-bf16": Backend("OpenVINO bf16", "bf16", Openvino),
    "pytorch-f32": Backend("PyTorch f32 channels-last", "f32", Pytorch),
    "pytorch-bf16": Backend("PyTorch bf16 autocast", "bf16", Pytorch),
}
