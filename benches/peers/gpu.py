"""onestep beside PyTorch on one CUDA device: the paper's job, 50,000 CIFAR-10 images of one network call each.

    python3 benches/peers/gpu.py --library libonestep.so [--images 51200] [--json FILE]

onestep's library is loaded before PyTorch's CUDA is used, and finds the cuDNN that PyTorch brought. PyTorch runs channels-last in bf16, compiled (`max-autotune-no-cudagraphs`, the call captured in a CUDA graph by hand) and
eager; noise on the device, 8-bit pixels in host memory at the end, as onestep gives them. All in this process, in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

import networks
import onestep

ROUNDS = 3
PAIRS, TEACHER_STEPS = 1_024_000, 96
RMS_LIMIT = {"f32": 1e-4, "bf16": 2e-2}


def onestep_job(sessions: list[onestep.Session], images: int, batch: int) -> np.ndarray:
    """All images, by one thread a session."""
    out = np.empty((images, 32, 32, 3), np.uint8)

    def work(which: int) -> None:
        for first in range(which * batch, images, batch * len(sessions)):
            seeds = np.arange(first, min(first + batch, images), dtype=np.uint64)
            sessions[which].sample(seeds, out[first : first + len(seeds)])

    threads = [threading.Thread(target=work, args=(which,)) for which in range(len(sessions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


class Pytorch:
    """x - eps(x, 999) to pixels, as one captured graph."""

    def __init__(self, unet: torch.nn.Module, batch: int, compiled: bool):
        self.x = torch.zeros(batch, 3, 32, 32, device="cuda")
        timestep = torch.full((batch,), 999, device="cuda")

        def student() -> torch.Tensor:
            x = self.x.to(torch.bfloat16, memory_format=torch.channels_last)
            x_0 = self.x - unet(x, timestep, return_dict=False)[0].float()
            return ((x_0.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

        # A batch size of its own each, or the second would be compiled for any.
        torch._dynamo.reset()
        torch.backends.cudnn.benchmark = True
        how = {"mode": "max-autotune-no-cudagraphs", "dynamic": False}
        call = torch.compile(student, **how) if compiled else student
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode(), torch.cuda.stream(side):
            for _ in range(3):
                call()
        side.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(self.graph):
            self.pixels = call()
        self.host = torch.empty(self.pixels.shape, dtype=torch.uint8, pin_memory=True)

    def batch(self) -> torch.Tensor:
        """One batch, in page-locked memory."""
        self.x.normal_()
        self.graph.replay()
        self.host.copy_(self.pixels)
        return self.host

    def job(self, images: int) -> None:
        """All images, to memory of their own."""
        out, n = torch.empty((images, 32, 32, 3), dtype=torch.uint8), len(self.host)
        for first in range(0, images, n):
            rest = min(n, images - first)
            out[first : first + rest] = self.batch()[:rest]


def best(call) -> float:
    """Seconds, the median of some rounds after one."""
    call()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def agreement(library: onestep.Library, folder: Path, unet: torch.nn.Module, device: str) -> dict[str, float]:
    """Relative RMS of eps(x, 999) beside PyTorch's in f32 without TF32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    x = np.random.default_rng(1).standard_normal((4, 3, 32, 32), np.float32)
    timesteps = np.full(4, 999, np.int32)
    with torch.inference_mode():
        given = torch.from_numpy(x), torch.from_numpy(timesteps).long()
        expected = unet.double()(given[0].double(), given[1], return_dict=False)[0].float().numpy()
    unet.float()
    found = {}
    for precision in RMS_LIMIT:
        session = onestep.Session(library, folder, 0, precision, device=device)
        out = np.empty_like(x)
        session.predict(x, timesteps, out)
        session.close()
        found[precision] = float(np.sqrt(np.square(out - expected).sum() / np.square(expected).sum()))
    return found


def main() -> None:
    """Measures, prints a table, and tells what each bar is worth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--device", default="cuda:0", help="onestep's")
    parser.add_argument("--images", type=int, default=51_200, help="best a multiple of the batches")
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--only-onestep", action="store_true", help="no peers")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    library = onestep.Library(options.library)
    rows: list[tuple[str, int, float]] = []

    def measured(name: str, batch: int, seconds: float, images: int = options.images) -> None:
        """Said at once: whoever ends this early has what was measured."""
        rows.append((name, batch, seconds))
        print(f"{name:48} {batch:6} {seconds:9.4f} s {images / seconds:10.0f} images/s", flush=True)

    with tempfile.TemporaryDirectory() as root:
        folder, unet = Path(root) / "cifar10", networks.random_network(networks.NETWORKS["cifar10"])
        networks.save(unet, folder)
        rms = agreement(library, folder, unet, options.device)
        print(f"{options.images} CIFAR-10 images, one network call each, to RGB8 in host memory; median of {ROUNDS}")
        print(f"{'':48} {'batch':>6}", flush=True)

        for convolutions in ("own", "cudnn"):
            # cuDNN is tuned for seconds a batch size.
            for batch in options.batches if convolutions == "own" else options.batches[-1:]:
                for count in (1, 2):
                    try:
                        sessions = [
                            onestep.Session(
                                library, folder, 0, "bf16", device=options.device, role=onestep.ROLE_STUDENT,
                                more={"cuda.convolutions": convolutions},
                            )
                            for _ in range(count)
                        ]
                    except (onestep.Absent, RuntimeError) as error:
                        if convolutions == "own":
                            raise
                        print(f"onestep, {convolutions}: {error}")
                        continue
                    seconds = best(lambda: onestep_job(sessions, options.images, batch))
                    measured(f"onestep bf16, {convolutions}, {count} session(s)", batch, seconds)
                    for session in sessions:
                        session.close()
        session = onestep.Session(library, folder, 0, "bf16", device=options.device, role=onestep.ROLE_STUDENT)
        one, seeds = np.empty((1, 32, 32, 3), np.uint8), np.zeros(1, np.uint64)
        latency = min(best(lambda: session.sample(seeds, one)) for _ in range(20))
        session.close()

    if not options.only_onestep:
        fast = unet.to("cuda", torch.bfloat16, memory_format=torch.channels_last)
        for compiled in (False, True):
            for batch in options.batches:
                name = f"PyTorch {torch.__version__} bf16, {'compiled' if compiled else 'eager'}, CUDA graph"
                try:
                    peer = Pytorch(fast, batch, compiled)
                    measured(name, batch, best(lambda: peer.job(options.images)))
                except Exception as error:  # A peer that cannot run takes no other's numbers along.
                    print(f"{name}: {error!r}", flush=True)
        peer = Pytorch(fast, 1, False)
        measured("PyTorch eager, CUDA graph, one image", 1, min(best(peer.batch) for _ in range(20)), 1)

    ours = min(seconds for name, _, seconds in rows if name.startswith("onestep"))
    peers = [seconds for name, _, seconds in rows if name.startswith("PyTorch") and not name.endswith("one image")]
    bars = [
        ("50,000 images, s", ours * 50_000 / options.images, 1.5),
        *([("of PyTorch's time", ours / min(peers), 0.7)] if peers else []),
        ("batch 1, ms", 1e3 * latency, 1.0),
        *[(f"relative RMS, {precision}", rms[precision], limit) for precision, limit in RMS_LIMIT.items()],
    ]
    print(f"\n{'bar':24} {'measured':>10} {'at most':>9}")
    for name, value, limit in bars:
        print(f"{name:24} {value:10.3g} {limit:9.3g}  {'met' if value <= limit else 'MISSED'}")
    projected = ours / options.images * PAIRS * TEACHER_STEPS
    print(f"\n{PAIRS:,} pairs of a teacher of {TEACHER_STEPS} steps would take {projected:.0f} s at this rate")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "bars": bars, "projected_pairs_s": projected}, indent=1))
    if any(value > limit for name, value, limit in bars if name.startswith("relative")):
        raise SystemExit("onestep's output is wrong")


if __name__ == "__main__":
    main()
