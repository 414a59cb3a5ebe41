"""Training on the CPU beside PyTorch: images a second of one step (forward, backward, clipping, Adam, moving average) on
the same network, batch and precision, each in a process of its own, in turns.

    python training.py --bench PATH_OF_BENCH_BINARY MODEL_FOLDER[:BATCH] ... [--threads 2] [--seconds 10]

MODEL_FOLDER is a diffusers folder. PATH is what `cargo bench --features train --bench training --no-run` names.
Prints a table and, with --json, a file."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def torch_worker(folder: str, batch: int, threads: int, seconds: float, channels_last: bool) -> None:
    import resource

    import torch
    from diffusers import UNet2DModel

    torch.set_num_threads(threads)
    path = os.path.join(folder, "unet") if os.path.isdir(os.path.join(folder, "unet")) else folder
    net = UNet2DModel.from_pretrained(path).train()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = net.to(memory_format=layout)
    average = [p.detach().clone() for p in net.parameters()]
    config = net.config
    size = config.sample_size if isinstance(config.sample_size, (list, tuple)) else [config.sample_size] * 2
    x = torch.randn(batch, config.in_channels, *size).to(memory_format=layout)
    target = torch.randn_like(x)
    t = torch.arange(batch) * 131 % 1000
    kw = {"class_labels": torch.arange(batch) % config.num_class_embeds} if config.num_class_embeds else {}
    adam = torch.optim.Adam(net.parameters(), lr=1e-4)
    times = []
    begin = time.perf_counter()
    while len(times) < 4 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        adam.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(net(x, t, **kw).sample, target).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(net.parameters()), 0.001)
        times.append(time.perf_counter() - start)
    median = statistics.median(times[1:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"images_per_second": batch / median, "ms_per_step": 1e3 * median, "peak_bytes": peak}))


def run(command: list[str]) -> dict:
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--bench", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    results = []
    print("| network | batch | PyTorch, images/s | onestep, images/s | ratio | PyTorch, MiB | onestep, MiB | ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for model in arguments.models:
        folder, _, batch = model.partition(":")
        batch, threads, seconds = int(batch or 16), arguments.threads, arguments.seconds
        peers, ours = [], []
        for _ in range(arguments.rounds):
            for last in (False, True):
                peers.append(
                    run(
                        [
                            sys.executable,
                            __file__,
                            "--worker",
                            folder,
                            str(batch),
                            str(threads),
                            str(seconds),
                            str(int(last)),
                        ]
                    )
                )
            ours.append(run([arguments.bench, folder, str(batch), str(threads), str(int(seconds))]))
        peer = max(peers, key=lambda r: r["images_per_second"])
        mine = max(ours, key=lambda r: r["images_per_second"])
        memory = min(r["peak_bytes"] for r in peers)
        name = os.path.basename(os.path.normpath(folder))
        results.append(
            {"network": name, "batch": batch, "pytorch": peer, "onestep": mine, "pytorch_peak_bytes": memory}
        )
        print(
            f"| {name} | {batch} | {peer['images_per_second']:.2f} | {mine['images_per_second']:.2f} "
            f"| {mine['images_per_second'] / peer['images_per_second']:.2f} | {memory / 2**20:.0f} "
            f"| {mine['peak_bytes'] / 2**20:.0f} | {mine['peak_bytes'] / memory:.2f} |",
            flush=True,
        )
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--worker":
        folder, batch, threads, seconds, last = sys.argv[2:]
        torch_worker(folder, int(batch), int(threads), float(seconds), last == "1")
    else:
        main()
